"""Small windows over a screen: a list to pick from, a line to type. Used by Config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.widgets.pane import Pane


class _List(Pane):
    has_cursor: ClassVar[bool] = True

    def action_open(self) -> None:
        """Take the line of the cursor."""
        screen = self.screen
        assert isinstance(screen, Pick)
        screen.dismiss(self.cursor)

    def on_click(self) -> None:
        """Take it with the mouse too."""
        self.action_open()


class Pick(ModalScreen[int | None]):
    """A list; its result is the number of the line, None for none."""

    DEFAULT_CSS = """
    Pick { align: center middle; background: $background 60%; }
    #pick { width: 76; max-width: 96%; height: auto; max-height: 80%; border: heavy $accent;
            background: $surface; overflow-x: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "Back")]

    def __init__(
        self,
        title: str,
        lines: Sequence[Content | str],
        hint: str = "",
        *,
        width: int | None = None,
    ) -> None:
        """Offer `lines`, in a window of `width` cells where the usual one is too narrow."""
        super().__init__()
        self._title, self._offered, self._hint, self._width = title, lines, hint, width

    def compose(self) -> ComposeResult:
        """Lay the list out."""
        pane = _List(self._title, self._offered, subtitle=self._hint, id="pick")
        pane.styles.height = len(self._offered) + 2
        if self._width is not None:
            pane.styles.width = self._width
        yield pane

    def on_mount(self) -> None:
        """Begin in the list."""
        self.query_one(_List).focus()

    def change(self, lines: Sequence[Content | str]) -> None:
        """Show other words for the same lines, such as a cost that is known by now."""
        self.query_one(_List).set_lines(lines)

    def action_leave(self) -> None:
        """Take nothing."""
        self.dismiss(None)


class Prompt(ModalScreen[str | None]):
    """A line to type; its result is the line, None for none."""

    DEFAULT_CSS = """
    Prompt { align: center middle; background: $background 60%; }
    #prompt { width: 72; max-width: 96%; height: auto; border: heavy $accent; padding: 1 2;
              background: $surface; }
    #prompt-hint { height: auto; min-height: 1; color: $text-muted; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]

    def __init__(
        self,
        title: str,
        value: str,
        hint: str,
        problem_with: Callable[[str], str | None],
        *,
        completes: str = "",
    ) -> None:
        """Ask for a line; `problem_with` says why one cannot be taken.

        `completes`: what tab looks for where the line is a path, as `tui/completion.py` names it.
        """
        super().__init__()
        self._title, self._value, self._hint = title, value, hint
        self._problem_with, self._completes = problem_with, completes

    def compose(self) -> ComposeResult:
        """Lay the box out."""
        with Vertical(id="prompt"):
            yield Input(self._value, compact=True, select_on_focus=False)
            yield Static(self._hint, id="prompt-hint", markup=False)

    def on_mount(self) -> None:
        """Begin in the box."""
        self.query_one("#prompt").border_title = self._title
        self.query_one(Input).focus()

    def on_key(self, event: events.Key) -> None:
        """Complete a path with tab."""
        if event.key != "tab" or not self._completes:
            return
        from tui.completion import complete

        event.stop()
        event.prevent_default()
        box = self.query_one(Input)
        found = complete(box.value, self._completes)
        box.value, box.cursor_position = found.text, len(found.text)
        told = "  ".join(found.names[:12]) + (" …" if len(found.names) > 12 else "")
        self.query_one("#prompt-hint", Static).update(told or self._hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the line, unless something is wrong with it."""
        event.stop()
        problem = self._problem_with(event.value)
        if problem is None:
            self.dismiss(event.value)
        else:
            self.query_one("#prompt-hint", Static).update(problem)

    def action_leave(self) -> None:
        """Take nothing."""
        self.dismiss(None)
