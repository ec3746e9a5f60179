"""The parts of a line, as they are coloured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.yaml_highlight import parts


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("key: 3", [("key", "key"), ("3", "number")]),
        ("  key: 1e-4  # a: b", [("key", "key"), ("1e-4", "number"), ("# a: b", "comment")]),
        ("# a: 1", [("# a: 1", "comment")]),
        ("a: b#c", [("a", "key")]),
        ("a: 'it''s # in' # out", [("a", "key"), ("'it''s # in'", "string"), ("# out", "comment")]),
        ("a: [1, -2.5]", [("a", "key"), ("1", "number"), ("-2.5", "number")]),
        ("a: {b: true, c: null}", [("a", "key"), ("b", "key"), ("true", "word"), ("c", "key"),
                                   ("null", "word")]),
        ("- 3", [("3", "number")]),
        ("a: bundled:digits", [("a", "key")]),
        ("model2: x4", [("model2", "key")]),
        ("", []),
    ],
)  # fmt: skip
def test_a_line_is_taken_apart(line: str, wanted: list[tuple[str, str]]) -> None:
    assert [(line[start:end], what) for start, end, what in parts(line)] == wanted


@given(st.text(max_size=60))
def test_parts_of_any_line_stand_in_order_and_apart(line: str) -> None:
    place = 0
    for start, end, _ in parts(line):
        assert place <= start < end <= len(line)
        place = end
