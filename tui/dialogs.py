"""Questions before what destroys.

The focus starts on the safe button, `y` `n` and esc work, the text says what is kept. A question
may demand that a name be typed.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from engine.run.fact import Fact


class Choice(Fact):
    """A button."""

    id: str
    words: str
    is_destructive: bool = False


class Question(Fact):
    """What is asked, and the buttons. The first choice is the safe one: n and esc take it.

    `yes` is the choice that `y` takes, the second where it is not named. `typed` must be typed
    before any choice but the safe one counts.
    """

    title: str
    text: str
    choices: tuple[Choice, ...]
    yes: str = ""
    typed: str = ""

    @property
    def safe(self) -> str:
        """The choice that changes nothing."""
        return self.choices[0].id

    @property
    def confirming(self) -> str:
        """The choice of `y`."""
        return self.yes or self.choices[1].id


def confirm(title: str, text: str, yes: str, *, no: str = "Keep it", typed: str = "") -> Question:
    """Return a question with two buttons; its answers are "no" and "yes"."""
    return Question(
        title, text, (Choice("no", no), Choice("yes", yes, is_destructive=True)), typed=typed
    )


class Dialog(ModalScreen[str]):
    """A question over the screen; its result is the id of the choice."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes"),
        Binding("n,escape,q", "no", "No"),
        Binding("left,h,up,k", "app.focus_previous", show=False),
        Binding("right,l,down,j", "app.focus_next", show=False),
    ]

    def __init__(self, question: Question) -> None:
        """Ask `question`."""
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """Lay the question out."""
        question = self.question
        with Vertical(id="dialog"):
            yield Static(question.text, id="dialog-text", markup=False)
            if question.typed:
                yield Input(placeholder=question.typed, id="dialog-typed", select_on_focus=False)
                yield Static("", id="dialog-hint", markup=False)
            with Horizontal(id="dialog-buttons"):
                for choice in question.choices:
                    yield Button(
                        choice.words,
                        id=f"choice-{choice.id}",
                        variant="error" if choice.is_destructive else "default",
                        compact=True,
                    )

    def on_mount(self) -> None:
        """Start on the safe button, or in the box where a name is to be typed."""
        box, words = self.query_one("#dialog"), {one.id: one.words for one in self.question.choices}
        box.border_title = self.question.title
        yes, safe = words[self.question.confirming], words[self.question.safe]
        box.border_subtitle = f"{'enter' if self.question.typed else 'y'} {yes} · esc {safe}"
        if self.question.typed:
            self.query_one(Input).focus()
            self._hint(f"Type {self.question.typed} to confirm.")
        else:
            self.query_one(f"#choice-{self.question.safe}", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take the pressed button."""
        event.stop()
        self._take((event.button.id or "").removeprefix("choice-"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the box confirms, where the name is right."""
        event.stop()
        self._take(self.question.confirming)

    def action_yes(self) -> None:
        """Take the choice of y."""
        self._take(self.question.confirming)

    def action_no(self) -> None:
        """Take the safe choice."""
        self._take(self.question.safe)

    def _take(self, choice: str) -> None:
        typed = self.question.typed
        if choice != self.question.safe and typed and self.query_one(Input).value != typed:
            self._hint(f"That is not {typed}. Type it letter by letter, or esc.")
            self.query_one(Input).focus()
            return
        self.dismiss(choice)

    def _hint(self, text: str) -> None:
        self.query_one("#dialog-hint", Static).update(text)
