"""What Runs says of the selected run's settings."""

import time
from pathlib import Path

import pytest

from engine.config import config_to_yaml, load_config
from tui.details import changed_settings, detail_lines, read_details
from tui.listing import RunRow

RECORDED = Path(__file__).parents[1] / "fixtures" / "runs"


def config_line(name: str, label: str) -> str:
    row = RunRow(path=RECORDED / name, label=label, state="done")
    lines = detail_lines(row, read_details(row), time.time(), 200, 20)
    (line,) = (one.plain for one in lines if one.plain.startswith("config"))
    return line.removeprefix("config").strip()


def test_changes_of_a_recipe_are_those_from_the_recipe() -> None:
    assert config_line("smoke", "smoke") == "smoke, nothing changed"
    assert config_line("ladder", "smoke") == "smoke, 1 changed: quality_threshold 0.975"


def test_settings_of_a_file_are_told_where_they_are_unlike_the_defaults() -> None:
    assert config_line("smoke", "mine").startswith("mine, 15 unlike the defaults: model_path bund")


def test_a_file_called_like_a_recipe_does_not_stand_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(config_to_yaml(load_config("tiny-sd", ["training.seed=7"])))
    (tmp_path / "tiny-sd").write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    assert changed_settings(config, "tiny-sd") == (("training.seed", "7"),)


@pytest.mark.parametrize("text", ["seed: !!int ''", "seed: " + "[" * 3000, "- 1", "{", "\0"])
def test_a_config_that_is_none_has_no_settings_to_tell(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert changed_settings(config) is None
