"""What is changed here and what others wrote meanwhile, brought together setting by setting."""

import pytest

from engine.errors import ConfigError
from tui.draft_merge import merge

BASE = "model_path: a  # mine\nrun:\n  checkpoint_seconds: 300.0\n  keep_awake: true\n"
THEIRS = BASE.replace("300.0", "11.0  # theirs")


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted"),
    [
        (BASE, THEIRS, THEIRS),
        (BASE.replace("true", "false"), THEIRS, THEIRS.replace("true", "false")),
        (BASE.replace("true", "false"), BASE, BASE.replace("true", "false")),
        (BASE.replace("300.0", "11.0"), THEIRS, THEIRS),  # both the same
        (BASE.replace("  keep_awake: true\n", ""), THEIRS, THEIRS),  # what is left out is default
        (BASE.replace("true", "false"), BASE.replace("  keep_awake: true\n", ""),
         BASE.replace("true", "false")),
        (BASE + "  on_finish: say done\n", "model_path: a\n",
         "model_path: a\nrun:\n  on_finish: say done\n"),
        ("model_path: a\n", THEIRS, THEIRS),  # the defaults that it left out were there before
        ("run: [", THEIRS, THEIRS),  # nothing can be typed into what does not parse
    ],
)  # fmt: skip
def test_others_changes_stay_and_mine_come_to_them(mine: str, theirs: str, wanted: str) -> None:
    assert merge(BASE, mine, theirs) == (wanted, [])


def test_a_reset_takes_the_setting_out_of_what_others_wrote() -> None:
    base, theirs = BASE.replace("true", "false"), THEIRS.replace("true", "false")
    mine = base.replace("  keep_awake: false\n", "")
    assert merge(base, mine, theirs) == (THEIRS.replace("  keep_awake: true\n", ""), [])


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (BASE.replace("300.0", "20"), "run.checkpoint_seconds is 11.0 there by now and 20 here"),
        (BASE.replace("300.0", "x"), "run.checkpoint_seconds is 11.0 there by now and x here"),
    ],
)
def test_what_both_changed_is_told_and_mine_stands(mine: str, said: str) -> None:
    text, clashes = merge(BASE, mine, THEIRS)
    assert [str(one) for one in clashes] == [said]
    assert "# theirs" in text
    assert text.replace("  # theirs", "") == mine


@pytest.mark.parametrize("broken", ["run: [", "a: 1\na: 2\n", "- 1\n"])
def test_what_cannot_be_read_by_now_is_told(broken: str) -> None:
    with pytest.raises(ConfigError, match="by now does not parse"):
        merge(BASE, BASE.replace("true", "false"), broken)
