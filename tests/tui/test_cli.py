"""The dashboard's command: its words, its refusals."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tui.cli import main, parse
from tui.options import is_plain_terminal


def refused(tmp_path: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Start the command on a pseudo-terminal that is expected to be refused."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "--runs-dir", str(tmp_path / "runs"), *words],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env=os.environ | {"TERM": "xterm-256color"} | environment,
    )
    os.close(slave)
    os.close(master)
    return done.returncode, done.stderr


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("diffopt-tui ")


def test_a_terminal_that_cannot_place_text_is_refused_in_one_line(tmp_path: Path) -> None:
    code, error = refused(tmp_path, TERM="dumb")
    assert code == 2
    assert error.count("\n") == 1
    assert "TERM is dumb" in error


@pytest.mark.parametrize("word", ["nothing-of-that-name", "missing.yaml"])
def test_a_word_that_is_nothing_is_refused_in_one_line(tmp_path: Path, word: str) -> None:
    code, error = refused(tmp_path, word)
    assert code == 2
    assert error.count("\n") == 1
    assert word in error


@pytest.mark.parametrize("name", ["bin.yaml", "bin"])
def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"seed: \xff\xfe\n")
    code, error = refused(tmp_path, str(path))
    assert code == 2
    assert error.count("\n") == 1
    assert f"{path}: cannot be read as a text file" in error


def test_a_folder_named_like_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "dir.yaml"
    path.mkdir()
    code, error = refused(tmp_path, str(path))
    assert code == 2
    assert error.count("\n") == 1
    assert f"{path} is a folder" in error


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli"],
        capture_output=True,
        text=True,
        env=os.environ | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert "not a terminal" in done.stderr


def test_every_option_has_its_place(tmp_path: Path) -> None:
    words = ["digits", "--runs-dir", str(tmp_path), "--theme", "dusk", "--low", "--no-mouse"]
    options = parse([*words, "--color", "256", "--no-cell-diff"])
    assert options.target == "digits"
    assert options.runs_dir == tmp_path
    assert options.theme == "dusk"
    assert options.is_low
    assert options.is_ascii  # --low is ASCII
    assert not options.has_mouse
    assert options.color == "256"
    assert not options.is_cell_diff


@pytest.mark.parametrize(
    ("environment", "is_plain"),
    [
        ({"LANG": "C"}, True),
        ({"LANG": "POSIX"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "C.utf8"}, False),
        ({"LANG": "C", "LC_ALL": "de_DE.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, True),
        ({}, False),
        ({"TERM": "linux"}, True),
    ],
)
def test_the_locale_decides_on_ascii(environment: dict[str, str], is_plain: bool) -> None:
    assert is_plain_terminal(environment) is is_plain


def test_what_textual_remembers_of_widths_is_bounded() -> None:
    program = (
        "from pathlib import Path; from tui.options import Options, prepare_environment;"
        "prepare_environment(Options(runs_dir=Path('.')));"
        "import textual.content; print(textual.content.cell_len.cache_info().maxsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "512"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["x" * 300], "cannot be looked for: File name too long."),
        (["x" * 300 + ".yaml"], "cannot be looked for: File name too long."),
        (["~nobody-here/x.yaml"], "There is no file ~nobody-here/x.yaml."),
        ([""], "The name is empty; give a run, a file of settings, or nothing at all."),
        (["--runs-dir", "", "x"], "argument --runs-dir: it is empty; name a folder"),
        (["--runs-dir", "x" * 300, "x"], "cannot be a folder (File name too long)"),
    ],
)
def test_a_word_that_names_nothing_is_refused_in_one_line(
    tmp_path: Path, words: list[str], told: str
) -> None:
    code, error = refused(tmp_path, *words, DIFFOPT_RUNS_DIR="~nobody-here/runs")
    assert code == 2
    assert told in error
    assert "Traceback" not in error
