# Everything here needs only a Python 3.11 or later and make; nothing needs root. `make` alone lists the targets.

VENV ?= .venv

# On Linux MLX comes as one of two builds that cannot live together: `make demo EXTRA=cuda` picks the other. A Mac has Metal.
ifeq ($(shell uname -s),Linux)
EXTRA ?= cpu
else
EXTRA ?= none
endif

# Processes for `make test`, one a core, four at most; TEST_JOBS=0 runs the tests one after the other in one.
TEST_JOBS ?= logical

SETUP = sh scripts/set_up.sh "$(VENV)" "$(EXTRA)"
# Not PYTHON: that one names the interpreter to build the environment with.
RUN = "$(VENV)/bin/python"

.PHONY: screenshots help demo test check interop coverage bench base-model install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  On Linux add EXTRA=cuda for an NVIDIA GPU; without it MLX computes on the CPU."

demo: ## distil the bundled model from 50 steps to 4 and report its score
	@$(SETUP) run
	@"$(VENV)/bin/diffopt" run demo

test: ## run the tests
	@$(SETUP) test
	@$(RUN) -m pytest -n $(TEST_JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: ## format, lint, types and the walls between packages
	@$(SETUP) dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyright --pythonpath "$(VENV)/bin/python"
	"$(VENV)/bin/lint-imports"

interop: ## hold our samples against diffusers itself (in an environment of its own, about 1.3 GB)
	@sh scripts/set_up.sh "$(VENV)-interop" "$(EXTRA)" interop
	@"$(VENV)-interop/bin/python" -m pytest -m interop

coverage: ## run the tests and list the lines they never reach
	@$(SETUP) dev
	@$(RUN) -m pytest --cov --cov-report=term-missing

bench: ## measure the engine against a bare loop, and 50 steps against 4
	@$(SETUP) run
	@for script in benchmarks/overhead.py benchmarks/sampling.py benchmarks/journal.py; do echo "$$script"; $(RUN) "$$script" || exit 1; done

screenshots: ## take the pictures of docs/screenshots, over recorded runs
	@$(SETUP) run
	@$(RUN) scripts/take_screenshots.py

base-model: ## train the bundled model again from the bundled digits
	@$(SETUP) run
	@$(RUN) scripts/train_base_model.py

install: ## put diffopt and diffopt-tui on your PATH
	@sh scripts/install.sh "$(EXTRA)"

uninstall: ## take them away again; your runs stay
	@sh scripts/install.sh --remove

clean: ## remove the environments and what building left behind
	rm -rf "$(VENV)" "$(VENV)-interop" build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .coverage htmlcov
