"""Typing one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.line_editor import LineEditor


@pytest.mark.parametrize(
    ("keys", "text", "cursor"),
    [
        ([], "one two", 7),
        (["home", "delete"], "ne two", 0),
        (["backspace", "backspace"], "one t", 5),
        (["ctrl+w"], "one ", 4),
        (["ctrl+w", "ctrl+w"], "", 0),
        (["left", "left", "ctrl+k"], "one t", 5),
        (["left", "left", "ctrl+u"], "wo", 0),
        (["ctrl+left"], "one two", 4),
        (["home", "ctrl+right"], "one two", 3),
        (["home", "left", "backspace"], "one two", 0),
        (["end", "right", "delete"], "one two", 7),
    ],
)
def test_keys_move_and_delete(keys: list[str], text: str, cursor: int) -> None:
    editor = LineEditor("one two", 7)
    for key in keys:
        assert editor.press(key)
    assert (editor.text, editor.cursor) == (text, cursor)


def test_other_keys_are_not_taken() -> None:
    editor = LineEditor("x", 1)
    assert not editor.press("f4")
    assert not editor.press("ctrl+s")
    assert editor.text == "x"


def test_pasted_lines_become_one() -> None:
    editor = LineEditor("ab", 1)
    editor.insert("1\n2")
    assert (editor.text, editor.cursor) == ("a1 2b", 4)
    editor.insert("")
    assert editor.text == "a1 2b"


KEYS = ["left", "right", "home", "end", "backspace", "delete", "ctrl+w", "ctrl+left", "ctrl+right"]


@given(st.text(max_size=30), st.lists(st.sampled_from([*KEYS, "é", "字", " "])), st.integers(4, 12))
def test_the_cursor_stays_in_the_text_and_in_sight(text: str, keys: list[str], width: int) -> None:
    editor = LineEditor(text, len(text))
    for key in keys:
        if not editor.press(key):
            editor.insert(key)
        shown, at = editor.window(width)
        assert 0 <= editor.cursor <= len(editor.text)
        assert 0 <= at <= len(shown)
        assert shown in editor.text
