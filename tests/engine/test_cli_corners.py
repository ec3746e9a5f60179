"""What the system refuses, and words no command can take: one line, before any work is done."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.cli import main
from engine.commands import sampling
from engine.errors import RunError
from engine.run import RunFolder, find_run, list_runs, shelf

LONG = "x" * 300
SAMPLE = ("sample", "bundled:digits", "--labels", "all")
OF_RUNS = ("runs", "show x", "log x", "trash", "restore x", "empty-trash", "run smoke", "doctor")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a command which cannot be done says."""
    try:
        code = main(words)
    except SystemExit as end:  # argparse's way
        code = end.code
    out, error = capsys.readouterr()
    assert (code, out) == (2, ""), error
    assert error.startswith("diffopt: ")
    assert error.count("\n") == 1
    return error


def ended(*words: str, redirection: str) -> tuple[int, str, str]:
    """Return exit code, standard output and error of a command in a shell of its own."""
    call = 'exec "$0" -m engine.cli "$@" ' + redirection
    done = subprocess.run(
        ["/bin/sh", "-c", call, sys.executable, *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("option", ["--count", "--height", "--steps"])
def test_a_number_that_no_array_can_have_is_told(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = told(capsys, *SAMPLE, "--out", "a.png", option, "9" * 20)
    assert f"{option}: {'9' * 20} is too large; wanted at most 2147483647." in error


@pytest.mark.parametrize(
    "words",
    [
        ("doctor", "a\x1b[31m\nb"),
        ("a\x1b[31m\nb",),
        ("sample", "m", "--out", "x", "--a\x1b[31m\nb"),
        ("runs", "--all=a\x1b[31m\nb"),
        ("schedule", "m", "--top", "a\x1b[31m\nb"),
        ("evaluate", "m", "--against", "m", "--mode", "a\x1b[31m\nb"),
    ],
)
def test_an_unknown_word_never_steers_the_terminal(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    error = told(capsys, *words)
    assert r"a\x1b[31m" in error
    assert error.removesuffix("\n").isprintable()


# Where samples go


@pytest.fixture
def _no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(*_words: object, **_more: object) -> None:
        raise AssertionError("the model was loaded before the target was looked at")

    monkeypatch.setattr(sampling, "load_model", load_model)


@pytest.mark.usefixtures("_no_sampling")
@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("folder.png", "this is a folder"),
        ("nowhere/a.png", "there is no folder"),
        ("file/a.png", "there is no folder"),
        (f"{LONG}.png", "File name too long"),
        ("loop/a.png", "there is no folder"),
        ("weights.safetensors", "holds something else than samples"),
        ("cut.safetensors", "holds something else than samples"),
        ("runs/first/samples/a.png", "lies in the run"),
    ],
)
def test_a_target_that_cannot_be_written_is_told_before_anything_is_sampled(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, out: str, said: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    save_file({"conv_in.bias": np.zeros(3, np.float32)}, tmp_path / "weights.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0")
    RunFolder.create(tmp_path / "runs", "seed: 0\n", name="first", mounts=[])
    before = set(tmp_path.rglob("*"))
    error = told(capsys, *SAMPLE, "--out", out)
    assert said in error
    assert f"--out {out}" in error
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a Linux system alone has it")
@pytest.mark.usefixtures("_no_sampling")
def test_a_folder_that_takes_no_files_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no file can be written there" in told(capsys, *SAMPLE, "--out", "/proc/a.png")


def test_samples_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    for seed in ("0", "1"):
        assert main([*SAMPLE, "--steps", "1", "--seed", seed, "--out", str(out)]) == 0
        found = load_file(out)["samples"]
    assert len(found) == 10


# Numbers that are none


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "-5"), "--seed: -5 is below 0"),
        (("--timesteps", "nan"), "--timesteps: 'nan' holds"),
        (("--timesteps", "5,nan"), "--timesteps: '5,nan' holds"),
        (("--timesteps", "inf,5"), "--timesteps: 'inf,5' holds"),
        (("--guidance", "nan"), "--guidance: nan is no finite"),
        (("--guidance", "x"), "--guidance: 'x' is no number"),
        (("--guidance-rescale", "7"), "--guidance-rescale: this model reads no prompts"),
        (("--guidance-rescale", "0"), "--guidance-rescale: this model reads no prompts"),
        (("--lora", ""), "adapter"),
        (("--noise", ""), "--noise .: no such file"),
    ],
)
def test_a_number_that_nothing_can_be_sampled_with_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in told(capsys, *SAMPLE, *words, "--out", "a.png")
    assert list(tmp_path.iterdir()) == []


def test_what_a_setting_cannot_be_no_model_is_inspected_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    inspect = ("inspect", "bundled:digits", "--no-probe")
    assert "--rank is 2000; wanted 1 to 1024." in told(capsys, *inspect, "--rank", "2000")
    assert "wanted 1 to 65536" in told(capsys, *inspect, "--batch-size", "65537")


def test_what_a_score_cannot_be_made_of_is_told_by_the_option(
    capsys: pytest.CaptureFixture[str], ddpm_cifar: Path
) -> None:
    evaluate = ("evaluate", "bundled:digits", "--against", "bundled:digits")
    assert "--classifier is 'other'" in told(capsys, *evaluate, "--classifier", "other")
    cifar = ("evaluate", str(ddpm_cifar), "--against", str(ddpm_cifar))
    assert "--classifier bundled:digits: it reads 10" in told(
        capsys, *cifar, "--classifier", "bundled:digits"
    )
    for words in (evaluate, ("schedule", "bundled:digits", "--steps", "4")):
        assert "--samples is 1000000;" in told(capsys, *words, "--samples", "1000000")


# Names that are none


@pytest.mark.parametrize("command", OF_RUNS)
def test_a_runs_folder_that_cannot_be_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for folder, said in (
        ("loop", "Too many levels"),
        (LONG, "too long"),
        ("", "it is empty"),
        ("x\udcff", "not in UTF-8"),
    ):
        assert said in told(capsys, *command.split(), "--runs-dir", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_a_runs_folder_of_the_environment_is_looked_at_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFOPT_RUNS_DIR", LONG)
    assert "too long" in told(capsys, "runs")


@pytest.mark.parametrize(
    "command", ["show", "log", "trash", "archive", "pause", "resume", "cancel", "restore"]
)
def test_an_empty_name_is_no_run_and_a_long_one_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    root = tmp_path / "runs"
    run = RunFolder.create(root, "seed: 0\n", name="only", mounts=[])
    for name in ("", " "):
        assert "empty" in told(capsys, command, name, "--runs-dir", str(root))
    assert "There is no run xxx" in told(capsys, command, LONG, "--runs-dir", str(root))
    assert list_runs(root) == [run], "it was not taken for the only one there is"
    assert not shelf.is_archived(run)


def test_the_beginning_of_a_name_must_be_something(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="only", mounts=[])
    assert find_run(tmp_path, "o") == run
    with pytest.raises(RunError, match="empty"):
        find_run(tmp_path, "")


def test_a_run_named_by_a_way_round_keeps_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.create(tmp_path, "seed: 0\n", name="only", mounts=[])
    monkeypatch.chdir(run.samples_path)
    assert find_run(tmp_path / "elsewhere", "..") == run


def test_folders_that_cannot_be_listed_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RunError, match=r"runs folder .*loop cannot be read"):
        list_runs(tmp_path / "loop")
    with pytest.raises(RunError, match=r"trash .*loop/\.trash cannot be read"):
        shelf.list_trash(tmp_path / "loop")


def test_whatever_path_the_system_refuses_is_named_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_words: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/their/file")

    monkeypatch.setattr("engine.commands.settings.config", refuse)
    assert told(capsys, "config") == "diffopt: /their/file cannot be used: Permission denied.\n"


def test_a_message_stays_one_line_and_steers_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "no run a\\nb\\x1b[2J in" in told(capsys, "show", "a\nb\x1b[2J")


def test_nobody_is_asked_where_there_is_no_standard_input(tmp_path: Path) -> None:
    shelf.trash(RunFolder.create(tmp_path, "seed: 0\n", name="one", mounts=[]), client="a test")
    code, _, error = ended("empty-trash", "--runs-dir", str(tmp_path), redirection="<&-")
    assert code == 2
    assert "say --yes" in error
    assert len(shelf.list_trash(tmp_path)) == 1


def test_too_little_memory_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_words: object) -> None:
        raise MemoryError

    monkeypatch.setattr("engine.commands.settings.config", refuse)
    assert "not enough memory" in told(capsys, "config")


def test_a_character_that_yaml_has_not_is_told_with_its_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "nul.yaml").write_bytes(b"seed: 1\nmodel_path: a\0b\n")
    error = told(capsys, "config", "nul.yaml")
    assert "nul.yaml: line 2, column 14: not valid YAML: the character U+0000" in error


# Standard output


@pytest.mark.parametrize("words", [("config",), ("--help",), ("runs", "--help"), ()])
def test_a_closed_or_full_standard_output_is_told(words: tuple[str, ...]) -> None:
    code, _, error = ended(*words, redirection=">&-")
    assert code == 2
    assert "standard output is closed" in error
    assert error.count("\n") == 1
    if Path("/dev/full").exists():
        code, _, error = ended(*words, redirection=">/dev/full")
        assert code == 1
        assert "standard output could not be written (No space left" in error
        assert error.count("\n") == 1


def test_without_a_standard_error_a_command_does_what_it_can() -> None:
    code, out, _ = ended("config", "smoke", redirection="2>&-")
    assert code == 0
    assert "model_path" in out
    assert ended("show", "no-such-run", redirection="2>&-")[0] == 2


def test_a_name_that_is_no_text_is_printed_with_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    out = os.fsdecode(b"x\xff.png")
    code, told_of, _ = ended(*SAMPLE, "--steps", "1", "--out", out, redirection="")
    assert code == 0
    assert "x\\udcff.png" in told_of
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"x\xff.png"]
