"""Leaving: which run `Q` means, that it asks first, and what is said of runs that work on."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.errors import RunError
from engine.run import JournalReader, RunFolder
from tests.tui.fake_worker import UP_TO_TRAINING, working
from tests.tui.waiting import until
from tui.app import DiffoptApp
from tui.dialogs import Dialog
from tui.options import Options
from tui.parting import words_at_parting
from tui.targets import Target
from tui.widgets.run_table import RunTable

Go = Callable[..., Any]
Recorded = Callable[[str], RunFolder]


def asked(run: RunFolder) -> list[str]:
    with JournalReader(run.journal_path) as reader:
        return [record.command.kind for record in reader.commands()]


async def answer_stop(app: DiffoptApp, pilot: Pilot[Any], key: str) -> None:
    """Ask to stop the run and quit, and answer the question."""
    await pilot.press("Q")
    await until(lambda: isinstance(app.screen, Dialog), pilot.pause)
    await pilot.press(key)


def test_leaving_with_q_says_that_training_goes_on(options: Options, go: Go) -> None:
    async def story() -> list[str]:
        run = RunFolder.create(options.runs_dir, "seed: 0\n", name="digits", mounts=[])
        app = DiffoptApp(options, Target(run=run))
        with working(run, *UP_TO_TRAINING):
            async with app.run_test(size=(80, 24)) as pilot:
                await pilot.press("q")
                await pilot.pause()
        return app.last_words

    assert go(story()) == ["digits works on. `diffopt-tui` shows it again."]


def test_a_runs_folder_that_cannot_be_read_keeps_nobody_here(
    options: Options, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: Path) -> None:
        raise RunError("The runs folder cannot be read (Permission denied).")

    monkeypatch.setattr("tui.parting.list_runs", closed)

    async def story(key: str) -> int | None:
        app = DiffoptApp(options)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press(key)
            await pilot.pause()
        return app.return_code

    assert [go(story(key)) for key in "qQ"] == [0, 0]


def test_stop_and_quit_stays_where_the_run_cannot_be_asked(
    options: Options, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RunError("A newer diffopt wrote this run.")

    monkeypatch.setattr("engine.run.steering.send", refuse)

    async def story() -> None:
        run = RunFolder.create(options.runs_dir, "seed: 0\n", name="digits", mounts=[])
        app = DiffoptApp(options, Target(run=run))
        with working(run, *UP_TO_TRAINING):
            async with app.run_test(size=(80, 24)) as pilot:
                await answer_stop(app, pilot, "y")
                await until(lambda: not isinstance(app.screen, Dialog), pilot.pause)
                await pilot.pause()
                told = [notice.text for notice in app.notices]
                assert told[-1] == "A newer diffopt wrote this run."
                assert not app.last_words
                assert app.is_running
                assert app.return_code is None

    go(story())


@pytest.mark.parametrize(("answer", "is_stopped"), [("enter", False), ("y", True)])
def test_stop_and_quit_asks_and_only_then_stops(
    options: Options, answer: str, is_stopped: bool, go: Go
) -> None:
    async def story() -> tuple[list[str], bool]:
        run = RunFolder.create(options.runs_dir, "seed: 0\n", name="digits", mounts=[])
        app = DiffoptApp(options, Target(run=run))
        with working(run, *UP_TO_TRAINING):
            async with app.run_test(size=(80, 24)) as pilot:
                await answer_stop(app, pilot, answer)
                await until(
                    lambda: app.last_words or not isinstance(app.screen, Dialog), pilot.pause
                )
                return asked(run), bool(app.last_words)

    assert go(story()) == ((["stop"], True) if is_stopped else ([], False))


@pytest.mark.parametrize(
    ("selected", "stops", "words"),
    [
        (
            "digits",
            ["stop"],
            [
                "digits stops after a checkpoint; r on Runs takes it up again.",
                "other works on. `diffopt-tui` shows it again.",
            ],
        ),
        ("ladder", [], ["digits, other work on. `diffopt-tui` shows them again."]),
    ],
)
def test_stop_and_quit_on_runs_means_the_selected_run(
    options: Options, recorded: Recorded, selected: str, stops: list[str], words: list[str], go: Go
) -> None:
    """Not the one that was opened on Live before."""

    async def story(digits: RunFolder, other: RunFolder) -> None:
        current = recorded("ladder") if selected == "digits" else digits
        app = DiffoptApp(options, Target(run=current))
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.press("1")
            await until(lambda: app.current_mode == "runs", pilot.pause)
            table = app.screen.query_one(RunTable)
            await until(lambda: len(table.rows) == 3, pilot.pause)
            table.cursor = [row.name for row in table.rows].index(selected)
            await until(lambda: table.row and table.row.is_readable, pilot.pause)
            await pilot.press("Q")
            if stops:
                await until(lambda: isinstance(app.screen, Dialog), pilot.pause)
                assert isinstance(app.screen, Dialog)
                assert app.screen.question.text.startswith(f"{selected} writes a checkpoint")
                await pilot.press("y")
            await until(lambda: app.last_words, pilot.pause)
        assert (asked(digits), asked(other)) == (stops, [])
        assert app.last_words == words

    recorded("ladder")
    with ExitStack() as workers:
        runs = [
            RunFolder.create(options.runs_dir, "seed: 0\n", name=name, mounts=[])
            for name in ("digits", "other")
        ]
        for run in runs:
            workers.enter_context(working(run, *UP_TO_TRAINING))
        go(story(*runs))


def test_of_runs_at_work_the_current_one_is_named_first_and_three_at_most(
    options: Options, recorded: Recorded
) -> None:
    assert words_at_parting(options.runs_dir, None) == []
    ladder = recorded("ladder")
    assert words_at_parting(options.runs_dir, ladder) == []
    with ExitStack() as workers:
        runs = []
        for name in "abcde":
            runs.append(RunFolder.create(options.runs_dir, "seed: 0\n", name=name, mounts=[]))
            workers.enter_context(working(runs[-1], *UP_TO_TRAINING))
        (words,) = words_at_parting(options.runs_dir, runs[2])
        assert words.startswith("c, ")
        assert words.endswith(" and 2 more work on. `diffopt-tui` shows them again.")
        (words,) = words_at_parting(options.runs_dir, ladder, stopped=runs[2])
        assert "c, " not in words
