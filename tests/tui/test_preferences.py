"""Choices are kept, whoever else writes; a damaged file never keeps a dashboard from opening."""

import subprocess
import sys
from pathlib import Path

import pytest

from tui.preferences import Preferences, config_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "config"


def load(folder: Path) -> Preferences:
    return Preferences.load(folder, folder.parent / "state")


def test_what_was_never_chosen_has_its_default_and_makes_no_file(folder: Path) -> None:
    mine = load(folder)
    assert (mine.theme, mine.screen, mine.bell, mine.keys) == (None, None, "bell", {})
    assert mine.notices == []
    assert not folder.exists()


def test_a_choice_is_there_the_next_time(folder: Path) -> None:
    load(folder).set(theme="paper", layout={"live": {"split": 42}}, keys={"run.pause": "p,space"})
    load(folder).set(bell="notification", screen="compare", image_mode="quadrants")
    mine = load(folder)
    assert (mine.theme, mine.bell, mine.screen) == ("paper", "notification", "compare")
    assert mine.layout == {"live": {"split": 42}}
    assert mine.keys == {"run.pause": "p,space"}
    assert mine.image_mode == "quadrants"


def test_a_change_leaves_comments_and_what_a_later_version_wrote(folder: Path) -> None:
    folder.mkdir()
    path = folder / "ui.yaml"
    path.write_text("# mine\ntheme: ember  # warm\nsparkle: 7 # of tomorrow\n\n# keys\nbell: off\n")
    mine = load(folder)
    assert mine.theme == "ember"
    assert mine.take_notices() == [f"{path}: sparkle: this version knows no such choice; left out."]
    mine.set(theme="fjord")
    assert path.read_text() == (
        "# mine\ntheme: fjord\nsparkle: 7 # of tomorrow\n\n# keys\nbell: off\n"
    )


def test_a_bare_off_is_the_word_and_not_yamls_false(folder: Path) -> None:
    folder.mkdir()
    (folder / "ui.yaml").write_text("bell: off\n")
    mine = load(folder)
    assert mine.bell == "off"
    assert mine.notices == []
    mine.set(bell="off")
    assert load(folder).bell == "off"


def test_a_value_over_several_lines_is_replaced_whole(folder: Path) -> None:
    folder.mkdir()
    (folder / "ui.yaml").write_text("layout:\n  live:\n    split: 3\ntheme: mono\n")
    load(folder).set(layout={"live": {"split": 4}})
    mine = load(folder)
    assert mine.layout == {"live": {"split": 4}}
    assert mine.theme == "mono"


def test_two_dashboards_keep_each_others_choices(folder: Path) -> None:
    one, other = load(folder), load(folder)
    one.set(theme="paper")
    other.set(bell="off")
    mine = load(folder)
    assert (mine.theme, mine.bell) == ("paper", "off")


def test_how_screens_look_is_kept_by_screen(folder: Path) -> None:
    one, other = load(folder), load(folder)
    one.remember("runs", sort="score")
    other.remember("compare", metric="fidelity", axis="seconds")
    one.remember("runs", is_falling=False)
    mine = load(folder)
    assert mine.recall("runs") == {"sort": "score", "is_falling": False}
    assert mine.recall("compare") == {"metric": "fidelity", "axis": "seconds"}
    assert mine.recall("live") == {}


def test_a_layout_that_is_none_is_an_empty_one(folder: Path) -> None:
    folder.mkdir()
    (folder / "ui.yaml").write_text("layout: {runs: 3}\n")
    assert load(folder).recall("runs") == {}


def test_many_processes_may_write_at_once_and_nothing_is_lost(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tui.preferences import Preferences\n"
        "mine = Preferences.load(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "[mine.mark_seen(Path(f'/runs/{sys.argv[3]}-{n}'), n) for n in range(10)]"
    )
    state = folder.parent / "state"
    words = [sys.executable, "-c", program, str(folder), str(state)]
    both = [subprocess.Popen([*words, name]) for name in ("a", "b")]
    assert [process.wait(60) for process in both] == [0, 0]
    mine = load(folder)
    for name in ("a", "b"):
        for number in range(10):
            seen = mine.seen(Path(f"/runs/{name}-{number}"))
            assert seen is not None
            assert seen.event_id == number


@pytest.mark.parametrize("damage", ["theme: [", "- a\n- b\n", "theme: \x00\n", "a: b: c"])
def test_a_damaged_file_is_set_aside_and_told(folder: Path, damage: str) -> None:
    folder.mkdir()
    (folder / "ui.yaml").write_text(damage)
    mine = load(folder)
    assert mine.theme is None
    (notice,) = mine.take_notices()
    assert "ui.damaged.yaml" in notice
    assert mine.take_notices() == []
    assert (folder / "ui.damaged.yaml").read_text() == damage
    mine.set(theme="ember")
    assert load(folder).theme == "ember"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bell: loud", "'loud' is none of off, bell, notification"),
        ("theme: 7", "7 is no theme's name"),
        ("screen: home", "none of runs"),
        ("keys: [p]", "a mapping of a key's id"),
        ("keys: {run.pause: 1}", "a mapping of a key's id"),
        ("layout: 3", "a mapping by screen"),
    ],
)
def test_a_wrong_value_is_left_out_and_told_and_the_rest_holds(
    folder: Path, line: str, said: str
) -> None:
    folder.mkdir()
    (folder / "ui.yaml").write_text(f"{line}\nimage_mode: ascii\n")
    mine = load(folder)
    assert mine.image_mode == "ascii"
    (notice,) = mine.notices
    assert said in notice
    assert (folder / "ui.yaml").exists()


def test_a_choice_that_is_none_is_our_own_mistake(folder: Path) -> None:
    with pytest.raises(ValueError, match="none of"):
        load(folder).set(bell="loud")
    with pytest.raises(ValueError, match="knows no such choice"):
        load(folder).set(colour="red")


def test_a_folder_that_cannot_be_written_is_a_notice(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    mine = load(folder)
    mine.take_notices()
    mine.set(theme="paper")
    assert mine.theme == "paper"
    assert "cannot be written" in mine.take_notices()[0]


def test_a_damaged_list_of_what_was_seen_begins_anew(folder: Path) -> None:
    mine = load(folder)
    mine.mark_seen(Path("/runs/a"), 3, now=10.0)
    mine.seen_path.write_text("{")
    assert mine.seen(Path("/runs/a")) is None
    mine.mark_seen(Path("/runs/a"), 5, now=11.0)
    seen = mine.seen(Path("/runs/a"))
    assert seen is not None
    assert (seen.event_id, seen.time) == (5, 11.0)


def test_only_the_newest_runs_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.preferences._SEEN_RUNS", 3)
    mine = load(folder)
    for number in range(5):
        mine.mark_seen(Path(f"/runs/{number}"), 1, now=float(number))
    assert [mine.seen(Path(f"/runs/{number}")) is not None for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_the_folder_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_folder() == tmp_path / "diffopt"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_folder() == tmp_path / ".config" / "diffopt"
