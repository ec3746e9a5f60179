"""Plain facts that cross between rooms: what was measured, what a stage is, how a step went.

No MLX is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlx.nn as nn

    from engine.diffusion.grid import Grid


@dataclass(frozen=True, slots=True)
class OptimizationMetrics:
    """What a run gained and lost, each figure measured.

    `measured` says how, keyed by the field's name.

    quality_score is in [0, 1], relative to the teacher; inference_speedup is a ratio of wall-clock
    times (1 = none); memory_reduction is ``1 - peak(optimised) / peak(original)``, 0 where nothing
    was saved.
    """

    original_steps: int
    optimized_steps: int
    quality_score: float
    inference_speedup: float
    memory_reduction: float
    quality_lower_bound: float | None = None
    evaluation_ratio: float | None = None
    measured: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON-ready values."""
        return asdict(self)


@dataclass(slots=True, eq=False)
class DistillationStage:
    """One reduction.

    `student_model` learns to do in `output_steps` what `teacher_model` does in `input_steps`.

    `grid` holds the student's timesteps and levels, a subset of the teacher's.
    """

    stage_number: int
    input_steps: int
    output_steps: int
    teacher_model: nn.Module
    student_model: nn.Module
    grid: Grid | None = None


@dataclass(frozen=True, slots=True)
class StepReport:
    """How one optimiser step went; `loss` and `gradient_norm` are those of that step's batch."""

    step: int
    total_steps: int
    loss: float
    gradient_norm: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Bound:
    """An estimate in [0, 1] with its one-sided 95 % lower bound."""

    value: float
    lower: float


@dataclass(frozen=True, slots=True)
class Quality:
    """The three parts of a score against the teacher; see docs/method.md.

    `score` is the weakest of them.
    """

    fidelity: Bound
    distribution: Bound | None  # None: fewer samples than a verdict on a distribution needs
    band_energy: Bound
    samples: int
    components: int  # principal components the distribution was compared on; 0 where it was not
    mode: str = "pixels"  # or "latents": scores of different modes are never compared

    @property
    def score(self) -> float:
        """The weakest part."""
        return min(part.value for part in self._parts())

    @property
    def lower_bound(self) -> float:
        """The weakest of the parts' one-sided 95 % lower bounds: what the gate looks at."""
        return min(part.lower for part in self._parts())

    @property
    def is_conclusive(self) -> bool:
        """Whether all three parts could be measured."""
        return self.distribution is not None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Quality:
        """Return the quality that `to_dict` wrote."""
        parts = {name: Bound(**values[name]) for name in ("fidelity", "band_energy")}
        distribution = Bound(**values["distribution"]) if values["distribution"] else None
        return cls(
            **parts,
            distribution=distribution,
            samples=values["samples"],
            components=values["components"],
            mode=values.get("mode", "pixels"),
        )

    def _parts(self) -> list[Bound]:
        return [
            part
            for part in (self.fidelity, self.distribution, self.band_energy)
            if part is not None
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the parts, the score and its bound as JSON-ready values."""
        return asdict(self) | {"score": self.score, "lower_bound": self.lower_bound}


@dataclass(frozen=True, slots=True)
class StageReport:
    """One try of one stage: what was done, what it scored and what the gate said."""

    stage_number: int
    attempt: int
    remedy: str  # the rung of the ladder: "as planned", "more iterations", ...
    input_steps: int
    output_steps: int
    timesteps: tuple[float, ...]
    grid_name: str
    iterations: int
    learning_rate: float
    final_loss: float | None  # None: it diverged before the first report
    select_quality: Quality | None  # None: it diverged, there was nothing to look at
    final_quality: (
        Quality | None
    )  # None: it failed on the select noise and the final noise was not looked at
    is_accepted: bool
    seconds: float
    reason: str = ""  # what the gate said

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        out = asdict(self)
        for name in ("select_quality", "final_quality"):
            quality = getattr(self, name)
            out[name] = quality.to_dict() if quality else None
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StageReport:
        """Return the report that `to_dict` wrote."""
        looks = {
            name: Quality.from_dict(values[name]) if values[name] else None
            for name in ("select_quality", "final_quality")
        }
        return cls(**{**values, "timesteps": tuple(values["timesteps"]), **looks})
