"""Any text is edited without loss, or refused: generated texts, keys and values."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import SECTIONS, config_to_yaml, load_config
from engine.errors import ConfigError
from engine.yaml_text import parse_yaml
from tests.tui.yaml_cases import ORDER, REMOVE, edited
from tui.yaml_edit import EditRefused, remove_key, set_key
from tui.yaml_spelling import is_same

LINES = st.sampled_from(
    [
        "# note",
        "",
        "  # deeper",
        "x: 1 # c",
        "model_path: m",
        "target_steps: 4  # t",
        "training:",
        "  seed: 1 # s",
        "  iterations: [1, 2] # i",
        "  iterations:",
        "  - 1 # one",
        "  - 2",
        "    - 3",
        "quality: {samples: 64} # q",
        "quality: {samples: 64,",
        "  bootstrap: 100}",
        "a: &a 3",
        "b: *a",
        "export: # e",
        "  samples: |",
        "    text # no comment",
        "run: &r",
        "  keep_awake: yes",
        "data: *r",
        "hardware:",
        "  <<: *r",
        "---",
        "...",
        "? z",
        ": 1",
        "{}",
        "\t",
        "k: 'a # b'",
        'k: "a',
        '  b" # c',
        "original: {}",
        "schedule: ~",
    ]
)
KEYS = st.sampled_from(
    [
        "x",
        "model_path",
        "target_steps",
        "training.seed",
        "training.iterations",
        "quality.samples",
        "quality.bootstrap",
        "a",
        "b",
        "run.keep_awake",
        "data.images",
        "hardware.keep_awake",
        "k",
        "z",
        "export.samples",
        "original.steps",
        "schedule.search",
        "training",
    ]
)


def comments(text: str) -> list[str]:
    """Return the comments of a text in order, found without the code under test."""
    found, last = [], 0
    for token in yaml.scan(text):
        header = re.match(r"[|>][^\n\r]*?(#[^\n\r]*)", text[token.start_mark.index :])
        found += re.findall(r"#[^\n\r]*", text[last : token.start_mark.index])
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">") and header:
            found.append(header[1])
        last = max(last, token.end_mark.index)
    return sorted(one.strip() for one in found + re.findall(r"#[^\n\r]*", text[last:]))


def check_edit(text: str, key: str, edit: Callable[[str], str], wanted: Any) -> None:
    try:
        before = parse_yaml(text, "x")
    except ConfigError:
        with pytest.raises(EditRefused):
            edit(text)
        return
    try:
        after_text = edit(text)
    except EditRefused:
        return
    after = parse_yaml(after_text, "x")
    assert comments(after_text) == comments(text)
    flat_before, flat_after = flattened(before), flattened(after)
    if wanted == REMOVE:
        assert key not in flat_after
    else:
        assert is_same(flat_after.pop(key), wanted)
    flat_before.pop(key, None)
    assert is_same(flat_after, flat_before)


def flattened(data: Any) -> dict[str, Any]:
    out = {}
    for key, value in (data or {}).items():
        if isinstance(value, dict):
            out |= {f"{key}.{inner}": one for inner, one in value.items()}
        elif value is not None:
            out[key] = value
    return out


@settings(max_examples=100, deadline=None)
@given(
    st.lists(LINES, max_size=9),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    KEYS,
    st.one_of(st.just(REMOVE), st.sampled_from([7, 0.5, "word", True, [1, 3], [5], "a # b"])),
)
def test_any_text_is_edited_without_loss_or_refused(
    lines: list[str], newline: str, is_ended: bool, key: str, value: Any
) -> None:
    text = newline.join(lines) + (newline if is_ended else "")
    check_edit(text, key, lambda text: edited(text, key, value), value)


RECIPE = config_to_yaml(load_config("demo"))
LEAVES = [key for key in ORDER if key not in SECTIONS]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LEAVES), st.sampled_from([3, 0.25, None, [4, 2], "w"])),
                min_size=1, max_size=5))  # fmt: skip
def test_edits_of_a_full_file_touch_only_their_lines(edits: list[tuple[str, Any]]) -> None:
    text = RECIPE
    for key, value in edits:
        text = set_key(text, key, value, order=ORDER)
    before, after = RECIPE.splitlines(), text.splitlines()
    assert len(before) == len(after)
    changed = {
        new.split(":")[0].strip() for old, new in zip(before, after, strict=True) if old != new
    }
    assert changed <= {key.split(".")[-1] for key, _ in edits}


@settings(max_examples=8, deadline=None)
@given(st.permutations(LEAVES))
def test_settings_added_to_nothing_stand_in_their_order(keys: list[str]) -> None:
    text = ""
    for key in keys[:12]:
        text = set_key(text, key, 3, order=ORDER)
    found = parse_yaml(text, "x")
    written = [
        f"{key}.{inner}"
        for key, value in found.items()
        if isinstance(value, dict)
        for inner in value
    ] + [key for key, value in found.items() if not isinstance(value, dict)]
    ranked = [key for key in ORDER if key in written]
    assert sorted(written, key=ORDER.index) == ranked
    assert list(found) == sorted(found, key=ORDER.index)
    for key in keys[:12]:
        text = remove_key(text, key)
    assert not text.strip()
