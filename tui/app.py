"""DiffoptApp: the four screens, what leads between them, and what every screen may ask for.

A client like the command line: it reads journals and writes commands, and training goes on
without it. MLX is never imported here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.binding import BindingType
from textual.command import Provider
from textual.filter import Monochrome, NoColor
from textual.screen import Screen

from engine.errors import DiffoptError
from engine.run import CommandKind, RunFolder, steering
from tui import format as words
from tui.dialogs import Dialog, Question
from tui.ends import Ends
from tui.keys import bindings_for
from tui.live_keys import live_keys
from tui.marks import Marks
from tui.messages import CommandSent, RunOpened
from tui.notices import end_signal
from tui.options import Options
from tui.parting import is_at_work, words_at_parting
from tui.screens.base import DiffoptScreen
from tui.taken_up import TakenUp
from tui.targets import Target
from tui.wardrobe import Wardrobe

if TYPE_CHECKING:
    from tui.follow import Snapshot

CLIENT = "diffopt-tui"
END_SECONDS = 2.0  # between looks at runs that no screen shows


def _runs() -> Screen[Any]:
    from tui.screens.runs import RunsScreen

    return RunsScreen()


def _config() -> Screen[Any]:
    from tui.screens.config import ConfigScreen

    return ConfigScreen()


def _live() -> Screen[Any]:
    from tui.screens.live import LiveScreen

    return LiveScreen()


def _compare() -> Screen[Any]:
    from tui.screens.compare import CompareScreen

    return CompareScreen()


def _actions() -> type[Provider]:
    from tui.palette import Actions

    return Actions


class DiffoptApp(Wardrobe, inherit_bindings=False):
    """The dashboard."""

    TITLE = "diffopt"
    CSS_PATH = Path(__file__).with_name("diffopt.tcss")  # also for children elsewhere
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "runs": _runs,
        "config": _config,
        "live": _live,
        "compare": _compare,
    }
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("app")]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (140, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_actions}

    def __init__(self, options: Options, target: Target | None = None) -> None:
        """Make the app; it starts on what `target` names."""
        self._target = target or Target()
        first = "config" if self._target.config is not None else "runs"
        if self._target.run is not None or self._target.recipe is not None:
            first = "live"
        self.DEFAULT_MODE = first  # pyright: ignore[reportAttributeAccessIssue]
        super().__init__(options)
        self.current_run: RunFolder | None = self._target.run
        self.config_source: str | Path | RunFolder | None = self._target.config
        self.is_clone = False
        self.marked = Marks()
        self.taken_up = TakenUp()
        self._ends = Ends()
        self.last_words: list[str] = []
        if self.no_color:  # Textual would send greys
            self._filters = [
                NoColor() if isinstance(one, Monochrome) else one for one in self._filters
            ]
        if options.is_ascii:
            from tui.display.ascii import AsciiFilter

            self._filters.append(AsciiFilter())

    @property
    def runs_dir(self) -> Path:
        """The folder of runs."""
        return self.options.runs_dir

    def on_mount(self) -> None:
        """Start what was asked for, and mind the terminal's end."""
        self._listen_for_hangup()
        self.call_after_refresh(_collect_from_now_on)
        self._tell_what_waits()
        self.set_interval(END_SECONDS, self._look_for_ends)
        if self._target.recipe is not None:
            self._start_recipe(self._target.recipe)

    def _start_recipe(self, recipe: str) -> None:
        from engine.config import config_to_yaml, load_config

        try:
            run = self.start_run(config_to_yaml(load_config(recipe)), recipe)
        except DiffoptError as error:
            self.tell(str(error), "error")
        else:
            self.open_run(run)

    # What screens ask for

    def open_run(self, run: RunFolder) -> None:
        """Show a run on Live."""
        self.current_run = run
        if self.current_mode != "live":
            self.switch_mode("live")
        self._tell_screen("live", RunOpened(run))

    def open_config(self, source: str | Path | RunFolder, *, is_clone: bool = False) -> None:
        """Show a file, a recipe or a run's settings on Config."""
        self.config_source, self.is_clone = source, is_clone
        self.switch_mode("config")
        screen = self.screen
        # one that is only being made reads `config_source` when it is mounted
        if hasattr(screen, "load_source") and screen.is_mounted:
            screen.load_source(source, is_clone=is_clone)  # pyright: ignore[reportAttributeAccessIssue]

    def start_run(self, config_text: str, label: str, *, name: str | None = None) -> RunFolder:
        """Make a run folder with these settings and start its worker; it queues by itself.

        Raises RunError where it cannot be made.
        """
        run = steering.create_and_start(
            self.runs_dir, config_text, label=label, client=CLIENT, name=name
        )
        self.tell(f"{run.name} is started")
        return run

    def send(self, run: RunFolder, kind: CommandKind, *, stage: int | None = None) -> bool:
        """Ask a run's worker for something; the answer comes as an event of its journal.

        Returns whether it was asked; why not is told.
        """
        try:
            command = steering.send(run, kind, client=CLIENT, stage=stage)
        except DiffoptError as error:
            self.tell(str(error), "error")
            return False
        self.screen.post_message(CommandSent(run, kind, command.id))
        return True

    def take_up(self, snapshot: Snapshot) -> bool:
        """Start a worker for a run that has none: stopped, lost or failed.

        Returns whether it was started; why not is told.
        """
        name = snapshot.run.name
        if self.taken_up.is_awaited(snapshot):
            self.tell(f"{name} is being taken up; its new engine has told nothing yet.", kind="r")
            return False
        try:
            steering.take_up(snapshot.run)
        except DiffoptError as error:
            self.tell(str(error), "error")
            return False
        self.taken_up.add(snapshot)
        self.tell(f"{name} is taken up again")
        return True

    def _look_for_ends(self) -> None:
        """Look at runs that no shown screen looks at."""
        if self.current_mode == "runs":  # which reads all of them
            return
        shown = self.current_run.path if self.current_run and self.current_mode == "live" else None
        if paths := self._ends.at_work(shown):
            self._read_states(paths)

    @work(exclusive=True, group="ends")
    async def _read_states(self, paths: list[Path]) -> None:
        for path, state in await asyncio.to_thread(self._ends.states_now, paths):
            self.note_state(path, state)

    def note_state(self, run: Path, state: str) -> None:
        """Tell of a run that ended since it was last seen, by a notice and as the bell is set."""
        if not self._ends.has_ended(run, state):
            return
        text = f"{run.name} is {words.word(state)}"
        self.tell(text, "error" if state in ("failed", "lost") else "information")
        if (signal_ := end_signal(self.preferences.bell, text)) and self._driver is not None:
            self._driver.write(signal_)

    async def ask(self, question: Question) -> str | None:
        """Return the choice the user makes; from within a worker (`self.run_worker`) only."""
        return await self.push_screen_wait(Dialog(question))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Keep the cursors of text boxes still: a blink is bytes, twice a second."""
        if getattr(event.widget, "cursor_blink", False):  # Input and TextArea, not imported here
            event.widget.cursor_blink = False  # pyright: ignore[reportAttributeAccessIssue]

    # Keys of every screen

    def action_show(self, mode: str) -> None:
        """Go to a screen."""
        if mode != self.current_mode:
            self.switch_mode(mode)

    async def action_back(self) -> None:
        """Close what is open on the screen."""
        if isinstance(self.screen, DiffoptScreen):
            self.screen.go_back()

    def action_help(self) -> None:
        """Show the keys that work here."""
        from tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(live_keys(self.screen), self.options.is_ascii))

    def action_notices(self) -> None:
        """List what was told during this session."""
        from tui.screens.lists import NoticesScreen

        self.push_screen(NoticesScreen(self.notices))

    def action_copy_or_hint(self) -> None:
        """Say how to leave: nothing was selected to be copied."""
        self.tell("q detaches: training goes on. Q stops it and quits.", kind="hint")

    def action_redraw(self) -> None:
        """Draw everything again: another program wrote on the terminal."""
        self.draw_afresh()

    def action_suspend(self) -> None:
        """Give the terminal back to the shell."""
        self.action_suspend_process()

    def action_detach(self) -> None:
        """Leave; training goes on."""
        self.last_words = words_at_parting(self.runs_dir, self.current_run)
        self.exit()

    def action_quit_and_stop(self) -> None:
        """Ask, then checkpoint, stop the run's engine and leave."""
        self.run_worker(self._quit_and_stop, exclusive=True, group="ask")

    async def _quit_and_stop(self) -> None:
        from tui.dialogs import confirm

        screen = self.screen
        run = screen.chosen_run if isinstance(screen, DiffoptScreen) else self.current_run
        if run is None or not is_at_work(run):
            self.action_detach()
            return
        question = confirm(
            "Stop and quit",
            f"{run.name} writes a checkpoint and its engine ends. Nothing is lost: "
            f"`diffopt resume {run.name}`, or r on Runs, takes it up again.",
            "Checkpoint, stop, quit",
            no="Keep it running",
        )
        if await self.ask(question) == "yes" and self.send(run, CommandKind.STOP):
            self.last_words = [
                f"{run.name} stops after a checkpoint; r on Runs takes it up again.",
                *words_at_parting(self.runs_dir, self.current_run, stopped=run),
            ]
            self.exit()

    # The frame's own

    def _tell_screen(self, mode: str, message: Any) -> None:
        for screen in self._screen_stacks.get(mode, [])[:1]:
            screen.post_message(message)

    def _listen_for_hangup(self) -> None:
        if self.is_headless or not hasattr(signal, "SIGHUP"):
            return
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError):  # not on the main thread
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
            loop.add_signal_handler(signal.SIGTERM, self.exit)

    def exit(self, *args: Any, **options: Any) -> None:
        """Leave, by whatever way, with what was typed until now kept."""
        self._keep_typed()
        super().exit(*args, **options)

    def _keep_typed(self) -> None:
        for stack in self._screen_stacks.values():
            for screen in stack:
                if isinstance(screen, DiffoptScreen):
                    with suppress(Exception):
                        screen.on_hangup()

    def _hung_up(self) -> None:
        """Save what would be lost and be gone: nobody can see the screen any more."""
        self._keep_typed()
        sys.stdout = sys.stderr = None
        os._exit(128 + signal.SIGHUP)


def _collect_from_now_on() -> None:
    if not gc.isenabled():
        gc.freeze()  # modules and style rules stay for good
        gc.enable()
