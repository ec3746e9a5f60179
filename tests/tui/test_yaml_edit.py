"""A form's edit changes one setting of a YAML text and nothing else, or is refused."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.yaml_text import parse_yaml
from tests.tui.yaml_cases import REFUSED, REMOVE, edited
from tui.yaml_edit import EditRefused, set_key
from tui.yaml_spelling import is_same, plain_float, spell

# (what is nasty, text, key, value or REMOVE, the new text or REFUSED)
NASTY: list[tuple[str, str, str, Any, str | None]] = [
    ("comment after", "a: 1   # why\n", "a", 2, "a: 2   # why\n"),
    ("comment above, below", "# x\na: 1\n# y\n", "a", 2, "# x\na: 2\n# y\n"),
    ("hash in quotes", "a: 'b # c' # d\n", "a", "e", "a: 'e' # d\n"),
    ("hash in plain", "a: b#c # d\n", "a", "e", "a: e # d\n"),
    ("aligned columns", "a:      1\nbb:     2\n", "bb", 3, "a:      1\nbb:     3\n"),
    ("underscores elsewhere", "a: 1_000\nb: 2\n", "b", 3, "a: 1_000\nb: 3\n"),
    ("1e-4 elsewhere", "a: 1e-4\nb: 2\n", "b", 3, "a: 1e-4\nb: 3\n"),
    ("carriage returns", "a: 1 # x\r\nb: 2\r\n", "a", 5, "a: 5 # x\r\nb: 2\r\n"),
    ("insert, carriage returns", "model_path: x\r\n", "training.seed", 1,
     "model_path: x\r\ntraining:\r\n  seed: 1\r\n"),
    ("no newline at the end", "a: 1", "a", 2, "a: 2"),
    ("insert, no newline at the end", "model_path: x", "target_steps", 2,
     "model_path: x\ntarget_steps: 2"),
    ("empty text", "", "training.seed", 1, "training:\n  seed: 1\n"),
    ("only comments", "# mine\n", "target_steps", 1, "# mine\ntarget_steps: 1\n"),
    ("only comments, no newline", "# mine", "target_steps", 1, "# mine\ntarget_steps: 1\n"),
    ("only a document marker", "---\n", "target_steps", 1, "---\ntarget_steps: 1\n"),
    ("marker without newline", "---", "target_steps", 1, "---\ntarget_steps: 1\n"),
    ("only null", "null\n", "target_steps", 1, "target_steps: 1\n"),
    ("empty flow", "{}\n", "target_steps", 1, "{target_steps: 1}\n"),
    ("document markers", "---\na: 1\n...\n", "a", 2, "---\na: 2\n...\n"),
    ("insert before the end marker", "---\nmodel_path: x\n...\n", "target_steps", 2,
     "---\nmodel_path: x\ntarget_steps: 2\n...\n"),
    ("a directive", "%YAML 1.1\n---\na: 1\n", "a", 2, "%YAML 1.1\n---\na: 2\n"),
    ("byte order mark", "\ufeffa: 1\n", "a", 2, "\ufeffa: 2\n"),
    ("remove by a byte order mark", "\ufeffa: 1\nb: 2\n", "a", REMOVE, "\ufeffb: 2\n"),
    ("unicode", "a: Fuchs 🦊 # für\nb: 1\n", "b", 2, "a: Fuchs 🦊 # für\nb: 2\n"),
    ("unicode value", "a: x\n", "a", "Füchse 🦊", "a: Füchse 🦊\n"),
    ("tabs as indentation", "training:\n\tseed: 1\n", "training.seed", 2, REFUSED),
    ("tab before a comment", "a: 1\t# x\n", "a", 2, REFUSED),
    ("two documents", "a: 1\n---\na: 2\n", "a", 2, REFUSED),
    ("a key twice", "a: 1\na: 2\n", "a", 2, REFUSED),
    ("does not parse", "a: [1\n", "a", 2, REFUSED),
    ("a list", "- 1\n", "a", 2, REFUSED),
    ("a word", "word\n", "a", 2, REFUSED),
    ("flow at the top", "{a: 1, b: 2}\n", "b", 3, "{a: 1, b: 3}\n"),
    ("insert into flow at the top", "{model_path: x, training: {seed: 1}}", "target_steps", 3,
     "{model_path: x, target_steps: 3, training: {seed: 1}}"),
    ("new section in flow", "{model_path: x}", "training.seed", 3,
     "{model_path: x, training: {seed: 3}}"),
    ("flow over lines", "{\n  a: 1, # x\n  b: 2 # y\n}\n", "a", 3,
     "{\n  a: 3, # x\n  b: 2 # y\n}\n"),
    ("insert into flow over lines", "{\n  target_steps: 1, # x\n}\n", "model_path", "m",
     "{\n  model_path: m, target_steps: 1, # x\n}\n"),
    ("flow with a comma at the end", "training: {seed: 1,}\n", "training.batch_size", 3,
     "training: {seed: 1, batch_size: 3,}\n"),
    ("json", '{"a": 1, "b": "x"}', "b", "y", '{"a": 1, "b": "y"}'),
    ("bare key in flow", "{a, b: 1}", "a", 2, "{a: 2, b: 1}"),
    ("quoted key", "'a': 1\n", "a", 2, "'a': 2\n"),
    ("key with a question mark", "? a\n: 1\n", "a", 2, "? a\n: 2\n"),
    ("remove by question mark", "? a\n: 1\nb: 2\n", "a", REMOVE, REFUSED),
    ("key that is a list", "? [1]\n: 2\na: 1\n", "a", 2, REFUSED),
    ("empty value", "a:\nb: 1\n", "a", 2, "a: 2\nb: 1\n"),
    ("empty value, comment", "a: # x\nb: 1\n", "a", 2, "a: 2 # x\nb: 1\n"),
    ("empty value at the end", "a:", "a", 2, "a: 2"),
    ("tilde", "a: ~ # x\n", "a", 2, "a: 2 # x\n"),
    ("empty section", "training:\nmodel_path: x\n", "training.seed", 2,
     "training:\n  seed: 2\nmodel_path: x\n"),
    ("empty section, comment", "training: # x\n  # y\n", "training.seed", 2,
     "training: # x\n  seed: 2\n  # y\n"),
    ("null section", "training: ~ # x\n", "training.seed", 2, "training: # x\n  seed: 2\n"),
    ("null section among others", "model_path: a\ntraining: null\ndata:\n  height: 8\n",
     "training.seed", 2, "model_path: a\ntraining:\n  seed: 2\ndata:\n  height: 8\n"),
    ("commented null section", "training: ~   # x\ndata:\n    height: 8\n", "training.seed", 2,
     "training:   # x\n    seed: 2\ndata:\n    height: 8\n"),
    ("null section at the end", "model_path: a\nrun: null\n", "run.keep_awake", False,
     "model_path: a\nrun:\n  keep_awake: false\n"),
    ("null section, no newline", "model_path: a\nrun: null", "run.keep_awake", False,
     "model_path: a\nrun:\n  keep_awake: false"),
    ("null section, carriage returns", "run: null\r\nx: 1\r\n", "run.keep_awake", False,
     "run:\r\n  keep_awake: false\r\nx: 1\r\n"),
    ("null section, quoted key", "\"run\":  ~\nx: 1\n", "run.keep_awake", False,
     "\"run\":\n  keep_awake: false\nx: 1\n"),
    ("null section with a tag", "run: !!null null\nx: 1\n", "run.keep_awake", False, REFUSED),
    ("null section with an anchor", "run: &r null\nx: 1\n", "run.keep_awake", False,
     "run: &r\n  keep_awake: false\nx: 1\n"),
    ("null section in flow", "{run: null, x: 1}\n", "run.keep_awake", False,
     "{run: {keep_awake: false}, x: 1}\n"),
    ("two null sections", "training: ~\nrun: ~\n", "training.seed", 2,
     "training:\n  seed: 2\nrun: ~\n"),
    ("empty section in flow", "{training: , a: 1}", "training.seed", 2,
     "{training: {seed: 2} , a: 1}"),
    ("empty flow section", "training: {}\n", "training.seed", 2, "training: {seed: 2}\n"),
    ("section that is a number", "training: 3\n", "training.seed", 2, REFUSED),
    ("deep indentation is kept", "training:\n      seed: 1\n", "quality.samples", 64,
     "training:\n      seed: 1\nquality:\n      samples: 64\n"),
    ("section after commented keys", "training:\n  seed: 1\n  # batch_size: 2\n\nrun:\n"
     "  keep_awake: true\n", "quality.samples", 64, "training:\n  seed: 1\n  # batch_size: 2\n\n"
     "quality:\n  samples: 64\n\nrun:\n  keep_awake: true\n"),
    ("first of a section", "training:\n  # peak\n  learning_rate: 1.0\n", "training.seed", 1,
     "training:\n  seed: 1\n  # peak\n  learning_rate: 1.0\n"),
    ("in the section's order", "training:\n  seed: 1 # s\n  # rate\n  learning_rate: 1.0\n",
     "training.batch_size", 8,
     "training:\n  seed: 1 # s\n  batch_size: 8\n  # rate\n  learning_rate: 1.0\n"),
    ("literal block", "a: |\n  x\n  y\n\n# c\nb: 1\n", "a", "z", "a: z\n\n# c\nb: 1\n"),
    ("folded block at the end", "a: >-\n  x\n  y\n", "a", "z", "a: z\n"),
    ("comment in a block's header", "a: | # c\n  x\n", "a", "z", REFUSED),
    ("behind a literal block", "a: |\n  x\nb: 1\n", "b", 2, "a: |\n  x\nb: 2\n"),
    ("insert behind a literal block", "model_path: |\n  x\n\n\nz: 1\n", "target_steps", 2,
     "model_path: |\n  x\ntarget_steps: 2\n\n\nz: 1\n"),
    ("insert behind a block without newline", "model_path: |\n  x", "target_steps", 2, REFUSED),
    ("insert behind a kept block", "model_path: |+\n  x\n\n\nz: 1\n", "target_steps", 2, REFUSED),
    ("plain over lines", "a: one\n  two\nb: 1\n", "a", "x", "a: x\nb: 1\n"),
    ("quoted over lines", 'a: "one\n  two" # c\nb: 1\n', "a", "x", 'a: "x" # c\nb: 1\n'),
    ("anchor without alias", "a: &x 1 # c\n", "a", 2, "a: &x 2 # c\n"),
    ("anchor with alias", "a: &x 1\nb: *x\n", "a", 2, REFUSED),
    ("alias", "a: &x 1\nb: *x # c\n", "b", 2, "a: &x 1\nb: 2 # c\n"),
    ("remove an anchor in use", "a: &x 1\nb: *x\n", "a", REMOVE, REFUSED),
    ("remove an alias", "a: &x 1\nb: *x\n", "b", REMOVE, "a: &x 1\n"),
    ("section by alias", "training: &t {seed: 1}\nx: *t\n", "x.seed", 2, REFUSED),
    ("section that is aliased", "training: &t {seed: 1}\nx: *t\n", "training.seed", 2, REFUSED),
    ("remove from an alias", "training: &t {seed: 1}\nx: *t\n", "x.seed", REMOVE, REFUSED),
    ("tag that fits", "a: !!float 1\n", "a", 2.5, "a: !!float 2.5\n"),
    ("tag that does not fit", "a: !!str 1\n", "a", 2, REFUSED),
    ("merged key", "x: &x {seed: 1}\ntraining:\n  <<: *x\n", "training.seed", 2,
     "x: &x {seed: 1}\ntraining:\n  <<: *x\n  seed: 2\n"),
    ("remove a merged key", "x: &x {seed: 1}\ntraining:\n  <<: *x\n", "training.seed", REMOVE,
     REFUSED),
    ("remove what hides a merged key", "x: &x {seed: 1}\ntraining:\n  <<: *x\n  seed: 2\n",
     "training.seed", REMOVE, REFUSED),
    ("flow list, one item", "a: [200, 250, 600] # c\n", "a", [200, 300, 600],
     "a: [200, 300, 600] # c\n"),
    ("flow list over lines", "a: [1, # one\n    2] # two\n", "a", [1, 3],
     "a: [1, # one\n    3] # two\n"),
    ("flow list grows", "a: [1, 2] # c\n", "a", [1, 2, 3], "a: [1, 2, 3] # c\n"),
    ("commented flow list grows", "a: [1, # one\n 2]\n", "a", [1, 2, 3], REFUSED),
    ("block list, one item", "a:\n  - 1 # one\n  - 2 # two\nb: 1\n", "a", [1, 3],
     "a:\n  - 1 # one\n  - 3 # two\nb: 1\n"),
    ("block list grows", "a:\n- 1\n- 2\nb: 1\n", "a", [1, 2, 3], "a:\n- 1\n- 2\n- 3\nb: 1\n"),
    ("commented block list grows", "a:\n- 1 # one\n- 2\n", "a", [1, 2, 3], REFUSED),
    ("block list to null", "a:\n  - 1\n  - 2 # two\nb: 1\n", "a", None, "a: null # two\nb: 1\n"),
    ("block list under a comment to null", "a: # x\n  - 1\n", "a", None, REFUSED),
    ("null to a list", "a: null # c\n", "a", [16, 4], "a: [16, 4] # c\n"),
    ("list with an anchor grows", "a: &x [1, 2]\n", "a", [1], "a: &x [1]\n"),
    ("list that ends in an alias", "b: &x 2\na:\n- 1\n- *x\n", "a", [1], REFUSED),
    ("remove", "a: 1\nb: 2\n", "a", REMOVE, "b: 2\n"),
    ("remove the last line", "a: 1\nb: 2", "b", REMOVE, "a: 1\n"),
    ("remove the only one", "a: 1\n", "a", REMOVE, ""),
    ("remove, comment stays", "a:\n  b: 1 # why\n  c: 2\n", "a.b", REMOVE,
     "a:\n  # why\n  c: 2\n"),
    ("remove the section along", "a: 1\ntraining:\n  seed: 1\n", "training.seed", REMOVE,
     "a: 1\n"),
    ("remove from a commented section", "training: # mine\n  seed: 1\n", "training.seed",
     REMOVE, "training: # mine\n"),
    ("remove what was never there", "a: 1\n", "training.seed", REMOVE, "a: 1\n"),
    ("remove a list", "a:\n  - 1\n  - 2\n\nb: 1\n", "a", REMOVE, "\nb: 1\n"),
    ("remove a commented list", "a:\n  - 1 # one\n  - 2\nb: 1\n", "a", REMOVE, REFUSED),
    ("remove the first of flow", "{a: 1, b: 2}", "a", REMOVE, "{b: 2}"),
    ("remove the last of flow", "{a: 1, b: 2}", "b", REMOVE, "{a: 1}"),
    ("remove the only one of flow", "t: {a: 1,} # c\n", "t.a", REMOVE, "t: {} # c\n"),
    ("remove from commented flow", "{a: 1, # one\n b: 2}", "a", REMOVE, REFUSED),
    ("remove, carriage returns", "a: 1 # x\r\nb: 2\r\n", "a", REMOVE, "# x\r\nb: 2\r\n"),
    ("true and words like it", "a: x\n", "a", "yes", "a: 'yes'\n"),
    ("a word like a number", "a: x\n", "a", "1e-4", "a: '1e-4'\n"),
    ("a word with a colon", "a: x\n", "a", "bundled:digits", "a: bundled:digits\n"),
    ("a word with colon and space", "a: x\n", "a", "b: c", "a: 'b: c'\n"),
    ("a word with a hash", "a: x\n", "a", "b #c", "a: 'b #c'\n"),
    ("a word with both quotes", "a: x\n", "a", "it's \"so\"", "a: it's \"so\"\n"),
    ("a word over lines", "a: x\n", "a", "b\nc", 'a: "b\\nc"\n'),
    ("an empty word", "a: x\n", "a", "", "a: ''\n"),
    ("a small number", "a: 1.0\n", "a", 5e-05, "a: 5.0e-05\n"),
    ("a large number", "a: 1.0\n", "a", 1e22, "a: 1.0e+22\n"),
    ("line separators in comments", "a: 1 # x\u2028b: 2\n", "b", 3, "a: 1 # x\u2028b: 3\n"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "value", "wanted"), [pytest.param(*case[1:], id=case[0])
                                                             for case in NASTY])  # fmt: skip
def test_a_nasty_text_is_edited_exactly_or_refused_with_a_reason(
    text: str, key: str, value: Any, wanted: str | None
) -> None:
    if wanted is REFUSED:
        with pytest.raises(EditRefused, match=rf"^{key}: .*\.$"):
            edited(text, key, value)
    else:
        assert edited(text, key, value) == wanted


def test_most_nasty_texts_are_edited() -> None:
    refused = sum(case[4] is REFUSED for case in NASTY)
    assert len(NASTY) >= 110
    assert refused <= len(NASTY) // 4


@pytest.mark.parametrize(
    ("typed", "value", "written"),
    [
        ("3e-4", 3e-4, "3.0e-4"),
        ("3.0e-4", 3e-4, "3.0e-4"),
        ("0.0003", 3e-4, "0.0003"),
        ("1E5", 1e5, "1.0e+5"),
        ("1_000", 1000, "1_000"),
        (" 8 ", 8, "8"),
        ("0x10", 16, "0x10"),
        ("012", 12, "12"),  # octal to YAML
        (".5", 0.5, ".5"),
        ("+5", 5, "+5"),
    ],
)
def test_a_person_s_spelling_is_kept_where_every_reader_agrees(
    typed: str, value: float, written: str
) -> None:
    assert set_key("a: 1\n", "a", value, spelling=typed) == f"a: {written}\n"


@given(st.floats())
def test_every_float_is_a_number_to_both_readers(value: float) -> None:
    for loader in (lambda text: yaml.safe_load(text), lambda text: parse_yaml(text, "x")):
        assert is_same(loader(f"a: {plain_float(value)} # c")["a"], value)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["yes", "~", "null", "1e-4", "- a", "a: b", "#", "&a", "*a", "2001-01-01", "="]
    ),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_every_value_reads_back_as_itself(value: Any) -> None:
    for context in ("a: {}\n", "a: {} # c\n", "{{a: {}, b: 1}}\n"):
        loaded = parse_yaml(context.format(spell(value)), "x")
        assert is_same(loaded["a"], value)
