"""ReportScreen: a run's report.md over the screen, to be read where the run was watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType

from engine.run import RunFolder
from tui.report_text import report_lines
from tui.screens.lists import ListScreen
from tui.widgets.pane import Pane
from tui.widgets.samples import open_on_desktop

if TYPE_CHECKING:
    from tui.app import DiffoptApp


class _Report(Pane):
    DEFAULT_CSS = "_Report { scrollbar-gutter: stable; }"  # or its bar lies over the last letters

    def __init__(self, run: RunFolder, text: str) -> None:
        super().__init__(f"Report of {run.name}", subtitle="o path · ← → wide tables · esc closes")
        self._text = text

    def on_resize(self) -> None:
        """Fit the lines to the width."""
        self.set_lines(report_lines(self._text, self.scrollable_content_region.width))


class ReportScreen(ListScreen):
    """What a run came to."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "open_file", "Open"),
                                             Binding("O", "close", "Close")]  # fmt: skip

    def __init__(self, run: RunFolder) -> None:
        """Show the report of this run."""
        super().__init__()
        self._run = run

    def make_pane(self) -> Pane:
        """Return the report, or why it cannot be read."""
        try:
            text = self._run.report_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            text = f"{self._run.report_path} cannot be read: {error}."
        return _Report(self._run, text)

    def action_open_file(self) -> None:
        """Tell and copy the report's path, and open it where there is a desktop."""
        app, path = cast("DiffoptApp", self.app), self._run.report_path
        app.copy_to_clipboard(str(path))
        is_opened = open_on_desktop(path)
        app.tell(f"{path} {'opened' if is_opened else 'copied'}", kind=f"open {path}")
