"""The query language finds what it says, and says what it does not understand."""

from pathlib import Path

import pytest

from tui.listing import RunRow
from tui.query import QueryError, parse

NOW = 1_000_000.0
RUNS = [
    RunRow(
        Path("/runs/digits-fast"), "done", score=0.991, lower_bound=0.98, threshold=0.95,
        original_steps=50, steps=4, progress=1.0, created=NOW - 3600, label="demo",
        device="Apple M3 Max",
    ),
    RunRow(
        Path("/runs/digits-slow"), "running", stage="stage 2/3 · 16 → 8 · train", score=0.999,
        steps=16, progress=0.61, eta_seconds=2280.0, created=NOW - 60, label="demo", is_live=True,
    ),
    RunRow(Path("/runs/cats"), "failed", reason="the loss is nan", created=NOW - 2 * 86_400),
    RunRow(Path("/runs/old"), "cancelled", steps=8, created=NOW - 9 * 86_400, is_archived=True),
]  # fmt: skip


def found(text: str) -> list[str]:
    query = parse(text)
    return [row.name for row in RUNS if query.matches(row, NOW)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["digits-fast", "digits-slow", "cats", "old"]),
        ("state:failed", ["cats"]),
        ("state:failed,running", ["digits-slow", "cats"]),
        ("state:*", ["digits-fast", "digits-slow", "cats", "old"]),
        ("state!=done", ["digits-slow", "cats", "old"]),
        ("-state:done", ["digits-slow", "cats", "old"]),
        ("state=run", []),
        ("state:run", ["digits-slow"]),
        ("score>0.995", ["digits-slow"]),
        ("quality>=0.991", ["digits-fast", "digits-slow"]),
        ("score<0.995 steps<=4", ["digits-fast"]),
        ("steps=8", ["old"]),
        ("steps:8", ["old"]),
        ("steps!=8", ["digits-fast", "digits-slow"]),
        ("score:*", ["digits-fast", "digits-slow"]),
        ("-score:*", ["cats", "old"]),
        ("bound>0.97 threshold:0.95", ["digits-fast"]),
        ("progress>=60 progress<100%", ["digits-slow"]),
        ("age<2h", ["digits-fast", "digits-slow"]),
        ("age>1d age<1w", ["cats"]),
        ("age<90m", ["digits-fast", "digits-slow"]),
        ("eta<1h", ["digits-slow"]),
        ("name:digits", ["digits-fast", "digits-slow"]),
        ("digits", ["digits-fast", "digits-slow"]),
        ("DIGITS -fast", ["digits-slow"]),
        ('"loss is nan"', ["cats"]),
        ('reason:"is nan"', ["cats"]),
        ('device:"m3 max"', ["digits-fast"]),
        ("recipe:demo stage:train", ["digits-slow"]),
        ("16", ["digits-slow"]),
        ("archived:yes", ["old"]),
        ("archived:no state:cancelled", []),
        ("live:yes", ["digits-slow"]),
        ("https://x", []),
    ],
)
def test_a_query_finds(text: str, names: list[str]) -> None:
    if text.startswith("https"):
        with pytest.raises(QueryError, match="there is no https"):
            parse(text)
        return
    assert found(text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fid<25", "there is no fid"),
        ("scor>0.9", "score is the nearest"),
        ("score>high", "high is no figure; a number was wanted"),
        ("score>", "nothing is no figure"),
        ("score>0.9h", "a number was wanted"),
        ("age<3", "a time as 30s, 10m, 2h or 3d"),
        ("age<3y", "a time as"),
        ("state>done", "state is a word; write state:done"),
        ("name:", "name: what?"),
        ("archived:maybe", "archived:yes or archived:no"),
    ],
)
def test_what_is_not_understood_is_named(text: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert said in str(caught.value)


def test_a_run_without_a_figure_satisfies_no_comparison_with_it() -> None:
    for sign in ("<", "<=", ">", ">=", "=", "!=", ":"):
        assert "cats" not in found(f"score{sign}0.5")


def test_a_query_tells_whether_it_is_about_archived_runs() -> None:
    assert parse("archived:yes").is_about_archived
    assert parse("-archived:no").is_about_archived
    assert not parse("digits archived").is_about_archived
