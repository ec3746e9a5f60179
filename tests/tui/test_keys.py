"""One table of keys: consistent in itself, and the page of the manual is made of it."""

from scripts.write_key_table import PAGE, page_with_table
from tui.keys import KEYS, key_words

# `space` marks on Runs and pauses on Live, as media players do; on Config ctrl+z is undo; `n` is a
# new run on Runs and the next hit in Live's log, as in less; `l` moves right but on Live.
TWO_MEANINGS = {"space", "ctrl+z", "n", "l"}


def test_the_manual_s_table_is_the_one_that_binds() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_table(page) == page, "python scripts/write_key_table.py"


def test_a_key_means_one_thing_wherever_it_works() -> None:
    meanings: dict[str, set[str]] = {}
    for key in KEYS:
        for one in key.keys.split(","):
            meanings.setdefault(one, set()).add(key.action)
    assert {one for one, actions in meanings.items() if len(actions) > 1} <= TWO_MEANINGS


def test_on_one_screen_a_key_is_bound_once() -> None:
    for screen in ("runs", "config", "live", "compare"):
        bound = [one for key in KEYS if screen in key.screens for one in key.keys.split(",")]
        assert len(bound) == len(set(bound)), screen


def test_ids_are_unique_and_every_key_says_what_it_does() -> None:
    assert len({key.id for key in KEYS}) == len(KEYS)
    assert all(key.help and key.group for key in KEYS)
    assert all(key.words for key in KEYS if key.is_shown)


def test_what_is_told_as_ctrl_i_m_or_h_cannot_be_bound() -> None:
    """A terminal sends tab, enter and backspace for them."""
    bound = {one for key in KEYS for one in key.keys.split(",")}
    assert bound.isdisjoint({"ctrl+i", "ctrl+m", "ctrl+h"})
    assert not any(one.startswith("alt+") for one in bound)  # macOS types characters with it
    only_function_keys = [
        key.id for key in KEYS if all(one[0] == "f" and one[1:].isdigit() for one in
                                      key.keys.split(",") if len(one) > 1) and
        all(len(one) > 1 for one in key.keys.split(","))
    ]  # fmt: skip
    assert only_function_keys == []


def test_keys_are_written_as_people_write_them() -> None:
    assert [key_words(key) for key in ("question_mark", "ctrl+p", "f4", "escape", "Q")] == [
        "?", "^p", "F4", "esc", "Q",
    ]  # fmt: skip
