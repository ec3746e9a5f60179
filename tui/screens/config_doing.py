"""What is done with a draft on the Config screen: save it, start it, copy it as a command."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ConfigError, DiffoptError
from engine.files import expanded, reason_of
from engine.run import RunFolder, RunState, list_runs
from tui import format
from tui.broken import is_there
from tui.config_words import why_not_start
from tui.dialogs import Choice, Question
from tui.screens.base import DiffoptScreen

if TYPE_CHECKING:
    from engine.estimate import Estimate
    from tui.draft import Draft


class ConfigDoing(DiffoptScreen):
    """The draft of ConfigScreen, and the actions that lead out of it."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        super().__init__()
        self.draft: Draft | None = None
        self.lock = ""  # why settings cannot be changed, "" where all can
        self.has_live = False  # a run at work takes some of them up all the same
        self.when_taken = ""  # and when it does
        self.estimate: Estimate | None = None  # what the draft costs, as far as it is known
        self._disk_told = ""  # what became of the file on disk: "", "changed", "gone"

    # What its children do with their panes

    @abstractmethod
    def flush(self) -> None:
        """Bring what is typed to the draft now."""

    @abstractmethod
    def refresh_all(self) -> None:
        """Show the draft as it is now."""

    @abstractmethod
    def load_source(self, source: str | Path | RunFolder, *, is_clone: bool = False) -> None:
        """Open a file, a recipe or a run's settings."""

    @abstractmethod
    def change(self, change: Callable[[Draft], object]) -> bool:
        """Change the draft; what cannot be changed is told, with the reason, and False returned."""

    @abstractmethod
    def look_at_disk(self) -> None:
        """Find out whether the file has changed since it was read, and show that."""

    @property
    def can_edit(self) -> bool:
        """Whether anything can be changed."""
        return not self.lock or self.has_live

    def why_not(self, action: str) -> str | None:
        """Return why an action cannot be done now; the line of cost says it of starting."""
        draft = self.draft
        if draft is None:
            return None
        if action == "run" and (reason := why_not_start(draft, "")):
            return f"cannot start: {reason}"
        if action in ("save", "undo", "redo", "default") and not self.can_edit:
            return f"{self.lock}."
        if action in ("editor", "presets") and self.lock:
            return f"{self.lock}."
        if action == "duplicate" and draft.source.run is None:
            return "d makes new settings of a run's; these are no run's."
        if action == "keep_mine" and self._disk_told != "changed":
            return "The file on disk has not changed since it was read."
        return None

    # Saving

    def action_save(self) -> None:
        """Write the file; ask for its name where it has none."""
        self.flush()
        if not self.can_edit:
            self.diffopt.tell(f"{self.lock}.", "warning", kind="lock")
            return
        is_run = self.draft is not None and self.draft.source.run is not None
        if is_run:  # each waits for its own answer
            self.run_worker(self._save_run, group="save")
        else:
            self.run_worker(self._save, exclusive=True, group="ask")

    async def _save_run(self) -> None:
        """Write a run's settings and tell its worker; say what it answers."""
        import asyncio

        from engine.run import steering

        draft = self.draft
        run = draft.source.run if draft is not None else None
        if draft is None or run is None:
            return
        self.look_at_disk()
        if not draft.is_modified:
            self.diffopt.tell("Nothing has changed.", kind="saved")
            return
        try:
            there, text = draft.brought_together()
            command = steering.change_settings(run, text, client="diffopt-tui", based_on=there)
        except (DiffoptError, OSError) as error:
            self.look_at_disk()
            self.diffopt.tell(f"not written: {error}", "error")
            return
        draft.taken_over(text)
        self._disk_told = ""
        self.refresh_all()
        if command is None:
            when = "nothing in it is news to its worker"
            if self.when_taken != "live at once":
                when = "taken up when it is resumed"
            self.diffopt.tell(f"{run.name}: written; {when}", kind="saved")
            return
        self.diffopt.tell(f"{run.name}: telling its worker…", kind="saving")
        answer = await asyncio.to_thread(steering.wait_for, run, command)
        if answer is None:
            self.diffopt.tell(f"{run.name}: written; its worker has not answered yet", "warning")
        elif answer.is_done:
            self.diffopt.tell(f"{run.name} took up: {answer.detail}", kind="taken")
        else:
            self.diffopt.tell(f"{run.name} refused: {answer.detail}", "error")

    async def _save(self) -> None:
        from tui.asking import Prompt

        draft = self.draft
        if draft is None:
            return
        path = draft.source.path
        if path is None:
            words = await self.app.push_screen_wait(
                Prompt(
                    "Save as", f"{draft.source.label}.yaml",
                    "A file name; ~ is your home, tab completes.",
                    _problem_with_name, completes="save",
                )
            )  # fmt: skip
            if words is None:
                return
            path = expanded(words).absolute()
        state = draft.disk_state()
        is_taken = path != draft.source.path and is_there(path)
        if state == "changed" or is_taken:
            why = "changed on disk since it was read" if not is_taken else "is there already"
            question = Question(
                "Overwrite?", f"{path.name} {why}. Writing replaces what it holds now.",
                (Choice("no", "Keep it"), Choice("yes", "Overwrite", is_destructive=True)),
            )  # fmt: skip
            if await self.diffopt.ask(question) != "yes":
                return
        try:
            written = draft.save(path)
        except ConfigError as error:
            self.diffopt.tell(str(error), "error")
            return
        self._disk_told = ""
        self.diffopt.config_source = written
        self.diffopt.tell(f"{draft.source.name} is saved", kind="saved")
        self.refresh_all()

    def action_reload(self) -> None:
        """Take the file as it is on disk now; undo takes that back."""
        self.flush()
        draft = self.draft
        if draft is None:
            return
        if draft.source.file is None:
            self.diffopt.tell(f"{draft.source.name} has no file to read again.", kind="reload")
            return
        try:
            draft.reload()
        except DiffoptError as error:
            self.diffopt.tell(str(error), "error")
            return
        self._disk_told = ""
        self.diffopt.tell("read again; ^z takes it back", kind="reload")
        self.refresh_all()

    def action_keep_mine(self) -> None:
        """Keep the text here though the file changed; saving then replaces it."""
        self.flush()
        self.change(lambda draft: draft.keep_mine())
        self.look_at_disk()

    # The draft of an earlier session

    def offer_draft(self) -> None:
        """Ask what becomes of changes that were never saved, where there are some."""
        draft = self.draft
        found = draft.found_draft() if draft is not None and self.can_edit else None
        if draft is None or found is None:
            return
        if draft.source.run is None or found.is_based_on_this:
            self.run_worker(self._offer_draft, exclusive=True, group="ask")
        elif (aside := draft.set_draft_aside(found)) is not None:
            told = f"{draft.source.name} has changed since changes to it were left unsaved"
            self.diffopt.tell(f"{told}; they lie in {aside}", kind="draft")

    async def _offer_draft(self) -> None:
        draft = self.draft
        found = draft.found_draft() if draft is not None else None
        if draft is None or found is None:
            return
        other = "" if found.is_based_on_this else " The file has changed since."
        question = Question(
            "Unsaved changes",
            f"{draft.source.name} was left with unsaved changes {format.age(found.age_seconds)} "
            f"ago.{other} Taking them is one step of undo.",
            (Choice("later", "Not now"), Choice("take", "Take them"),
             Choice("drop", "Throw them away", is_destructive=True)),
        )  # fmt: skip
        answer = await self.diffopt.ask(question)
        if answer == "take":
            draft.take_draft(found)
        elif answer == "drop":
            draft.drop_draft()
        elif (aside := draft.set_draft_aside(found)) is not None:
            self.diffopt.tell(f"the unsaved changes lie in {aside}", kind="draft")
        self.refresh_all()

    def _keep_draft_aloud(self) -> bool:
        """Return whether nothing would be lost by opening something else."""
        draft = self.draft
        if draft is None or not draft.is_modified:
            return True
        draft.keep_draft()
        if draft.is_kept:
            self.diffopt.tell(f"changes to {draft.source.name} are kept as a draft", kind="draft")
            return True
        told = f"changes to {draft.source.name} cannot be kept as a draft: nothing can be written"
        self.diffopt.tell(f"{told}. They stay open.", "error")
        return False

    # Starting

    def action_run(self) -> None:
        """Start a run with these settings."""
        self.flush()
        draft = self.draft
        if draft is None:
            return
        if (reason := why_not_start(draft, "")) is not None:
            self.diffopt.tell(f"cannot start: {reason}", "warning", kind="run")
            return
        self.run_worker(self._run, exclusive=True, group="ask")

    async def _run(self) -> None:
        from engine.config import config_to_yaml, make_paths_absolute

        draft = self.draft
        config = draft.checked.config if draft else None
        if draft is None or config is None:
            return
        if self.estimate is not None and self.estimate.problem:
            self.diffopt.tell(f"cannot start: {self.estimate.problem}", "error", kind="run")
            return
        question = Question(
            "Start a run",
            "\n".join(["", *self._words_before_start(draft)]).strip(),
            (Choice("no", "Not yet"), Choice("yes", "Start")),
        )
        if await self.diffopt.ask(question) != "yes":
            return
        try:
            make_paths_absolute(config)
            run = self.diffopt.start_run(config_to_yaml(config), draft.source.label)
        except (DiffoptError, OSError) as error:
            self.diffopt.tell(str(error), "error")
            return
        draft.started()
        self.diffopt.open_run(run)

    def _words_before_start(self, draft: Draft) -> list[str]:
        changed = len(draft.changed())
        words = [f"{draft.source.label}: {changed} settings differ from their defaults."]
        if self.estimate is not None and self.estimate.seconds is not None:
            words.append(f"About {format.duration(self.estimate.seconds)}, {self.estimate.basis}.")
        elif self.estimate is not None:
            words.append(f"How long it takes is unknown: {self.estimate.basis}.")
        if self.estimate is not None and not self.estimate.fits:
            words.append("It wants more memory than this machine has.")
        if self.estimate is not None and not self.estimate.has_room:
            words.append("It wants more room on the disk than there is.")
        if (other := _at_work(self.diffopt.runs_dir)) is not None:
            words.append(f"{other.name} is at work; this one waits for its turn.")
        if draft.is_modified and draft.source.path is not None:
            words.append(f"{draft.source.name} itself is not saved; ^s saves it.")
        return words

    def action_duplicate(self) -> None:
        """Make new settings of a run's."""
        if self.draft is not None and self.draft.source.run is not None:
            self.load_source(self.draft.source.run, is_clone=True)

    def action_copy_command(self) -> None:
        """Copy `diffopt run ... --set ...` that does the same."""
        self.flush()
        command = self.draft.as_command() if self.draft else None
        if command is None:
            self.diffopt.tell("Only settings without errors make a command.", "warning")
            return
        self.app.copy_to_clipboard(command)
        self.diffopt.tell(f"copied: {command}", kind="command")


def _problem_with_name(words: str) -> str | None:
    if not words.strip():
        return "Type a file name, or esc."
    path = expanded(words)
    if str(path).startswith("~"):
        return f"{path.parts[0]} is nobody's home folder here."
    try:
        if path.is_dir():
            return f"{path} is a folder; name a file in it."
    except OSError as error:
        return f"There can be no such file: {reason_of(error)}."
    if path.suffix not in (".yaml", ".yml"):
        return "Let it end in .yaml, so that `diffopt run` and you know what it is."
    return None


def _at_work(runs_dir: Path) -> RunFolder | None:
    for run in list_runs(runs_dir):
        try:
            if run.state() in (RunState.RUNNING, RunState.PAUSED, RunState.STOPPING) and (
                run.status().pid is not None
            ):
                return run
        except DiffoptError:
            continue
    return None
