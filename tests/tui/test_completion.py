"""Paths are completed as shells do: what all share is typed, where they part they are told."""

from pathlib import Path

import pytest

from tui.completion import BUNDLED, Completion, complete
from tui.schema import settings_by_key


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("models/sd15", "models/sdxl", "models/.cache", "prompts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "sd15" / "model_index.json").write_text("{}")
    (tmp_path / "prompts" / "birds.txt").write_text("a wren\n")
    (tmp_path / "prompts" / "birds.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("m", "models/"),
        ("models/sdx", "models/sdxl/"),
        ("models/sd1", "models/sd15"),  # a model: there is nothing to be looked for in it
        ("~", "~/"),
        ("~/m", "~/models/"),
        ("~nobody-here/m", "~nobody-here/m"),
        ("nothing", "nothing"),
        ("bun", "bundled:digits"),
        ("models/.c", "models/.cache/"),
    ],
)
def test_a_text_goes_on_as_the_one_thing_that_fits(folder: Path, text: str, becomes: str) -> None:
    assert complete(text, "model_path") == Completion(becomes)


def test_where_several_fit_what_they_share_is_typed_and_they_are_told(folder: Path) -> None:
    assert complete("models/s", "model_path") == Completion("models/sd", ("sd15/", "sdxl/"))
    assert complete("models/", "model_path").names == ("sd15/", "sdxl/")  # nothing hidden
    assert complete("", "model_path").names == ("models/", "prompts/")


def test_an_absolute_path_keeps_its_spelling(folder: Path) -> None:
    assert complete(f"{folder}/mod", "data.images") == Completion(f"{folder}/models/")


def test_only_files_that_the_setting_reads_are_offered(folder: Path) -> None:
    assert complete("prompts/b", "data.prompts") == Completion("prompts/birds.txt")
    assert complete("prompts/b", "data.images") == Completion("prompts/b")
    assert complete("b", "data.prompts") == Completion("bundled:varied")


def test_what_is_complete_stays(folder: Path) -> None:
    for text in ("bundled:digits", "prompts/birds.txt"):
        what = "data.prompts" if "birds" in text else "model_path"
        assert complete(text, what).text == text


def test_every_path_among_the_settings_is_completed() -> None:
    assert {key for key, one in settings_by_key().items() if one.kind == "path"} == set(BUNDLED)
