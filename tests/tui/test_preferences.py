"""Choices are kept, whoever else writes; a damaged file never keeps a dashboard from opening."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui.preferences import Preferences, config_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "config"


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "ui.yaml").write_bytes(text.encode())


def load(folder: Path) -> Preferences:
    return Preferences.load(folder, folder.parent / "state")


def test_what_was_never_chosen_has_its_default_and_makes_no_file(folder: Path) -> None:
    mine = load(folder)
    assert (mine.theme, mine.bell, mine.keys) == (None, "bell", {})
    assert mine.notices == []
    assert not folder.exists()


def test_a_choice_is_there_the_next_time(folder: Path) -> None:
    load(folder).set(theme="paper", layout={"live": {"split": 42}})
    load(folder).set(bell="notification", image_mode="quadrants")
    mine = load(folder)
    assert (mine.theme, mine.bell) == ("paper", "notification")
    assert mine.layout == {"live": {"split": 42}}
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
        "# mine\ntheme: fjord  # warm\nsparkle: 7 # of tomorrow\n\n# keys\nbell: off\n"
    )


def test_a_bare_off_is_the_word_and_not_yamls_false(folder: Path) -> None:
    folder.mkdir()
    (folder / "ui.yaml").write_text("bell: off\n")
    mine = load(folder)
    assert mine.bell == "off"
    assert mine.notices == []
    mine.set(bell="off")
    assert load(folder).bell == "off"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("theme: fjord  # mine\n", "theme: ember  # mine\n"),
        ("theme:\n  fjord # mine\nbell: off\n", "theme:\n  ember # mine\nbell: off\n"),
        ("'theme': \"fjord\"\n", "'theme': \"ember\"\n"),
        ("---\ntheme: fjord # x\n...\n", "---\ntheme: ember # x\n...\n"),
        ("---\nbell: off\n...\n# end\n", "---\nbell: off\ntheme: ember\n...\n# end\n"),
        ("{theme: fjord, bell: off} # all\n", "{theme: ember, bell: off} # all\n"),
        ("# a\r\ntheme: fjord # x\r\n", "# a\r\ntheme: ember # x\r\n"),
        ("bell: off\r\n", "bell: off\r\ntheme: ember\r\n"),
        ("\ufefftheme: fjord # b\n", "\ufefftheme: ember # b\n"),
        ("# only this", "# only this\ntheme: ember\n"),
        ("bell: off", "bell: off\ntheme: ember"),
    ],
)
def test_a_choice_changes_its_own_word_and_not_a_byte_besides(
    folder: Path, before: str, after: str
) -> None:
    write(folder, before)
    load(folder).set(theme="ember")
    assert (folder / "ui.yaml").read_bytes().decode() == after
    assert load(folder).theme == "ember"


def test_a_screen_s_look_is_changed_where_it_stands_between_comments(folder: Path) -> None:
    text = (
        "layout: # screens\n  live: # at work\n    tab: log # the log\n  # end of it\n"
        "  compare: {metric: fidelity} # figures\ntheme: mono\n"
    )
    write(folder, text)
    mine = load(folder)
    mine.remember("live", tab="machine")
    mine.remember("compare", axis="seconds")
    assert (folder / "ui.yaml").read_text() == text.replace("tab: log", "tab: machine").replace(
        "fidelity}", "fidelity, axis: seconds}"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme: &t fjord # a\nlayout: {live: {tab: *t}}\n", "ui.yaml: theme: changing its text"),
        ("theme: fjord\ntheme: mono\n", "stands here twice"),
        ("bell: off\ntheme: [\n", "ui.yaml cannot be read (line 3: "),
        ("- theme\n", "a mapping was wanted"),
        ("theme: !!int ''\n", "a value is not what its tag promises"),
        ("a: " + "[" * 5000, "it is nested too deep"),
    ],
)
def test_what_cannot_be_changed_without_harm_stays_and_is_told_once(
    folder: Path, text: str, said: str
) -> None:
    """A mistake that is made while a dashboard is open loses nothing of what stands there."""
    mine = load(folder)
    write(folder, text)
    mine.set(theme="ember")
    assert mine.theme == "ember", "for now"
    mine.set(theme="ember")
    (notice,) = mine.take_notices()
    assert said in notice
    assert (folder / "ui.yaml").read_text() == text
    assert sorted(path.name for path in folder.iterdir()) == [".ui.yaml.lock", "ui.yaml"]
    write(folder, "bell: off\n")
    mine.set(theme="mono")
    assert (folder / "ui.yaml").read_text() == "bell: off\ntheme: mono\n", "mended, it is kept"


def test_damaged_files_are_numbered_and_none_takes_another_s_place(folder: Path) -> None:
    for number in range(3):
        write(folder, f"theme: [{number}")
        (notice,) = load(folder).take_notices()
        name = f"ui.damaged{f'-{number + 1}' if number else ''}.yaml"
        assert f"it is kept as {name}," in notice
        assert (folder / name).read_text() == f"theme: [{number}"
    assert len(list(folder.iterdir())) == 3


def test_a_choice_of_an_earlier_version_is_passed_over_in_silence(folder: Path) -> None:
    write(folder, "screen: compare\ntheme: mono\n")
    mine = load(folder)
    assert (mine.theme, mine.notices) == ("mono", [])
    mine.set(theme="paper")
    assert (folder / "ui.yaml").read_text() == "screen: compare\ntheme: paper\n"


@pytest.mark.parametrize("kind", ["folder", "pipe", "large", "no UTF-8"])
def test_what_is_no_small_text_is_told_and_left_alone(folder: Path, kind: str) -> None:
    path = folder / "ui.yaml"
    folder.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"# large\n" * 10_000 if kind == "large" else b"theme: \xff\n")
    before = path.stat()
    mine = load(folder)
    (notice,) = mine.take_notices()
    assert f"{path} cannot be read (" in notice
    mine.set(theme="ember")
    (notice,) = mine.take_notices()
    assert "stays as it is" in notice
    assert (path.stat().st_ino, path.stat().st_mtime) == (before.st_ino, before.st_mtime)


def test_a_link_stays_one_and_the_file_keeps_who_may_read_it(folder: Path, tmp_path: Path) -> None:
    """People keep such files together elsewhere, and link to them."""
    folder.mkdir()
    real = tmp_path / "dotfiles.yaml"
    real.write_text("theme: mono\n")
    real.chmod(0o600)
    (folder / "ui.yaml").symlink_to(real)
    load(folder).set(theme="paper")
    assert (folder / "ui.yaml").is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("theme: paper\n", 0o600)


def test_a_file_that_was_made_read_only_is_not_written(folder: Path) -> None:
    write(folder, "theme: mono\n")
    (folder / "ui.yaml").chmod(0o444)
    mine = load(folder)
    mine.set(theme="paper")
    assert mine.take_notices() == [
        f"{folder / 'ui.yaml'} cannot be written (it is read-only); choices are lost."
    ]
    assert (folder / "ui.yaml").read_text() == "theme: mono\n"


def test_whoever_listens_hears_of_a_notice_at_once_and_of_each_once(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    mine = load(folder)
    mine.take_notices()  # of the start
    heard: list[str] = []
    mine.on_notice = lambda: heard.extend(mine.take_notices())
    mine.set(theme="paper")
    mine.remember("runs", sort="score")
    mine.set(theme="mono")
    assert len(heard) == 1
    assert "cannot be written" in heard[0]


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


def test_dashboards_that_write_choices_at_the_same_time_keep_them_all(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tui.preferences import Preferences\n"
        "mine = Preferences.load(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "[mine.remember(f'{sys.argv[3]}{n}', tab=n) for n in range(8)]\n"
        "assert not mine.notices, mine.notices"
    )
    write(folder, "# mine\ntheme: mono # grey\n")
    words = [sys.executable, "-c", program, str(folder), str(folder.parent / "state")]
    both = [subprocess.Popen([*words, name]) for name in ("a", "b")]
    assert [process.wait(60) for process in both] == [0, 0]
    assert load(folder).layout == {f"{name}{n}": {"tab": n} for name in "ab" for n in range(8)}
    assert (folder / "ui.yaml").read_text().startswith("# mine\ntheme: mono # grey\nlayout:\n")


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
        ("keys: [p]", "a mapping of a key's id"),
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
    with pytest.raises(ValueError, match="keys are written by hand"):
        load(folder).set(keys={"run.pause": "p"})


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
