"""Runs within this process that are broken off at chosen places, and what they come to."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config import DiffusionOptimizationConfig
from engine.hooks import Hooks
from engine.memory import Memory
from engine.optimizer import AdaptiveDiffusionOptimizer
from engine.run.events import CheckpointSaved, Event, PhaseStarted, TryStarted

Write = Callable[..., str]


class BrokenOff(Exception):
    """Stands for whatever ends a process."""


class Listener:
    """Hooks that keep a checkpoint at every third step, and break the work off at one place."""

    def __init__(self, folder: Path, place: str | None = None, is_after_save: bool = False) -> None:
        self.folder, self.place, self.is_after_save = folder, place, is_after_save
        self.phase, self.stage, self.step = "", 0, 0
        self.events: list[Event] = []
        self.rows: dict[int, float] = {}

    def hooks(self) -> Hooks:
        for name in ("samples", "export"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return Hooks(
            emit=self.emit,
            record=self.record,
            between_steps=self.between_steps,
            rewind=self.rewind,
            folder=self.folder,
            memory=Memory(self.folder / "checkpoints"),
        )

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, PhaseStarted):
            self.phase = event.phase
        if isinstance(event, TryStarted):
            self.stage, self.step = event.stage, 0
        stage = getattr(event, "stage", None)
        label = getattr(event, "phase", getattr(event, "label", ""))
        self.arrive(f"{type(event).__name__} {stage or ''} {label}".replace("  ", " ").strip())

    def record(self, step: int, metrics: Any) -> None:
        self.rows[step] = metrics["loss"]
        self.step = step

    def rewind(self, step: int) -> None:
        self.rows = {at: loss for at, loss in self.rows.items() if at <= step}

    def between_steps(self, save: Callable[[], CheckpointSaved | None] | None) -> None:
        if save is None:
            self.arrive(f"within {self.phase}")
            return
        if self.step % 3 == 0:
            save()
        self.arrive(f"step {self.step}")

    def arrive(self, place: str) -> None:
        if place == self.place:
            raise BrokenOff(place)


def optimize(config: DiffusionOptimizationConfig, listener: Listener) -> dict[str, Any]:
    return AdaptiveDiffusionOptimizer(config, hooks=listener.hooks()).optimize_diffusion_model()


def outcome(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Return what must not depend on what happened on the way."""
    weights = folder / "export" / "unet" / "diffusion_pytorch_model.safetensors"
    untimed = [
        {key: value for key, value in one.items() if key != "seconds"} for one in result["stages"]
    ]
    return {
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None,
        "stages": untimed,
        **{
            key: result[key]
            for key in ("timesteps", "quality", "anchors", "final_looks", "select_looks")
        },
    }
