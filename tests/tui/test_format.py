"""Figures in words: what they say, and that they keep their width."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.terminals import HOUSE
from tui import format as words
from tui.format import (
    BARS,
    GLYPHS,
    NOTHING,
    age,
    bar,
    bytes_,
    clipped,
    count,
    duration,
    left,
    number,
    percent,
    rate,
    score,
    timesteps,
    to_ascii,
)

anything = st.one_of(st.none(), st.floats(), st.floats(0, 1e9))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m00s"),
        (200, "3m20s"),
        (3599.7, "1h00m"),
        (7500, "2h05m"),
        (4 * 86_400 + 3 * 3600, "4d03h"),
        (None, NOTHING),
        (math.nan, NOTHING),
        (math.inf, NOTHING),
    ],
)
def test_a_duration_reads_as_a_person_says_it(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_time_left_is_rounded_so_that_it_does_not_flicker() -> None:
    assert [left(s) for s in (1, 11, 12, 58, 61, 3540, 3661)] == [
        "5s", "10s", "10s", "60s", "1m", "59m", "1h01m",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.03123, "0.0312"),
        (2.7149, "2.71"),
        (6.1e-5, "6.10e-05"),
        (1234.4, "1234"),
        (0, "0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (None, NOTHING),
        (123456.0, "1.23e+05"),
    ],
)
def test_a_number_keeps_three_significant_figures(value: float | None, said: str) -> None:
    assert number(value) == said


def test_bytes_are_decimal_on_disk_and_binary_in_memory() -> None:
    assert bytes_(412_300_000) == "412 MB"
    assert bytes_(999_999) == "1.00 MB"
    assert bytes_(22.1 * 2**30, is_binary=True) == "22.1 GiB"
    assert bytes_(3) == "3 B"


def test_percent_is_whole_only_when_all_is_done() -> None:
    assert percent(0.9999) == " 99 %"
    assert percent(1) == "100 %"
    assert percent(-1) == "  0 %"


def test_other_figures_read_well() -> None:
    assert age(14.9) == "14 s"
    assert age(7300) == "2 h"
    assert rate(2.714) == "2.71/s"
    assert rate(12_404, "img") == "12 404 img/s"
    assert score(0.99) == "0.9900"
    assert count(48_211) == "48 211"
    assert timesteps((999.0, 749.5, 1.0)) == "999, 749.5, 1"
    assert timesteps((math.inf, math.nan)) == "inf, nan"
    assert clipped("distillation", 6) == "disti…"


@given(anything)
def test_every_figure_can_be_said(value: float | None) -> None:
    for say in (duration, left, age, bytes_, number, score, count, rate, percent):
        assert say(value)


@given(st.floats(0, 86_399))
def test_durations_below_a_day_fit_into_six_cells(seconds: float) -> None:
    assert len(duration(seconds)) <= 6
    assert len(left(seconds)) <= 6


@given(st.floats(), st.integers(0, 40))
def test_a_bar_has_its_width_and_is_full_only_at_the_end(fraction: float, width: int) -> None:
    drawn = bar(fraction, width)
    assert len(drawn) == width
    assert (drawn == words.FULL * width) == (width == 0 or 1 <= fraction < math.inf)
    assert (drawn == words.EMPTY * width) == (width == 0 or not 0 < fraction < math.inf)


def test_a_bar_is_filled_to_an_eighth_of_a_cell() -> None:
    assert bar(0.5, 4) == "██░░"
    assert bar(0.55, 4) == "██▏░"
    assert bar(0.0001, 4) == "▏░░░"
    assert bar(0.9999, 4) == "███▉"


def test_every_state_has_a_glyph_of_one_cell_an_ascii_twin_and_a_word() -> None:
    for mark in GLYPHS.values():
        assert len(mark.glyph) == len(mark.ascii) == 1
        assert unicodedata.east_asian_width(mark.glyph) not in "WF"
        assert mark.ascii.isascii()
        assert mark.word
    assert len({to_ascii(bar) for bar in BARS}) == len(BARS)


def test_states_of_a_run_differ_in_ascii_too() -> None:
    from engine.run import RunState

    assert len({GLYPHS[state].ascii for state in RunState}) == len(RunState)


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs", "Cc", "M"))))
def test_ascii_twins_are_ascii(text: str) -> None:
    assert to_ascii(text).isascii()


def test_our_own_drawings_keep_their_width_in_ascii() -> None:
    drawn = "╭─ Stages ─╮│ ▼ ● ▁▂▃ 61 % ░█ │╰──╯⣿⠀ → … ≥"
    assert len(to_ascii(drawn)) == len(drawn)


def test_the_manual_lists_every_sign_with_its_word() -> None:
    page = (HOUSE / "docs" / "dashboard.md").read_text(encoding="utf-8")
    told = " ".join(page.partition("## Signs")[2].split())
    for mark in GLYPHS.values():
        assert f"{mark.glyph} {mark.word}" in told
