"""The stage tree: what a run has done, does and will do, with every try, retry and rollback."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.content import Content
from textual.message import Message

from tui import format as words
from tui.state import RunView
from tui.tree import Node, TreeLine, lines, tree
from tui.widgets.pane import Line, Pane

COLOURS = {
    "running": "$primary",
    "done": "$success",
    "accepted": "$success",
    "paused": "$warning",
    "stopping": "$warning",
    "queued": "$text-muted",
    "waiting": "$text-muted",
    "skipped": "$text-muted",
    "retried": "$warning",
    "split": "$warning",
    "rolled back": "$warning",
    "rejected": "$error",
    "failed": "$error",
    "lost": "$error",
    "stuck": "$error",
    "cancelled": "$warning",
    "missed": "$warning",
    "gone": "$error",
    "damaged": "$error",
}


class StageTree(Pane):
    """A run's stages. Enter opens and closes a branch, or tells more of a line."""

    DEFAULT_CSS = "StageTree { overflow-x: hidden; }"
    has_cursor = True

    class Opened(Message):
        """Enter on a line that has no branches."""

        def __init__(self, line: TreeLine) -> None:
            """Say which."""
            super().__init__()
            self.line = line

    def __init__(self, *, id: str | None = None) -> None:
        """Make an empty tree."""
        super().__init__("Stages", id=id)
        self._root: Node | None = None
        self._tree: list[TreeLine] = []
        self._toggled: set[str] = set()
        self._name = ""

    def show_view(self, view: RunView, state: str, name: str) -> None:
        """Show a run; another one's branches are as they are by themselves."""
        if name != self._name:
            self._name, self._toggled, self._cursor = name, set(), 0
        self._root = tree(view, state, name)
        self._draw()

    @property
    def selected(self) -> TreeLine | None:
        """The line that the cursor is on."""
        return self._tree[self.cursor] if self.cursor < len(self._tree) else None

    def action_open(self) -> None:
        """Open or close the branch, or tell more of the line."""
        line = self.selected
        if line is None:
            return
        if line.has_children and line.key != "run":
            self._toggle(line.key)
        else:
            self.post_message(self.Opened(line))

    def action_move_right(self) -> None:
        """Open the branch."""
        line = self.selected
        if line is not None and line.has_children and not line.is_open:
            self._toggle(line.key)

    def action_move_left(self) -> None:
        """Close the branch, or go to the one that this line is of."""
        line = self.selected
        if line is None:
            return
        if line.has_children and line.is_open and line.key != "run":
            self._toggle(line.key)
            return
        for row in range(self.cursor - 1, -1, -1):
            if len(self._tree[row].indent) < len(line.indent) and self._tree[row].bar is None:
                self.cursor = row
                return

    def on_resize(self, event: events.Resize) -> None:
        """Fit the lines to the width."""
        self._draw()

    def _toggle(self, key: str) -> None:
        self._toggled ^= {key}
        self._draw()

    def _draw(self) -> None:
        if self._root is None:
            return
        at = self.selected
        self._tree = lines(self._root, self._toggled)
        width = max(12, self._room_of(len(self._tree)))
        self.set_lines([_drawn(line, width) for line in self._tree])
        if at is not None:  # the cursor stays on its line, wherever that is now
            rows = [row for row, line in enumerate(self._tree) if line.key == at.key]
            if rows:
                self.cursor = rows[0]
        if self.cursor == 0:
            self._keep_work_in_view()

    def _room_of(self, rows: int) -> int:
        """Return the width that so many rows will have, with or without a scrollbar."""
        region = self.scrollable_content_region
        width = region.width + self.scrollbar_size_vertical
        if not region.height:
            return self.content_size.width
        return width - self.styles.scrollbar_size_vertical * (rows > region.height)

    def _keep_work_in_view(self) -> None:
        """Scroll to the line at work and its bar, until the cursor is moved to look elsewhere."""
        at_work = [row for row, line in enumerate(self._tree) if row and line.state == "running"]
        if at_work:
            last = at_work[-1]
            has_bar = last + 1 < len(self._tree) and self._tree[last + 1].bar is not None
            self.keep_in_view(last + has_bar)
            self.keep_in_view(last)


def _drawn(line: TreeLine, width: int) -> Line:
    if line.bar is not None:
        room = width - cell_len(line.indent) - cell_len(line.figure) - 1
        bar = words.bar(line.bar, max(4, room))
        full = bar.rstrip(words.EMPTY)
        return Content.assemble(
            (line.indent, "$text-disabled"),
            (full, "$primary"),
            (bar[len(full) :], "$text-disabled"),
            (f" {line.figure}", "$foreground"),
        )
    colour = COLOURS.get(line.state, "")
    is_quiet = line.state in ("waiting", "skipped", "queued")
    indent = line.indent
    if line.has_children and indent:
        indent = indent[:-1] + ("▾" if line.is_open else "▸")
    figure = line.figure
    room = width - cell_len(line.indent) - 2 - cell_len(figure) - (1 if figure else 0)
    label = line.label
    if cell_len(label) > room:
        label = set_cell_size(label, max(0, room - 1)) + "…"
    text = set_cell_size(label, max(0, room))
    style = "bold" if line.key == "run" else "$text-muted" if is_quiet else "$foreground"
    return Content.assemble(
        (indent, "$text-disabled"),
        (words.glyph(line.state), f"bold {colour}"),
        " ",
        (text, style),
        (f" {figure}" if figure else "", "$text-muted" if line.state != "rejected" else "$error"),
    )
