"""One table of every key: bindings, footer, help, palette and docs/dashboard.md are made from it.

A key means one thing on every screen. `Key.screens` names the scopes that bind it: "app" (all four
screens), "over" (report, themes and notices, which lie over them), each of the four, and "pane"
(the focused list). A screen's `action_*` methods do the work; what a screen lacks is neither shown
nor bound there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.run.fact import Fact

if TYPE_CHECKING:
    from textual.binding import Binding

APP = ("app",)
OVER = ("app", "over")
ALL = ("runs", "config", "live", "compare")


class Key(Fact):
    """A key, or several, with what it does and where."""

    id: str  # for the keymap of ui.yaml: run.pause
    keys: str  # as Textual writes them, separated by commas
    action: str
    words: str  # its name in footer and palette; "" where another key has the name
    screens: tuple[str, ...]
    group: str
    help: str
    is_asked: bool = False  # a dialog asks first
    is_shown: bool = True  # in the footer, where there is room
    is_right: bool = False  # at the footer's right end
    is_priority: bool = False  # before a text box has its say
    panes: tuple[str, ...] = ()  # ids of the panes whose focus shows it in the footer; () any


_MOVE, _VIEW, _RUN, _LIST = "Move", "View", "Run control", "Runs"
_EDIT, _ALL = "Edit", "All screens"

KEYS: tuple[Key, ...] = (
    # All screens
    Key("app.help", "question_mark,f1", "help", "Help", OVER, _ALL,
        "the keys that work here; type to search, enter runs the line", is_right=True),
    Key("app.palette", "ctrl+p", "command_palette", "Palette", OVER, _ALL,
        "every action by name, grey ones with the reason", is_right=True),
    Key("app.runs", "1", "show('runs')", "Runs", APP, _ALL, "the table of runs", is_shown=False),
    Key("app.config", "2", "show('config')", "Config", APP, _ALL, "the settings of a run",
        is_shown=False),
    Key("app.live", "3", "show('live')", "Live", APP, _ALL, "one run while it works",
        is_shown=False),
    Key("app.compare", "4", "show('compare')", "Compare", APP, _ALL, "marked runs side by side",
        is_shown=False),
    Key("app.theme", "t", "next_theme", "Theme", APP, _ALL,
        "the next theme", is_shown=False),
    Key("app.themes", "T", "themes", "Themes", APP, _ALL,
        "all themes; moving previews, enter keeps one", is_shown=False),
    Key("app.notices", "exclamation_mark", "notices", "Notices", APP, _ALL,
        "what was told during this session", is_shown=False),
    Key("app.back", "escape", "back", "Back", APP, _ALL,
        "close what is open, or go back; never quits", is_shown=False),
    Key("app.copy", "ctrl+c", "copy_or_hint", "Copy", OVER, _ALL,
        "says how to leave; in a text box copies what is selected", is_shown=False),
    Key("app.redraw", "ctrl+l", "redraw", "Redraw", OVER, _ALL,
        "draw all again, after another program wrote on the terminal", is_shown=False,
        is_priority=True),
    Key("app.suspend", "ctrl+z", "suspend", "Suspend", OVER, _ALL,
        "back to the shell, fg returns (on Config it is undo)", is_shown=False),
    Key("app.detach", "q,ctrl+q", "detach", "Detach", APP, _ALL,
        "leave; training goes on", is_right=True),
    Key("app.stop", "Q", "quit_and_stop", "Stop and quit", APP, _ALL,
        "checkpoint, stop the run's engine and leave", is_asked=True, is_shown=False),
    # Moving
    Key("pane.next", "tab", "next_pane", "Next pane", ALL, _MOVE,
        "the next pane; in a box with a path, completes it first",
        is_shown=False),
    Key("pane.previous", "shift+tab", "previous_pane", "Previous pane", ALL, _MOVE,
        "the previous pane", is_shown=False),
    Key("pane.down", "down,j", "move_down", "Down", ("pane",), _MOVE, "down", is_shown=False),
    Key("pane.up", "up,k", "move_up", "Up", ("pane",), _MOVE, "up", is_shown=False),
    Key("pane.left", "left,h", "move_left", "Left", ("pane",), _MOVE, "left", is_shown=False),
    Key("pane.right", "right", "move_right", "Right", ("pane",), _MOVE, "right", is_shown=False),
    Key("list.right", "l", "pane_right", "Right", ("runs", "config", "compare"), _MOVE,
        "right (on Live `l` filters levels)", is_shown=False),
    Key("pane.page_down", "pagedown,ctrl+f", "page_down", "Page down", ("pane",), _MOVE,
        "a page down", is_shown=False),
    Key("pane.page_up", "pageup,ctrl+b", "page_up", "Page up", ("pane",), _MOVE,
        "a page up", is_shown=False),
    Key("pane.top", "g,home", "move_top", "Top", ("pane",), _MOVE, "to the top", is_shown=False),
    Key("pane.bottom", "G,end", "move_bottom", "Bottom", ("pane",), _MOVE, "to the bottom",
        is_shown=False),
    Key("pane.open", "enter", "open", "Open", ("pane",), _MOVE, "open what the cursor is on"),
    # Looking
    Key("view.zoom", "z", "zoom", "Zoom", ALL, _VIEW, "the focused pane alone, and back"),
    Key("view.tab_left", "left_square_bracket", "previous_tab", "Tab left",
        ("config", "live", "compare"), _VIEW,
        "the tab to the left in narrow layouts", is_shown=False),
    Key("view.tab_right", "right_square_bracket", "next_tab", "Tab right",
        ("config", "live", "compare"), _VIEW,
        "the tab to the right in narrow layouts", is_shown=False),
    Key("view.find", "slash", "find", "Find", ("runs", "config", "live"), _VIEW,
        "filter or find in the focused pane; esc ends it"),
    Key("view.next_hit", "n", "next_hit", "Next hit", ("live",), _VIEW, "the next hit",
        is_shown=False),
    Key("view.previous_hit", "N", "previous_hit", "Previous hit", ("live",), _VIEW,
        "the previous hit", is_shown=False),
    Key("view.log_y", "y", "log_y", "Log y", ("live", "compare"), _VIEW,
        "logarithmic height of charts, and back", panes=("charts", "chart")),
    Key("view.x_axis", "X", "x_axis", "x axis", ("live", "compare"), _VIEW,
        "all steps or this stage's; on Compare what the width counts", panes=("charts", "chart")),
    Key("view.metric", "m", "metric", "Metric", ("live", "compare"), _VIEW, "the next metric",
        panes=("charts", "chart", "table")),
    Key("view.zoom_in", "plus,equals_sign", "zoom_in", "Zoom in", ("live",), _VIEW,
        "fewer steps in a chart", is_shown=False),
    Key("view.zoom_out", "minus", "zoom_out", "Zoom out", ("live",), _VIEW,
        "more steps in a chart", is_shown=False),
    Key("view.zoom_all", "0", "zoom_all", "All steps", ("live",), _VIEW,
        "all steps in a chart", is_shown=False),
    Key("view.follow", "f", "follow", "Follow", ("live",), _VIEW,
        "hold the log still, or the charts where they have the focus, and let go; data go on",
        panes=("log", "charts")),
    Key("view.levels", "l", "levels", "Levels", ("live",), _VIEW,
        "which levels the log shows", panes=("log",)),
    Key("view.wrap", "w", "wrap", "Wrap", ("live", "config"), _VIEW, "wrap long lines, and back",
        panes=("log", "yaml")),
    Key("view.images", "i", "image_mode", "Image mode", ("live", "compare"), _VIEW,
        "how pictures are drawn: half cells, quadrants, ASCII", panes=("samples",)),
    Key("view.open_file", "o", "open_file", "Open file", ("live", "compare"), _VIEW,
        "the file: its path is told and copied, a desktop opens it",
        panes=("samples", "table", "runs")),
    Key("view.report", "O", "report", "Report", ("runs", "live"), _VIEW,
        "the report of a run that is done"),
    Key("view.blink", "v", "blink", "Before/after", ("live", "compare"), _VIEW,
        "undistilled and student in turn, at one place", panes=("samples",)),
    Key("view.sort", "s", "sort", "Sort", ("runs", "compare"), _VIEW,
        "by the next column", panes=("runs", "table")),
    Key("view.reload", "f5,ctrl+u", "reload", "Read again", ("runs", "config", "compare"), _VIEW,
        "read again", is_shown=False),
    # Runs
    Key("runs.new", "n", "new_run", "New", ("runs",), _LIST, "choose a recipe for a new run"),
    Key("runs.mark", "space", "mark", "Mark", ("runs",), _LIST, "mark for Compare, and back"),
    Key("runs.duplicate", "d", "duplicate", "Duplicate", ("runs", "config", "live"), _LIST,
        "a new run with this one's settings", is_shown=False),
    Key("runs.edit", "e", "edit_config", "Edit config", ("runs", "live"), _LIST,
        "the run's settings on Config"),
    Key("runs.archive", "A", "archive", "Archive", ("runs",), _LIST,
        "out of the way, and back", is_shown=False),
    Key("runs.trash", "x", "trash", "Trash", ("runs",), _LIST,
        "into the trash folder; u takes it back", is_asked=True, is_shown=False),
    Key("runs.undo", "u", "undo_trash", "Undo", ("runs",), _LIST,
        "take the last run back out of the trash", is_shown=False),
    Key("runs.empty_trash", "ctrl+x", "empty_trash", "Empty trash", ("runs",), _LIST,
        "delete what is in the trash for good", is_asked=True, is_shown=False),
    # Run control
    Key("run.pause", "p", "pause", "Pause", ("live", "runs"), _RUN,
        "hold still after the current step; again goes on"),
    Key("run.pause_space", "space", "pause", "", ("live",), _RUN, "the same as p",
        is_shown=False),
    Key("run.pause_free", "P", "pause_and_free", "Pause, free", ("live", "runs"), _RUN,
        "pause and give the memory back", is_shown=False),
    Key("run.resume", "r", "resume", "Resume", ("live", "runs"), _RUN,
        "let it go on, or take a stopped, lost or failed run up again"),
    Key("run.checkpoint", "b", "checkpoint", "Checkpoint", ("live",), _RUN,
        "write a checkpoint now"),
    Key("run.cancel_stage", "c", "cancel_stage", "Cancel", ("live", "runs"), _RUN,
        "give this stage up; the last accepted student is exported", is_asked=True),
    Key("run.cancel_run", "C", "cancel_run", "Cancel run", ("live", "runs"), _RUN,
        "end the run; its name is asked for", is_asked=True, is_shown=False),
    Key("run.retry", "R", "retry", "Retry", ("live",), _RUN,
        "begin the stage's current try again with other draws", is_asked=True,
        is_shown=False),
    # Compare
    Key("compare.export", "E", "export", "Export", ("compare",), _VIEW,
        "CSV and PNG of what is shown"),
    Key("compare.diff", "D", "diff", "Diff", ("config", "compare"), _VIEW,
        "what differs in the settings"),
    # Editing
    Key("config.save", "ctrl+s", "save", "Save", ("config",), _EDIT, "write the file",
        is_priority=True),
    Key("config.run", "ctrl+r", "run", "Run", ("config",), _EDIT,
        "start a run with these settings; it queues where one works", is_priority=True),
    Key("config.undo", "ctrl+z", "undo", "Undo", ("config",), _EDIT, "take the last change back"),
    Key("config.redo", "ctrl+y", "redo", "Redo", ("config",), _EDIT, "make it again"),
    Key("config.default", "ctrl+d", "default", "Default", ("config",), _EDIT,
        "the setting's default"),
    Key("config.next_error", "ctrl+n", "next_error", "Next error", ("config",), _EDIT,
        "to the next setting that is wrong", is_priority=True, is_shown=False),
    Key("config.editor", "f4,ctrl+o", "editor", "$EDITOR", ("config",), _EDIT,
        "the file in your editor", is_priority=True),
    Key("config.yaml", "f2,ctrl+g", "show_yaml", "YAML", ("config",), _EDIT,
        "between form and YAML", is_priority=True),
    Key("config.presets", "f3,ctrl+t", "presets", "Presets", ("config",), _EDIT,
        "how much to spend, or another recipe to begin from", is_priority=True),
    Key("config.command", "Y", "copy_command", "Copy command", ("config",), _EDIT,
        "the command line that does the same", is_shown=False),
    Key("config.keep_mine", "K", "keep_mine", "Keep mine", ("config",), _EDIT,
        "the text here, though the file changed on disk", is_shown=False),
)  # fmt: skip


def bindings_for(scope: str) -> list[Binding]:
    """Return the Textual bindings of a scope, as `Key.screens` names it."""
    from textual.binding import Binding

    return [
        Binding(
            key.keys,
            f"app.{key.action}" if scope == "over" else key.action,
            key.words or key.help,
            show=key.is_shown,
            tooltip=key.help,
            id=key.id,
            priority=key.is_priority,
        )
        for key in KEYS
        if scope in key.screens
    ]


BY_ID = {key.id: key for key in KEYS}

_NAMES = {
    "question_mark": "?", "exclamation_mark": "!", "slash": "/",
    "left_square_bracket": "[", "right_square_bracket": "]",
    "plus": "+", "equals_sign": "=", "minus": "-", "escape": "esc", "pagedown": "pgdn",
    "pageup": "pgup", "shift+tab": "shift+tab",
}  # fmt: skip


def key_words(key: str) -> str:
    """Return a key as footer and help write it: question_mark is ?, ctrl+p is ^p, f1 is F1."""
    key = key.strip()
    if key in _NAMES:
        return _NAMES[key]
    if key.startswith("ctrl+"):
        return "^" + key_words(key.removeprefix("ctrl+"))
    if len(key) > 1 and key[0] == "f" and key[1:].isdigit():
        return key.upper()
    return key
