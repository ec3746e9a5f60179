"""Form: the settings as rows of one pane; a value is typed in its own row.

It holds no settings: the screen hands it a `Draft`, it says by messages what a person typed. This
file has the messages and the keys; which rows there are and how they look is in `form_rows.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import events
from textual.message import Message

from tui.keymap import keys_of
from tui.keys import BY_ID
from tui.schema import Setting
from tui.widgets.form_rows import FormRows
from tui.widgets.line_editor import LineEditor

if TYPE_CHECKING:
    from tui.draft import Draft


class Form(FormRows):
    """The settings, section by section."""

    DEFAULT_CSS = "Form { overflow-x: hidden; scrollbar-gutter: stable; }"

    class Typed(Message):
        """A person types into a setting; `is_done` once they left it."""

        def __init__(self, key: str, text: str, *, is_done: bool = False) -> None:
            """Say which setting and what stands there."""
            super().__init__()
            self.key, self.text, self.is_done = key, text, is_done

    class Left(Message):
        """Typing was given up: all of it is to be taken back."""

        def __init__(self, key: str) -> None:
            """Say which setting."""
            super().__init__()
            self.key = key

    class Chosen(Message):
        """Another choice was taken."""

        def __init__(self, key: str, value: Any) -> None:
            """Say which setting and its new value."""
            super().__init__()
            self.key, self.value = key, value

    class Moved(Message):
        """The cursor stands on another row, or other paths are offered for this one."""

    class Refused(Message):
        """A locked setting was to be changed."""

        def __init__(self, key: str) -> None:
            """Say which."""
            super().__init__()
            self.key = key

    class Pasted(Message):
        """Text was pasted into the form, not into a setting."""

        def __init__(self, text: str) -> None:
            """Hand it over."""
            super().__init__()
            self.text = text

    # What the screen does

    def show(
        self, draft: Draft, locked: dict[str, bool] | None = None, when_taken: str = ""
    ) -> None:
        """Show another draft: sections with something to see are open."""
        self.editor = None
        if self._draft is not None:  # a search that began before the first one was there goes on
            self.finder, self._needle = None, ""
        self._draft, self._locked, self._when_taken = draft, locked, when_taken
        told = {one.key for one in draft.changed()} | {fault.key for fault in draft.faults}
        told |= {key for key, is_locked in (locked or {}).items() if not is_locked}
        self._open = {"", "training"} | {key.rpartition(".")[0] for key in told}
        self._cursor = self._first_hit() if self._needle else 0
        if locked is not None and not self._needle:  # begin where something may be changed
            keys = [row.key for row in self._visible_rows()]
            self._cursor = next((n for n, key in enumerate(keys) if not locked.get(key, True)), 0)
            self.call_after_refresh(self.keep_in_view, self._cursor)
        self.draw(is_cursor_kept=False)

    def set_locked(self, locked: dict[str, bool] | None, when_taken: str) -> None:
        """Let other settings be changed from now on: what the run does has changed."""
        if (locked, when_taken) == (self._locked, self._when_taken):
            return
        self._locked, self._when_taken = locked, when_taken
        if self.editor is not None and self.is_locked(self.key):
            self.post_message(self.Left(self.key))
            self.editor = None
        if self._draft is not None:
            self.draw()

    def take_passed_escape(self) -> bool:
        """Return whether an escape came by that ended no search, and forget it.

        It leads back by its binding a moment later, when a search may have begun.
        """
        has_passed, self.has_passed_escape = self.has_passed_escape, False
        return has_passed

    @property
    def is_typing(self) -> bool:
        """Whether keys go into a line of text."""
        return self.editor is not None or self.finder is not None

    @property
    def needle(self) -> str:
        """What the rows are filtered by."""
        return self._needle

    def go_to(self, key: str) -> bool:
        """Put the cursor on a setting, opening its section; returns whether there is such a one."""
        self.finish()
        self._needle = ""
        section = key.rpartition(".")[0]
        self._open.add(section)
        self._rows = self._visible_rows()
        keys = [row.key for row in self._rows]
        is_there = key in keys
        if is_there:
            self._cursor = keys.index(key)
        self.draw()
        self.keep_in_view(self._cursor)
        self.cursor_moved()
        return is_there

    def find(self) -> None:
        """Type what the rows are to be filtered by."""
        self.finish()
        self.finder = LineEditor(self._needle, len(self._needle))
        self._tell_title()

    def end_find(self) -> bool:
        """Show all rows again; returns False where nothing was filtered."""
        if not self._needle and self.finder is None:
            return False
        self.finder, self._needle = None, ""
        self.draw()
        self.keep_in_view(self._cursor)
        return True

    def finish(self) -> None:
        """Leave the setting that is typed into, with what was typed."""
        if self.editor is not None:
            text, self.editor = self.editor.text, None
            self._offer(())
            if self._is_touched:  # else what stands there by now is not from here
                self.post_message(self.Typed(self.key, text, is_done=True))

    @property
    def typed(self) -> str:
        """What was typed into the open box, "" where there is none or it was only looked at."""
        return self.editor.text if self.editor is not None and self._is_touched else ""

    def reload_editor(self) -> None:
        """Show in the box what the draft holds now: an undo changed it."""
        row = self.row
        if self.editor is not None and row is not None and row.setting is not None:
            text = self._words(row.setting)
            self.editor, self._is_touched = LineEditor(text, len(text)), False

    # Keys

    def action_open(self) -> None:
        """Open or close a section, type into a setting, or take its next choice."""
        row = self.row
        if row is None:
            return
        if row.setting is None:
            self._turn_section(row.section.name)
        elif self.is_locked(row.setting.key):
            self.post_message(self.Refused(row.setting.key))
        elif row.setting.kind in ("bool", "choice"):
            self._choose(row.setting, 1)
        else:
            text = self._words(row.setting)
            self.editor, self._is_touched = LineEditor(text, len(text)), False
            self._redraw_row()

    def _tell_typed(self, key: str, text: str) -> None:
        self._is_touched = True
        self.post_message(self.Typed(key, text))

    def action_move_left(self) -> None:
        """Take the choice before, or close the section."""
        self._sideways(-1)

    def action_move_right(self) -> None:
        """Take the next choice, or open the section."""
        self._sideways(1)

    def _sideways(self, step: int) -> None:
        row = self.row
        if row is None:
            return
        if row.setting is None:
            if (row.section.name in self._open) != (step > 0):
                self._turn_section(row.section.name)
        elif row.setting.kind in ("bool", "choice"):
            if self.is_locked(row.setting.key):
                self.post_message(self.Refused(row.setting.key))
            else:
                self._choose(row.setting, step)
        elif step < 0:
            self.cursor = next(
                number for number, one in enumerate(self._rows) if one.key == f"{row.section.name}."
            )

    def _turn_section(self, name: str) -> None:
        self._open ^= {name}
        self.draw()

    def _choose(self, setting: Setting, step: int) -> None:
        choices: list[Any] = [False, True] if setting.kind == "bool" else list(setting.choices)
        if setting.is_optional:
            choices.insert(0, None)
        value = self._value(setting)
        at = choices.index(value) if value in choices else -step if step > 0 else 0
        self.post_message(self.Chosen(setting.key, choices[(at + step) % len(choices)]))

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Return whether a key goes into the text that is typed."""
        return self.is_typing and character is not None and character.isprintable()

    async def on_key(self, event: events.Key) -> None:
        """Take the keys that are typed."""
        if self.editor is not None:
            is_taken = self._key_of_editor(self.editor, event)
        elif self.finder is not None:
            is_taken = self._key_of_finder(self.finder, event)
        else:
            # At once and not by their bindings, which come a moment later: what is typed ahead
            # over a slow line must find the box open, or a letter of a word is a command.
            is_taken = True
            if self._is_key_of("view.find", event.key):
                self.find()
            elif self._is_key_of("pane.open", event.key) or self._is_own_space(event.key):
                self.action_open()
            elif event.key == "escape":
                is_taken = self.end_find()
                self.has_passed_escape = not is_taken
            else:
                is_taken = False
        if is_taken:
            event.stop()
            event.prevent_default()

    def _is_key_of(self, name: str, key: str) -> bool:
        """Return whether a key is an action's, by a person's own choice or by default."""
        return key in keys_of(BY_ID[name], self.app._keymap)

    def _is_own_space(self, key: str) -> bool:
        """Return whether a key is the space bar, and nobody gave that another meaning here."""
        is_free = not self.app._keymap or key not in self.screen.active_bindings
        return key == "space" and is_free

    def _key_of_editor(self, editor: LineEditor, event: events.Key) -> bool:
        key, setting = event.key, self.row.setting if self.row else None
        assert setting is not None
        self._offer(())
        if key == "escape":
            self.editor = None
            self.post_message(self.Left(setting.key))
            self._redraw_row()
            return True
        if key == "tab" and setting.kind == "path" and self._complete(editor, setting):
            return True
        if key in ("enter", "down", "up", "tab", "shift+tab"):
            self.finish()
            self._redraw_row()
            if key in ("enter", "down"):
                self.cursor += 1
            elif key == "up":
                self.cursor -= 1
            return "tab" not in key
        if key == "backspace" and not editor.text:
            self.finish()
            self._redraw_row()
            return True
        before = editor.text
        if event.is_printable and event.character:
            editor.insert(event.character)
        elif not editor.press(key):
            return False
        if editor.text != before:
            self._tell_typed(setting.key, editor.text)
        self._redraw_row()
        return True

    def _complete(self, editor: LineEditor, setting: Setting) -> bool:
        """Type what a path goes on as; returns False where there is nothing to add or to tell."""
        from tui.completion import complete

        before = editor.text
        found = complete(before[: editor.cursor], setting.key)
        if found.text == before[: editor.cursor] and not found.names:
            return False
        editor.text, editor.cursor = found.text + before[editor.cursor :], len(found.text)
        if editor.text != before:
            self._tell_typed(setting.key, editor.text)
        self._offer(found.names)
        self._redraw_row()
        return True

    def _offer(self, names: tuple[str, ...]) -> None:
        if names != self.offers:
            self.offers = names
            self.post_message(self.Moved())

    def _key_of_finder(self, finder: LineEditor, event: events.Key) -> bool:
        if event.key == "escape":
            return self.end_find()
        if event.key in ("enter", "down", "up"):
            self.finder = None
            self._tell_title()
            return True
        if event.is_printable and event.character:
            finder.insert(event.character)
        elif not finder.press(event.key):
            return False
        self._needle = finder.text
        self._cursor = self._first_hit()
        self.draw(is_cursor_kept=False)
        self.scroll_to(y=0, animate=False)
        self.cursor_moved()
        return True

    def _first_hit(self) -> int:
        self._rows = self._visible_rows()
        return next((n for n, row in enumerate(self._rows) if row.setting), 0)

    def on_paste(self, event: events.Paste) -> None:
        """Type what was pasted, or hand whole lines of YAML over."""
        event.stop()
        row = self.row
        if self.editor is not None and row is not None and row.setting is not None:
            self.editor.insert(event.text)
            self._tell_typed(row.setting.key, self.editor.text)
            self._redraw_row()
        elif self.finder is None:
            self.post_message(self.Pasted(event.text))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; on the cursor's own row, open it."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        number = offset.y + self.scroll_offset.y
        if not 0 <= number < len(self._rows):
            return
        is_box = offset.x >= self._widths()[0] + 4
        if self.editor is not None and number == self._cursor:
            return
        self.finish()
        was_there = number == self._cursor
        self.cursor = number
        if was_there or is_box or self._rows[number].setting is None:
            self.action_open()

    def on_blur(self) -> None:
        """Leave what is typed into."""
        self.finish()
        self._redraw_row()

    def on_resize(self) -> None:
        """Lay the rows out for the new width."""
        if self._draft is not None:
            self.draw()

    def cursor_moved(self) -> None:
        """Tell where the cursor is."""
        self.post_message(self.Moved())
