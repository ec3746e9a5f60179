"""Presets of the Config screen: bundled recipes, and how much to spend on what is open. Pure.

A recipe replaces the text; an effort changes a handful of settings, one step of undo. What it costs
is for `engine.estimate` to say.
"""

from __future__ import annotations

from typing import Any

from engine.run.fact import Fact


class Preset(Fact):
    """One line of the list."""

    name: str
    words: str
    recipe: str | None = None  # a bundled recipe, else `settings`
    settings: tuple[tuple[str, Any], ...] = ()


def presets() -> list[Preset]:
    """Return all presets, efforts first."""
    from engine.config import recipe_names

    found = [
        Preset(
            "quick look",
            "few steps and samples: worth going on?",
            settings=(
                ("schedule.pilot_candidates", 2),
                ("schedule.pilot_iterations", 30),
                ("training.iterations", [100, 100, 200]),
                ("training.trajectories", 256),
                ("training.retries", 1),
                ("quality.samples", 256),
                ("quality.select_samples", 128),
            ),
        ),
        Preset(
            "good",
            "the defaults: a score to report",
            settings=(
                ("schedule.pilot_candidates", 3),
                ("schedule.pilot_iterations", 100),
                ("training.iterations", [1000, 1000, 2000]),
                ("training.trajectories", 1024),
                ("training.retries", 4),
                ("quality.samples", 1000),
                ("quality.select_samples", 256),
            ),
        ),
        Preset(
            "best",
            "longer stages, a narrower lower bound",
            settings=(
                ("schedule.pilot_candidates", 5),
                ("schedule.pilot_iterations", 300),
                ("training.iterations", [3000, 3000, 8000]),
                ("training.trajectories", 4096),
                ("training.retries", 4),
                ("quality.samples", 4000),
                ("quality.select_samples", 1000),
            ),
        ),
    ]
    return found + [Preset(name, _first_comment(name), recipe=name) for name in recipe_names()]


def _first_comment(recipe: str) -> str:
    from engine.config import recipe_text

    line = recipe_text(recipe).partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
