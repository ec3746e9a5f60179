"""One model behind form and YAML: values, faults, differences, undo, files, drafts that survive."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import config_to_yaml, load_config, parse_config
from engine.errors import ConfigError
from engine.run import RunFolder
from tui import draft_file
from tui.draft import Draft
from tui.draft_file import find_draft, open_source
from tui.schema import key_order, settings_by_key
from tui.typed_values import MISSING
from tui.yaml_edit import EditRefused

TEXT = "# mine\nmodel_path: bundled:digits  # here\ntraining:\n  learning_rate: 1e-3  # high\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFOPT_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def draft(file: Path, clock: Clock) -> Draft:
    return Draft(open_source(file), clock=clock)


def test_a_form_edit_is_a_change_of_the_text(draft: Draft) -> None:
    draft.set_typed("training.learning_rate", "3e-4")
    draft.set_typed("training.batch_size", "32")
    assert draft.text == TEXT.replace("1e-3", "3.0e-4").replace(
        "training:\n", "training:\n  batch_size: 32\n"
    )
    assert draft.value("training.batch_size") == 32
    assert draft.value("training.seed") == 0  # its default
    assert draft.value("nonsense") is MISSING
    assert draft.is_modified


def test_what_is_typed_wrong_stands_in_the_text_and_is_a_fault(draft: Draft) -> None:
    draft.set_typed("training.batch_size", "0")
    draft.set_typed("target_steps", "four")
    assert "batch_size: 0" in draft.text
    assert "target_steps: four" in draft.text
    fault = draft.fault_of("training.batch_size")
    assert fault is not None
    assert fault.message == "wanted >= 1, found 0"
    assert [fault.key for fault in draft.faults] == ["target_steps", "training.batch_size"]


def test_an_empty_box_is_the_default(draft: Draft) -> None:
    draft.set_typed("training.learning_rate", " ")
    assert "learning_rate" not in draft.text
    assert "# high" in draft.text
    draft.reset("training.learning_rate")  # a second time does nothing
    assert draft.value("training.learning_rate") == 1e-4


def test_changed_settings_are_those_that_differ_from_their_default(draft: Draft) -> None:
    draft.set_typed("training.batch_size", "64")  # the default, written out
    draft.set_value("original.spacing", "karras")
    found = {one.key: (one.old, one.new) for one in draft.changed()}
    assert found == {
        "model_path": (MISSING, "bundled:digits"),
        "original.spacing": (None, "karras"),
        "training.learning_rate": (1e-4, 1e-3),
    }
    assert [one.key for one in draft.changed()] == [key for key in key_order() if key in found]


def test_text_that_does_not_parse_freezes_the_form_and_loses_nothing(draft: Draft) -> None:
    draft.set_text(TEXT + "quality: [\n")
    assert not draft.is_parsed
    assert draft.value("training.learning_rate") == 1e-3  # as it last was
    with pytest.raises(EditRefused, match="does not parse"):
        draft.set_typed("training.batch_size", "8")
    assert draft.text == TEXT + "quality: [\n"


def test_typing_without_a_pause_is_one_step(draft: Draft, clock: Clock) -> None:
    for typed in ("8", "82", "825"):
        clock.now += 0.3
        draft.set_typed("training.batch_size", typed)
    clock.now += 5
    draft.set_typed("training.batch_size", "8")
    draft.set_typed("training.seed", "3")
    assert draft.undo() == "training.seed"
    assert draft.undo() == "training.batch_size"
    assert draft.value("training.batch_size") == 825
    assert draft.undo() == "training.batch_size"
    assert draft.text == TEXT
    assert draft.undo() is None
    for _ in range(3):
        draft.redo()
    assert draft.value("training.seed") == 3
    assert draft.redo() is None


def test_a_new_line_and_a_left_box_end_a_step(draft: Draft) -> None:
    draft.set_text(TEXT + "x")
    draft.set_text(TEXT + "xy")
    draft.set_text(TEXT + "xy\n")
    draft.undo()
    assert draft.text == TEXT + "xy"
    draft.redo()
    draft.set_typed("training.seed", "1") if draft.is_parsed else draft.set_text(TEXT)
    draft.end_step()
    draft.set_text(draft.text + "# z")
    draft.undo()
    assert "# z" not in draft.text


EDITS = st.one_of(
    st.tuples(
        st.just("typed"), st.sampled_from(key_order()), st.sampled_from(["3", "", "x", "1e-4"])
    ),
    st.tuples(
        st.just("text"), st.just(""), st.sampled_from(["a: [", "", TEXT, "training: {seed: 4}"])
    ),
    st.tuples(st.sampled_from(["undo", "redo"]), st.just(""), st.just("")),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(EDITS, max_size=12))
def test_undo_leads_back_to_the_beginning_and_redo_to_the_end(
    edits: list[tuple[str, str, str]],
) -> None:
    draft = Draft(draft_file.Source("x", "x", None, TEXT), clock=Clock())
    for kind, key, value in edits:
        if kind == "typed" and key in settings_by_key():
            try:
                draft.set_typed(key, value)
            except EditRefused:
                continue
        elif kind == "text":
            draft.set_text(value)
        elif kind in ("undo", "redo"):
            getattr(draft, kind)()
    while draft.redo() is not None:
        pass
    end = draft.text
    while draft.undo() is not None:
        pass
    assert draft.text == TEXT
    assert not draft.is_modified
    while draft.redo() is not None:
        pass
    assert draft.text == end


def test_several_settings_at_once_are_one_step(draft: Draft) -> None:
    draft.set_values({"training.iterations": [10, 20], "training.learning_rate": 1e-4}, "preset")
    assert draft.value("training.iterations") == [10, 20]
    assert "learning_rate" not in draft.text  # at its default there is nothing to say
    assert draft.undo() == "preset"
    assert draft.text == TEXT


def test_saving_writes_the_file_whole_and_drops_the_draft(draft: Draft, file: Path) -> None:
    file.chmod(0o640)
    draft.set_typed("training.seed", "3")
    kept = draft.keep_draft()
    assert kept is not None
    assert kept == file.with_name(".mine.yaml.draft")
    assert draft.keep_draft() is None  # nothing new to keep
    draft.save()
    assert file.read_text() == draft.text
    assert file.stat().st_mode & 0o777 == 0o640
    assert not draft.is_modified
    assert not kept.exists()
    assert sorted(path.name for path in file.parent.iterdir() if path.is_file()) == ["mine.yaml"]


def test_line_ends_and_links_survive_saving(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_bytes(b"model_path: x\r\ntarget_steps: 4\r\n")
    link.symlink_to(real)
    draft = Draft(open_source(link))
    draft.set_typed("target_steps", "5")
    draft.save()
    assert link.is_symlink()
    assert real.read_bytes() == b"model_path: x\r\ntarget_steps: 5\r\n"


def test_a_file_that_cannot_be_written_is_said_and_nothing_is_lost(
    draft: Draft, tmp_path: Path
) -> None:
    draft.set_typed("training.seed", "3")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        draft.save(tmp_path / "folder.yaml")
    assert draft.is_modified
    recipe = Draft(open_source("demo"))
    with pytest.raises(ConfigError, match="has no file yet"):
        recipe.save()


def test_a_draft_is_offered_at_the_next_opening(draft: Draft, file: Path) -> None:
    draft.set_typed("training.seed", "3")
    draft.keep_draft()
    again = Draft(open_source(file))
    found = again.found_draft()
    assert found is not None
    assert found.is_based_on_this
    again.take_draft(found)
    assert again.text == draft.text
    again.undo()
    assert again.text == TEXT
    file.write_text(TEXT + "# edited elsewhere\n")
    later = Draft(open_source(file)).found_draft()
    assert later is not None
    assert not later.is_based_on_this
    again.drop_draft()
    assert Draft(open_source(file)).found_draft() is None


def test_a_draft_outlives_another_s_saving_of_the_same_file(draft: Draft, file: Path) -> None:
    other = Draft(open_source(file))
    draft.set_typed("training.seed", "3")
    kept = draft.keep_draft()
    assert kept is not None
    other.set_typed("training.seed", "4")
    other.save()
    assert not kept.exists()
    assert draft.keep_draft() == kept
    assert "seed: 3" in kept.read_text()
    assert draft.keep_draft() is None


def test_a_draft_goes_when_its_change_is_taken_back(draft: Draft, file: Path) -> None:
    draft.set_typed("training.seed", "3")
    assert draft.keep_draft() is not None
    draft.undo()
    assert draft.keep_draft() is None
    assert find_draft(draft.source) is None


def test_the_draft_of_a_recipe_waits_in_the_state_folder(tmp_path: Path) -> None:
    draft = Draft(open_source("demo"))
    draft.set_typed("training.seed", "3")
    path = draft.keep_draft()
    assert path is not None
    assert path.parent == tmp_path / "state" / "drafts"
    found = Draft(open_source("demo")).found_draft()
    assert found is not None
    assert found.text == draft.text


def test_what_a_run_was_started_with_does_not_wait_as_a_draft() -> None:
    draft = Draft(open_source("demo"))
    draft.set_typed("training.seed", "3")
    draft.keep_draft()
    draft.started()
    assert draft.found_draft() is None
    assert draft.keep_draft() is None
    command = draft.as_command()
    assert command == "diffopt run demo --set training.seed=3"
    draft.end_step()
    draft.set_typed("training.seed", "4")
    assert draft.keep_draft() is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_draft_goes_to_the_state_folder_where_its_own_is_closed(
    draft: Draft, file: Path, tmp_path: Path
) -> None:
    draft.set_typed("training.seed", "3")
    file.parent.chmod(0o500)
    try:
        path = draft.keep_draft()
    finally:
        file.parent.chmod(0o700)
    assert path is not None
    assert path.parent == tmp_path / "state" / "drafts"


def test_a_change_on_disk_is_noticed_and_either_side_can_win(draft: Draft, file: Path) -> None:
    draft.set_typed("training.seed", "3")
    assert draft.disk_state() == "same"
    file.write_text(TEXT.replace("1e-3", "5e-3"))
    assert draft.disk_state() == "changed"
    diff = draft.diff_to_disk()
    assert any(line.startswith("+  seed: 3") for line in diff)
    assert any(line.startswith("-  learning_rate: 5e-3") for line in diff)
    mine = draft.text
    draft.keep_mine()
    assert draft.disk_state() == "same"
    assert (draft.text, draft.is_modified) == (mine, True)
    file.write_text(TEXT.replace("1e-3", "6e-3"))
    draft.reload()
    assert draft.text == file.read_text()
    assert not draft.is_modified
    draft.undo()
    assert draft.text == mine
    file.unlink()
    assert draft.disk_state() == "gone"
    draft.save()
    assert file.read_text() == mine


def test_a_run_s_settings_are_opened_whole_and_cloned_by_their_differences(tmp_path: Path) -> None:
    config = load_config("smoke")
    run = RunFolder.create(tmp_path / "runs", config_to_yaml(config), name="digits", mounts=[])
    opened = open_source(run)
    assert opened.run == run
    assert opened.text == run.config_path.read_text()
    clone = open_source(run, is_clone=True)
    assert clone.run is None
    assert parse_config(clone.text, "clone") == config
    assert len(clone.text.splitlines()) == len(Draft(clone).changed()) + 4  # and four sections
    assert clone.text.startswith("model_path: bundled:digits\n")


def test_the_command_line_says_what_differs_from_its_file(draft: Draft, file: Path) -> None:
    draft.set_typed("training.stage_steps", "16, 8, 4")
    draft.set_typed("run.on_finish", "say it's done")
    draft.reset("training.learning_rate")
    command = draft.as_command()
    assert command is not None
    import shlex

    words = shlex.split(command)
    assert words[:3] == ["diffopt", "run", str(file)]
    overrides = words[4::2]
    assert words[3::2] == ["--set"] * len(overrides)
    assert load_config(file, overrides) == draft.checked.config
    draft.set_typed("target_steps", "0")
    assert draft.as_command() is None


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_source(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        open_source("~nobody-of-that-name/x.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read as a text file"):
        open_source(tmp_path / "bytes.yaml")


def test_a_folder_that_cannot_be_looked_into_is_a_change_and_holds_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    draft = Draft(open_source(file))
    draft.set_value("target_steps", 9)
    draft.keep_draft()
    assert draft.is_kept

    def refuse(path: Path, *args: object, **options: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert draft.disk_state() == "changed"
    assert not draft.is_kept


def test_a_mark_holds_though_the_stack_is_trimmed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TEXT)
    draft = Draft(open_source(file))
    for number in range(600):
        draft.set_text(f"{TEXT}# {number}\n", f"{number}")
    before, mark = draft.text, draft.mark()
    draft.set_text(before + "# more\n", "a")
    draft.set_text(before + "# and more\n", "b")
    draft.rewind(mark)
    assert draft.text == before
    assert draft.undo() == "599"
