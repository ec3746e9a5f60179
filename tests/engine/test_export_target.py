"""An export never takes the place of what somebody else made, least of all of a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli import main
from engine.errors import ConfigError
from engine.export.from_run import student_of_run
from engine.export.target import export_target, refuse_original
from engine.run import RunFolder

OF_NOTHING = '{"sha256": {}}'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run, with an export of its own."""
    root = tmp_path / "runs"
    RunFolder.create(root, "seed: 0\n", name="other", mounts=[])
    run = RunFolder.create(root, "seed: 0\n", name="first", mounts=[]).path
    (run / "export" / "diffopt_manifest.json").write_text(OF_NOTHING)
    return run


def target(run: Path, to: str | Path, *, is_forced: bool = True) -> Path:
    return export_target(str(to), run, run.parent, is_forced=is_forced)


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def _linked(run: Path) -> Path:
    link = run.parent.parent / "link"
    link.symlink_to(run)
    return link


def _linked_runs(run: Path) -> Path:
    link = run.parent.parent / "link"
    link.symlink_to(run.parent)
    return link / "other"


def _export_around_a_run(run: Path) -> Path:
    folder = run.parent.parent / "earlier"
    folder.mkdir()
    (folder / "diffopt_manifest.json").write_text(OF_NOTHING)
    RunFolder.create(folder / "deep", "seed: 0\n", name="hidden", mounts=[])
    return folder


def _work_of_another(run: Path) -> Path:
    folder = run.parent.parent / "victim"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


def _plain_file(run: Path) -> Path:
    file = run.parent.parent / "thesis.txt"
    file.write_text("years of work")
    return file


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (lambda run: run, "is a run"),
        (_linked, "is a run"),
        (_linked_runs, "is a run"),
        (lambda run: run.parent / "other", "is a run"),
        (lambda run: run / "checkpoints", "lies in the run"),
        (lambda run: run / "export" / "deeper", "lies in the run"),
        (lambda run: run.parent / "other" / "export", "lies in the run"),
        (lambda run: run.parent, "is the runs folder"),
        (lambda run: run.parent.parent, "holds the runs folder"),
        (lambda run: run.parent / "third", "lies in the runs folder"),
        (_export_around_a_run, "holds the run"),
        (_work_of_another, "diffopt_manifest.json"),
        (_plain_file, "this is a file"),
    ],
)
def test_nothing_but_an_earlier_export_is_replaced_even_by_force(
    capsys: pytest.CaptureFixture[str],
    run: Path,
    tmp_path: Path,
    place: Callable[[Path], Path],
    told: str,
) -> None:
    to = place(run)
    before = everything_below(tmp_path)
    words = ("export", "first", "--to", str(to), "--force", "--runs-dir", str(run.parent))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert str(to) in error
    assert error.count("\n") == 1
    assert everything_below(tmp_path) == before


def an_export(folder: Path) -> Path:
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "diffopt_manifest.json").write_text('{"sha256": {"unet/config.json": "0"}}')
    return folder


@pytest.mark.parametrize("name", ["thesis.txt", "unet/thesis.txt", "mine/deep/thesis.txt"])
def test_what_lies_in_an_earlier_export_without_being_of_it_is_never_deleted(
    run: Path, tmp_path: Path, name: str
) -> None:
    earlier = an_export(tmp_path / "earlier")
    (earlier / "empty").mkdir()
    assert target(run, earlier) == earlier
    (earlier / name).parent.mkdir(parents=True, exist_ok=True)
    (earlier / name).write_text("years of work")
    for is_forced in (True, False):
        with pytest.raises(ConfigError, match=f"earlier: {name} is not of the earlier export"):
            target(run, earlier, is_forced=is_forced)


def test_what_finder_leaves_where_somebody_looked_is_no_work_of_theirs(
    run: Path, tmp_path: Path
) -> None:
    earlier, empty = an_export(tmp_path / "earlier"), tmp_path / "empty"
    empty.mkdir()
    for folder in (earlier, earlier / "unet", empty):
        (folder / ".DS_Store").write_bytes(b"where its icons stand")
    assert target(run, earlier) == earlier
    assert target(run, empty, is_forced=False) == empty
    (earlier / "unet" / ".DS_Store").unlink()
    (earlier / "unet" / ".DS_Store").mkdir()
    (earlier / "unet" / ".DS_Store" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis\.txt is not of the earlier export"):
        target(run, earlier)


def test_a_link_to_a_folder_is_not_of_an_earlier_export(run: Path, tmp_path: Path) -> None:
    earlier = an_export(tmp_path / "earlier")
    (earlier / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="link is not of the earlier export"):
        target(run, earlier)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\xff", '{"sha256": 1}', "[" * 100_000])
def test_a_manifest_that_lists_no_files_makes_no_folder_ours(
    run: Path, tmp_path: Path, text: str
) -> None:
    earlier = an_export(tmp_path / "earlier")
    (earlier / "diffopt_manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="something else than an earlier export"):
        target(run, earlier)


def test_the_current_folder_is_not_taken_from_under_the_shell(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "outer" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    for to in (".", "..", here.parent):
        with pytest.raises(ConfigError, match="current folder"):
            target(run, to)


def test_a_place_that_no_folder_can_have_is_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for to in ("x" * 300, "loop", "nowhere/deeper"):
        with pytest.raises(ConfigError, match=f"--to {tmp_path / to}: "):
            target(run, tmp_path / to)


def test_an_earlier_export_is_replaced_by_force_alone(run: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    assert target(run, earlier, is_forced=False) == earlier, "an empty folder is nothing"
    (earlier / "diffopt_manifest.json").write_text(OF_NOTHING)
    for folder in (earlier, run / "export"):
        with pytest.raises(ConfigError, match="add --force"):
            target(run, folder, is_forced=False)
        assert target(run, folder) == folder
    assert target(run, tmp_path / "new", is_forced=False) == tmp_path / "new"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a Linux system alone has it")
def test_a_folder_that_takes_no_folders_is_told_before_anything_is_loaded(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"--to /proc/x: no folder can be made there \(No such"):
        target(run, "/proc/x")


def test_a_run_whose_settings_are_damaged_is_told(run: Path, tmp_path: Path) -> None:
    (run / "config.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read as a text file"):
        student_of_run(RunFolder.open(run))


def test_the_model_that_a_run_began_with_is_not_replaced_by_its_student(tmp_path: Path) -> None:
    model = tmp_path / "models" / "original"
    model.mkdir(parents=True)
    (tmp_path / "link").symlink_to(model)
    for to in (model, model.parent):
        with pytest.raises(ConfigError, match="original model is there"):
            refuse_original(str(to), to, tmp_path / "link")
    refuse_original("new", tmp_path / "new", model)
