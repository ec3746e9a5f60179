"""The samples of a run: newest first, step by step, before and after, and what is said without."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot

from engine.run import JournalReader, RunFolder
from engine.run.fact import changed
from tui.app import DiffoptApp
from tui.fold import fold
from tui.gallery import SampleFile
from tui.options import Options
from tui.screens.base import DiffoptScreen
from tui.state import RunView
from tui.widgets.samples import SamplesPane, open_on_desktop

Story = Callable[[SamplesPane, Pilot[None]], Awaitable[None]]


class Bare(DiffoptScreen):
    """A screen with nothing but samples."""

    NAME = "live"

    def compose_body(self) -> ComposeResult:
        yield SamplesPane()


@pytest.fixture
def run(recorded: Callable[[str], RunFolder]) -> RunFolder:
    return recorded("smoke")


@pytest.fixture
def samples(run: RunFolder) -> tuple[SampleFile, ...]:
    with JournalReader(run.journal_path) as reader:
        view = fold(RunView(), reader.facts())
    found = tuple(SampleFile.of(*one) for one in view.samples)
    for one in found:
        if not (run.path / one.path).is_file():  # not all were kept for the tests
            shutil.copy(run.path / found[-1].path, run.path / one.path)
    return found


@pytest.fixture
def on_screen(options: Options, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tell a story to a pane on a screen of its own."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def go(story: Story, size: tuple[int, int] = (120, 36)) -> None:
        async def on_stage() -> None:
            app = DiffoptApp(options)
            async with app.run_test(size=size) as pilot:
                await app.push_screen(Bare())
                pane = app.screen.query_one(SamplesPane)
                pane.focus()
                await pilot.pause()
                await story(pane, pilot)

        asyncio.run(on_stage())

    return go


async def settled(pane: SamplesPane, pilot: Pilot[None]) -> str:
    await pilot.pause()
    await pane.workers.wait_for_complete()
    await pilot.pause()
    return "\n".join(line.plain for line in pane.lines)


def test_before_the_first_sample_the_pane_says_when_it_comes(
    run: RunFolder, on_screen: Callable[..., None]
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, ())
        told = await settled(pane, pilot)
        assert "No samples yet" in told
        assert "training.sample_every" in told
        await pilot.press("left", "v", "i", "o")
        assert "There is no picture yet" in [note.text for note in app_of(pane).notices][-1]

    on_screen(story)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48)])
def test_the_newest_is_shown_and_keys_step_through_all(
    run: RunFolder,
    samples: tuple[SampleFile, ...],
    on_screen: Callable[..., None],
    size: tuple[int, int],
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, samples, original_steps=10)
        told = await settled(pane, pilot)
        assert "original 10" in told
        assert "undistilled 4" in told
        assert sum(len(line.spans) for line in pane.lines) > 50, "pixels"
        assert pane.shown == samples[-1]
        await pilot.press("left")
        assert pane.shown == samples[-2]
        await pilot.press("g")
        assert pane.shown == samples[0]
        assert f"{len(samples) - 1} newer" in str(pane.border_subtitle)
        await pilot.press("left")
        assert pane.shown == samples[0]
        await pilot.press("right")
        assert pane.shown == samples[1]
        await pilot.press("G")
        assert pane.shown == samples[-1]
        assert await settled(pane, pilot) == told

    on_screen(story, size)


def test_a_new_sample_is_followed_unless_an_older_one_is_looked_at(
    run: RunFolder, samples: tuple[SampleFile, ...], on_screen: Callable[..., None]
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, samples[:-2])
        pane.show(run, samples[:-1])
        assert pane.shown == samples[-2]
        await pilot.press("left")
        pane.show(run, samples)
        assert pane.shown == samples[-3]
        assert "2 newer" in str(pane.border_subtitle)

    on_screen(story)


def test_the_image_mode_goes_round_and_is_remembered(
    run: RunFolder, samples: tuple[SampleFile, ...], on_screen: Callable[..., None]
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, samples)
        drawn, modes = [await settled(pane, pilot)], [pane.mode]
        for _ in range(3):
            await pilot.press("i")
            drawn.append(await settled(pane, pilot))
            modes.append(pane.mode)
            assert pane.mode in str(pane.border_subtitle)
        assert modes == ["cells", "quadrants", "ascii", "cells"]
        assert drawn[3] == drawn[0]
        assert drawn[2].isascii()
        assert "@" in drawn[2]
        await pilot.press("i")
        assert app_of(pane).preferences.image_mode == "quadrants"

    on_screen(story)


def test_before_and_after_change_places_and_come_together_again(
    run: RunFolder, samples: tuple[SampleFile, ...], on_screen: Callable[..., None]
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, samples)
        both = await settled(pane, pilot)
        await pilot.press("v")
        before = await settled(pane, pilot)
        await pilot.press("v")
        after = await settled(pane, pilot)
        assert "undistilled" in before
        assert "student" not in before
        assert "student" in after
        assert "undistilled" not in after
        assert len(before.splitlines()) == len(after.splitlines())
        await pilot.press("v")
        assert await settled(pane, pilot) == both

    on_screen(story)


def test_the_files_path_is_told_and_copied(
    run: RunFolder,
    samples: tuple[SampleFile, ...],
    on_screen: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")

    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, samples)
        await pilot.press("o")
        path = str(run.path / samples[-1].path)
        assert pane.app.clipboard == path
        assert f"{path} copied" in [note.text for note in app_of(pane).notices]

    on_screen(story)


def test_a_file_is_opened_only_where_there_is_a_desktop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr("subprocess.Popen", lambda words, **_: started.append(words))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not open_on_desktop(tmp_path / "a.png")
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_on_desktop(tmp_path / "a.png")
    monkeypatch.setenv("SSH_CONNECTION", "far away")
    assert not open_on_desktop(tmp_path / "a.png")
    assert started == [["xdg-open", str(tmp_path / "a.png")]]


def test_a_picture_that_is_gone_is_told_in_the_pane(
    run: RunFolder, samples: tuple[SampleFile, ...], on_screen: Callable[..., None]
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        (run.path / samples[-1].path).unlink()
        pane.show(run, samples)
        assert "is gone" in await settled(pane, pilot)

    on_screen(story)


def test_what_is_shown_already_is_not_drawn_again(
    run: RunFolder,
    samples: tuple[SampleFile, ...],
    on_screen: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tui.widgets.samples as module

    read = module._read_and_draw
    seen: list[Path] = []

    def counted(path: Path, *rest: Any) -> Any:
        seen.append(path)
        return read(path, *rest)

    monkeypatch.setattr(module, "_read_and_draw", counted)

    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        for _ in range(5):
            pane.show(run, samples)
            await settled(pane, pilot)
        assert len(seen) == 1

    on_screen(story)


def app_of(pane: SamplesPane) -> DiffoptApp:
    assert isinstance(pane.app, DiffoptApp)
    return pane.app


@pytest.mark.parametrize("path", ["samples/\0.png", "samples/\x1b[2J\n.png"])
def test_a_path_that_no_file_can_have_is_told_and_steers_no_terminal(
    run: RunFolder, samples: tuple[SampleFile, ...], on_screen: Callable[..., None], path: str
) -> None:
    async def story(pane: SamplesPane, pilot: Pilot[None]) -> None:
        pane.show(run, (changed(samples[-1], path=path),))
        told = (await settled(pane, pilot)).strip()
        assert "is gone" in told or "cannot be read" in told
        assert told.isprintable()

    on_screen(story)
