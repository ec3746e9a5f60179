"""The walls hold at run time: no MLX in a viewer, no screen in the engine, no gap in the wheel."""

import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "themes", "tui")
MLX_FREE = (
    "engine",
    "engine.blas",
    "engine.config",
    "engine.errors",
    "engine.estimate",
    "engine.files",
    "engine.model_size",
    "engine.records",
    "engine.run",
    "engine.settings",
    "themes",
    "tui",
)


def modules_below(name: str) -> list[str]:
    """Return a module's name, or a package's and those in it; nothing where it does not exist."""
    folder = ROOT.joinpath(*name.split("."))
    if not folder.is_dir():
        return [name] if folder.with_suffix(".py").exists() else []
    files = folder.rglob("*.py") if name != "engine" else [folder / "__init__.py"]
    paths = (file.relative_to(ROOT).with_suffix("") for file in files)
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def imported_with(names: list[str]) -> set[str]:
    """Return the top-level packages that a fresh interpreter holds after importing `names`."""
    code = f"import {', '.join(names)}, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_what_the_dashboard_imports_leaves_mlx_out() -> None:
    names = [module for name in MLX_FREE for module in modules_below(name)]
    assert {"engine.config", "engine.records", "engine.run", "tui.cli"} <= set(names)
    assert "mlx" not in imported_with(names)


def test_the_engine_imports_no_screen() -> None:
    names = [
        f"engine.{path.stem}" for path in (ROOT / "engine").glob("*.py") if path.stem != "__init__"
    ]
    assert not {"rich", "textual", "tui", "themes"} & imported_with(sorted(names))


def test_the_public_names_of_the_engine_all_exist() -> None:
    import engine

    for name in engine.__all__:
        assert getattr(engine, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        engine.no_such_name  # noqa: B018


def test_every_folder_with_code_is_a_package_or_the_wheel_would_lack_it() -> None:
    folders = {path.parent for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert not [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def test_every_data_file_of_a_package_is_named_for_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    forgotten = []
    for name in PACKAGES:
        for path in sorted((ROOT / name).rglob("*")):
            if path.is_dir() or path.suffix in (".py", ".pyc") or "/." in path.as_posix():
                continue
            inside = path.relative_to(ROOT / name).as_posix()
            # fnmatch's star crosses folders, so `assets/**/*` needs only its folder spelled out.
            if not any(fnmatch(inside, pattern.replace("**/", "")) for pattern in settings[name]):
                forgotten.append(f"{name}/{inside}")
    assert not forgotten


def test_the_tests_are_no_package_which_would_shadow_the_engine() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
