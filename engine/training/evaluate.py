"""Measuring a sampler against the original teacher.

Quality on a fixed noise set, anchors, time and memory.
"""

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import mlx.core as mx
import numpy as np

from engine import hardware
from engine.diffusion.grid import Grid
from engine.diffusion.names import Solver
from engine.models.diffusion import Condition, DiffusionModel
from engine.records import Quality
from engine.training.conditions import Conditions
from engine.training.features import Features
from engine.training.noise_sets import NoiseSet
from engine.training.quality import Components, QualityScorer, blurred
from engine.training.spaces import PIXELS, Keep, Space, in_memory

BLUR_PIXELS = 0.5  # of the blurred anchor: hardly seen, and must fail
OnProgress = Callable[[int, int], None]


def sample_all(
    model: DiffusionModel,
    noise: np.ndarray,
    conditions: Conditions,
    *,
    batch_size: int,
    grid: Grid | None = None,
    solver: Solver | None = None,
    on_progress: OnProgress | None = None,
    between: Callable[[], None] | None = None,
) -> np.ndarray:
    """Return samples (n, H, W, C) float32 from `noise` (n, H, W, C), made in batches; unclipped.

    `between` is called after every step of a batch, and may raise to end it.
    """

    def stepped(*_: Any) -> None:
        if between is not None:
            between()

    out = np.empty_like(noise, dtype=np.float32)
    for start in range(0, len(noise), batch_size):
        part = slice(start, min(start + batch_size, len(noise)))
        condition = conditions[part].to_condition()
        out[part] = np.array(
            model.sample(
                mx.array(noise[part]), condition, grid=grid, solver=solver, on_step=stepped
            )
        )
        if on_progress is not None:
            on_progress(part.stop, len(noise))
    return out


def sample_teacher(
    teacher: DiffusionModel,
    noise_set: NoiseSet,
    *,
    batch_size: int,
    on_progress: OnProgress | None = None,
    between: Callable[[], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples (n, H, W, C) from a set's noise, and those from its fresh noise."""
    count, conditions = len(noise_set.noise), noise_set.conditions

    def from_noise(noise: np.ndarray, done_before: int) -> np.ndarray:
        def report(done: int, _: int) -> None:
            if on_progress is not None:
                on_progress(done_before + done, 2 * count)

        return sample_all(
            teacher,
            noise,
            conditions,
            batch_size=batch_size,
            on_progress=report,
            between=between,
        )

    return from_noise(noise_set.noise, 0), from_noise(noise_set.other_noise, count)


@dataclass
class Evaluator:
    """Scores samplers against one teacher on one noise set.

    The teacher's own samples are made once.

    `looks` counts, by the name of the set, how often a sampler was scored: the more looks, the less
    a bound is worth.
    """

    noise_set: NoiseSet
    batch_size: int
    teacher_samples: np.ndarray  # (n, H, W, C)
    other_samples: np.ndarray  # (n, H, W, C), fresh noise under the same conditions
    scorer: QualityScorer
    looks: Counter[str]
    on_batch: OnProgress | None = None  # called where nobody else asks for progress
    space: Space = PIXELS
    keep: Keep = in_memory  # where decoded pictures are put
    between: Callable[[], None] | None = None  # called after every step of a batch

    @classmethod
    def against(
        cls,
        teacher: DiffusionModel,
        noise_set: NoiseSet,
        *,
        components: Components | None,
        batch_size: int,
        resamples: int,
        on_progress: OnProgress | None = None,
        space: Space = PIXELS,
        keep: Keep = in_memory,
    ) -> "Evaluator":
        """Sample `teacher` on the noise set and return an evaluator.

        `components` are to be fitted on other samples.

        None fits them on this set's own fresh-noise samples, for a set that has no predecessor.
        """
        own, other = sample_teacher(
            teacher, noise_set, batch_size=batch_size, on_progress=on_progress
        )
        return cls.from_samples(
            noise_set,
            own,
            other,
            components,
            batch_size=batch_size,
            resamples=resamples,
            space=space,
            keep=keep,
        )

    @classmethod
    def from_samples(
        cls,
        noise_set: NoiseSet,
        teacher_samples: np.ndarray,
        other_samples: np.ndarray,
        components: Components | None,
        *,
        batch_size: int,
        resamples: int,
        looks: Counter[str] | None = None,
        on_batch: OnProgress | None = None,
        space: Space = PIXELS,
        keep: Keep = in_memory,
        between: Callable[[], None] | None = None,
    ) -> "Evaluator":
        """Return an evaluator, in `space`, over teacher samples made before."""
        others = space.features(other_samples)
        if components is None:
            others = space.kept(f"{noise_set.name}-other-pictures", other_samples, keep)
            components = Components.fit(others, len(teacher_samples))
        scorer = QualityScorer(
            space.kept(f"{noise_set.name}-pictures", teacher_samples, keep),
            others,
            components,
            resamples=resamples,
            mode=space.mode,
        )
        return cls(
            noise_set,
            batch_size,
            teacher_samples,
            other_samples,
            scorer,
            Counter() if looks is None else looks,
            on_batch,
            space,
            keep,
            between,
        )

    def components_for(self, scored_count: int, space: Space | None = None) -> Components:
        """Return principal directions of this set's teacher samples, in its own space or another.

        They are for a set of `scored_count` that is scored later.
        """
        both = np.concatenate([self.teacher_samples, self.other_samples])
        name = f"{self.noise_set.name}-both-pictures"
        return Components.fit((space or self.space).kept(name, both, self.keep), scored_count)

    def samples_of(
        self,
        model: DiffusionModel,
        grid: Grid | None = None,
        solver: Solver | None = None,
        on_progress: OnProgress | None = None,
    ) -> np.ndarray:
        """Return the model's samples on this noise set."""
        return sample_all(
            model,
            self.noise_set.noise,
            self.noise_set.conditions,
            batch_size=self.batch_size,
            grid=grid,
            solver=solver,
            on_progress=on_progress or self.on_batch,
            between=self.between,
        )

    def quality_of(
        self,
        model: DiffusionModel,
        grid: Grid | None = None,
        solver: Solver | None = None,
        on_progress: OnProgress | None = None,
    ) -> Quality:
        """Return the quality of `model` on `grid`, by default its own."""
        samples = self.samples_of(model, grid, solver, on_progress)
        self.looks[self.noise_set.name] += 1
        return self.quality_of_samples(samples)

    def quality_of_samples(self, samples: np.ndarray) -> Quality:
        """Return the quality of samples (n, H, W, C) made from this set's noise."""
        return self.scorer.score(self.space.features(samples))

    def blurred_anchor(self) -> Quality:
        """Return the score of the teacher's own samples under a slight blur.

        It must fail, or the score is blind.
        """
        teacher = self.scorer.teacher

        def of(some: np.ndarray) -> np.ndarray:
            return blurred(teacher.of(some), BLUR_PIXELS)

        return self.scorer.score(Features(teacher.samples, of, teacher.shape))

    def other_seed_anchor(self) -> Quality:
        """Return the score of the teacher from other noise: P near 0, D near 1."""
        return self.quality_of_samples(self.other_samples)


@dataclass(frozen=True)
class Cost:
    """Wall-clock time and peak memory of sampling one batch, original against optimised.

    Measured alternating in one process.
    """

    original_seconds: float
    optimized_seconds: float
    original_peak_bytes: int
    optimized_peak_bytes: int
    batch_size: int
    repeats: int

    @property
    def speedup(self) -> float:
        """Ratio of the medians of wall-clock times."""
        return self.original_seconds / self.optimized_seconds

    @property
    def memory_reduction(self) -> float:
        """``1 - peak(optimised) / peak(original)``.

        0 where nothing was saved, negative where more is needed.
        """
        return 1 - self.optimized_peak_bytes / self.original_peak_bytes


def measure_cost(
    original: DiffusionModel,
    optimized: DiffusionModel,
    noise_set: NoiseSet,
    *,
    batch_size: int,
    repeats: int,
    on_repeat: OnProgress | None = None,
    begin: Callable[[DiffusionModel, int], Condition] | None = None,
    finish: Callable[[mx.array], mx.array] | None = None,
) -> Cost:
    """Return the cost of sampling one batch with each, from prompt to picture.

    `begin` makes the condition of a batch for a model (by encoding prompts), `finish` makes
    pictures of samples (by decoding latents); both are within the clock.

    Warm, the median of `repeats` alternating measurements. `on_repeat` is called before each of
    them, outside the clock.
    """
    count = min(batch_size, len(noise_set.noise))
    noise = mx.array(noise_set.noise[:count])
    given = noise_set.conditions[:count].to_condition()
    finish = finish or (lambda samples: samples)
    seconds: dict[str, list[float]] = {"original": [], "optimized": []}
    peaks = {"original": 0, "optimized": 0}
    for repeat in range(repeats + 1):  # the first is the warm-up
        for name, model in (("original", original), ("optimized", optimized)):
            if on_repeat is not None:
                on_repeat(repeat, repeats + 1)
            hardware.clear_cache()
            hardware.reset_peak_memory()
            started = perf_counter()
            condition = given if begin is None else begin(model, count)
            mx.eval(finish(model.sample(noise, condition)))
            elapsed = perf_counter() - started
            if repeat:
                seconds[name].append(elapsed)
                peaks[name] = max(peaks[name], hardware.peak_memory_bytes())
    return Cost(
        statistics.median(seconds["original"]),
        statistics.median(seconds["optimized"]),
        peaks["original"],
        peaks["optimized"],
        count,
        repeats,
    )
