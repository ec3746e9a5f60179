"""A hub's id is looked for in the cache first; a failure is one line. Nothing here is fetched."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import CheckpointError
from engine.models.folder import resolve_model_path
from engine.models.hub import is_hub_id
from engine.models.loading import load_model

FIXTURES = Path(__file__).parents[2] / "fixtures"


def install(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    library = SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("owner/name", True),
        ("some-one/stable.diffusion_v1-5", True),
        ("./owner/name", False),
        ("/owner/name", False),
        ("~/name", False),
        ("name", False),
        ("a/b/c", False),
        ("bundled:digits", False),
        ("owner/na me", False),
    ],
)
def test_what_an_id_looks_like(text: str, wanted: bool) -> None:
    assert is_hub_id(text) is wanted


def test_a_folder_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_id("owner/name")
    assert resolve_model_path("owner/name") == Path("owner/name")


def test_the_cache_comes_first_and_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def download(name: str, local_files_only: bool = False, **_: Any) -> str:
        asked.append(local_files_only)
        return str(FIXTURES / name.split("/")[1])

    install(monkeypatch, download)
    loaded = load_model("owner/sd15", steps=4)
    assert loaded.checkpoint.path == FIXTURES / "sd15"
    assert asked == [True]


def test_what_is_missing_is_fetched_without_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append(options)
        if options.get("local_files_only"):
            raise FileNotFoundError("not cached")
        return str(FIXTURES / name.split("/")[1])

    install(monkeypatch, download)
    assert resolve_model_path("owner/sd15", may_fetch=True) == FIXTURES / "sd15"
    assert not any(pattern.endswith(("bin", "ckpt", "*")) for pattern in asked[1]["allow_patterns"])
    with pytest.raises(CheckpointError, match="nor a copy in the hub's cache"):
        resolve_model_path("owner/sd15")


def test_offline_is_one_line_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise ValueError("not cached")
        raise ConnectionError("cannot reach https://example.invalid/x?y\nand more lines")

    install(monkeypatch, download)
    with pytest.raises(CheckpointError) as caught:
        load_model("owner/name")
    text = str(caught.value)
    assert "owner/name: there is no such folder" in text
    assert "ConnectionError: cannot reach the hub" in text
    assert "://" not in text
    assert "\n" not in text
    assert caught.value.exit_code == 2


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"pip install 'diffopt-tui\[hub\]'"):
        load_model("owner/name")
