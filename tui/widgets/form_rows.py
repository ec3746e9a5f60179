"""The rows of the form: which there are, and how each is drawn. Keys are in `form.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from engine.run.fact import Fact
from tui.config_words import beside_key
from tui.schema import SECTION_NAMES, Section, Setting, sections
from tui.typed_values import MISSING, shown
from tui.widgets.line_editor import LineEditor
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from tui.draft import Draft

CHANGED, WRONG, LOCKED = "●", "✗", "▪"
MUTED = "$text-muted"


class Row(Fact):
    """A section's header, or a setting."""

    section: Section
    setting: Setting | None = None

    @property
    def key(self) -> str:
        """What the cursor remembers a row by."""
        return self.setting.key if self.setting else f"{self.section.name}."


class FormRows(Pane):
    """A pane of a draft's settings, section by section, and of the box that is typed into."""

    has_cursor: ClassVar[bool] = True

    def __init__(self) -> None:
        """Make an empty form."""
        super().__init__("Form", id="form")
        self._draft: Draft | None = None
        self._rows: list[Row] = []
        self._open: set[str] = {""}
        self._locked: dict[str, bool] | None = None  # key -> is it locked; None: nothing is
        self._when_taken = ""  # when a run takes up the ones that are not
        self.editor: LineEditor | None = None
        self.finder: LineEditor | None = None
        self.offers: tuple[str, ...] = ()  # how the path that is typed may go on
        self.has_passed_escape = False
        self._is_touched = False  # whether something was typed into the box that is open
        self._needle = ""
        self._changed: set[str] = set()
        self._width = 72

    def draw(self, *, is_cursor_kept: bool = True) -> None:
        """Show the draft as it is now."""
        if self._draft is None:
            return
        key = self.key
        self._rows = self._visible_rows()
        self._changed = {one.key for one in self._draft.changed()}
        self._width = self._measured()
        if is_cursor_kept and key:
            keys = [row.key for row in self._rows]
            if key in keys:
                self._cursor = keys.index(key)
        self.set_lines([self._line(row) for row in self._rows])
        self._tell_title()

    def show_names(self) -> None:
        """Show the sections by name, until there is a draft."""
        self.set_lines([_name_line(name) for name in SECTION_NAMES])

    @property
    def row(self) -> Row | None:
        """The row of the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    @property
    def key(self) -> str:
        """The setting of the cursor; "training." on a section's header."""
        return self.row.key if self.row else ""

    def _visible_rows(self) -> list[Row]:
        rows: list[Row] = []
        if self._draft is None:
            return rows
        needle = self._needle.lower()
        if needle:
            return _hits(needle)
        for section in sections():
            rows.append(Row(section))
            if section.name in self._open:
                rows += [Row(section, one) for one in section.settings]
        return rows

    def _value(self, setting: Setting) -> Any:
        return self._draft.value(setting.key) if self._draft else MISSING

    def _words(self, setting: Setting) -> str:
        return self._draft.words(setting.key) if self._draft else ""

    def is_locked(self, key: str) -> bool:
        """Return whether a setting cannot be changed now."""
        return self._locked is not None and self._locked.get(key, True)

    def _line(self, row: Row) -> Content:
        return self._header(row.section) if row.setting is None else self._setting_line(row.setting)

    def _header(self, section: Section) -> Content:
        is_open = bool(self._needle) or section.name in self._open
        told = self._words_of(section)
        name = _name_line(section.name, self._widths()[0], is_open=is_open)
        return Content.assemble(name, (told, MUTED))

    def _words_of(self, section: Section) -> str:
        if self._draft is None:
            return ""
        keys = {one.key for one in section.settings}
        whole = {section.name} - {""}  # "" is the whole text, and no section
        wrong = sum(fault.key in keys | whole for fault in self._draft.faults)
        changed = sum(one.key in keys for one in self._draft.changed())
        words = [f"{wrong} wrong"] if wrong else []
        words += [f"{changed} changed"] if changed else []
        return " · ".join(words) or "defaults"

    def _measured(self) -> int:
        return max(40, self.scrollable_content_region.width or 72)

    def _widths(self) -> tuple[int, int]:
        """Return the cells for names and for boxes."""
        inner = self._width
        name, note = (27, 16) if inner >= 70 else (22, 13)
        return name, max(12, min(34, inner - name - 6 - note))

    def _setting_line(self, setting: Setting) -> Content:
        draft = self._draft
        assert draft is not None
        name_width, box_width = self._widths()
        value = self._value(setting)
        fault = draft.fault_of(setting.key)
        is_changed = setting.key in self._changed
        is_locked = self.is_locked(setting.key)
        sign, sign_style = " ", MUTED
        if fault is not None:
            sign, sign_style = WRONG, "$text-error"
        elif is_locked:
            sign = LOCKED
        elif is_changed:
            sign, sign_style = CHANGED, "$accent"
        name = _clipped(setting.name, name_width)
        parts: list[tuple[str, str] | str | Content] = [
            (f"  {sign} ", sign_style),
            (name, "bold" if is_changed else ""),
        ]
        if self.editor is not None and self.key == setting.key:
            return Content.assemble(*parts, *self._box_being_typed(name_width))
        style = "" if is_changed or fault else MUTED
        parts += [(_box(setting, value, draft.words(setting.key), box_width), style)]
        if fault is not None:
            note, note_style = beside_key(fault).partition(", found ")[0], "$text-error"
        elif self._locked is not None and not is_locked:
            note, note_style = self._when_taken, "$text-success"
        elif is_changed and not setting.is_required:
            note, note_style = f"default {shown(setting.default) or 'none'}", MUTED
        else:
            note, note_style = setting.unit, MUTED
        room = self._width - name_width - box_width - 6
        note = note if cell_len(note) <= room else f"{note[: max(0, room - 1)]}…"
        return Content.assemble(*parts, "  ", (note, note_style))

    def _box_being_typed(self, name_width: int) -> list[Any]:
        assert self.editor is not None
        width = self._width - name_width - 4 - 4
        text, at = self.editor.window(width - 1)
        text = text.ljust(at + 1)
        fill = " " * max(0, width - cell_len(text))
        return [
            ("[ ", "bold $accent"),
            (text[:at], "bold"),
            (text[at], "reverse"),
            (text[at + 1 :], "bold"),
            (fill, ""),
            (" ]", "bold $accent"),
        ]

    def _tell_title(self) -> None:
        if self.finder is not None:
            text = self.finder.text
            self.set_title(f"Form  / {text}▏  enter keeps · esc ends")
        elif self._needle:
            self.set_title(f"Form  / {self._needle}  (esc shows all)")
        else:
            self.set_title("Form   / find a key")

    def _redraw_row(self) -> None:
        if self._draft is not None and self._rows:
            self.set_line(self._cursor, self._line(self._rows[self._cursor]))


def _hits(needle: str) -> list[Row]:
    """Return the settings with a word in name or description, those of that name first."""

    def rank(one: Setting) -> int:
        if needle in (one.key.lower(), one.name.lower()):
            return 0
        return 1 if needle in one.key.lower() else 2

    found = []
    for section in sections():
        hits = [one for one in section.settings
                if needle in one.key.lower() or needle in one.description.lower()]  # fmt: skip
        if hits:
            found.append((section, sorted(hits, key=rank)))
    found.sort(key=lambda one: rank(one[1][0]))
    return [row for section, hits in found
            for row in (Row(section), *(Row(section, one) for one in hits))]  # fmt: skip


def _name_line(name: str, width: int = 0, *, is_open: bool = False) -> Content:
    name = name or "essentials"
    return Content.assemble(("▼ " if is_open else "▶ ", "$accent"), (name.ljust(width + 3), "bold"))


def _clipped(text: str, width: int) -> str:
    return text.ljust(width) if len(text) < width else text[: width - 2] + "… "


def _box(setting: Setting, value: Any, text: str, width: int) -> str:
    """Return the value in its box, as wide as the others."""
    if setting.kind == "bool" and isinstance(value, bool):
        return f"[{'x' if value else ' '}] {'yes' if value else 'no'}".ljust(width)
    text = "null" if value is None else text
    inner = width - 4
    if setting.kind == "choice":
        return f"( {_fitted(text, inner - 2)} ▾ )"
    return f"[ {_fitted(text, inner)} ]"


def _fitted(text: str, width: int) -> str:
    text = " ".join(text.split("\n"))
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"
