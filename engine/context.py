"""What all phases of one run share: settings, the original model, the evaluators, the records.

No decisions here.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from time import monotonic
from typing import Any

import mlx.core as mx
import numpy as np

from engine.config import DiffusionOptimizationConfig
from engine.hooks import BetweenSteps, Hooks, Save
from engine.memory import Record
from engine.models.diffusion import DiffusionModel
from engine.models.loading import LoadedModel
from engine.models.pipeline import LatentPipeline
from engine.records import Quality, StageReport
from engine.run.events import (
    CheckpointSaved,
    Evaluated,
    PhaseFinished,
    PhaseProgressed,
    PhaseStarted,
)
from engine.settings import HardwareSettings
from engine.training.conditions import ConditionSets, classes
from engine.training.evaluate import Evaluator, sample_teacher
from engine.training.noise_sets import NoiseSet, Purpose, unit_noise
from engine.training.quality import Components
from engine.training.spaces import Decode, Space, decoder_of, spaces_of
from engine.training.trajectories import (
    Trajectories,
    refuse_infinite,
    sampling_digest,
    trajectory_chunks,
)

Progress = Callable[[int, int], None]
Paths = Callable[[], Trajectories]  # made, or read, when first asked for

_MOST_AT_ONCE = 0.25  # of a phase; what has done more at its first word goes on from a record
_DECODED_AT_ONCE = 8  # pictures that a kill costs


@dataclass
class RunContext:
    """One run's shared facts.

    Evaluators and trajectories are made when first asked for, in a phase of their own.
    """

    config: DiffusionOptimizationConfig
    name: str
    hooks: Hooks
    hardware: HardwareSettings
    original: LoadedModel
    reports: list[StageReport] = field(default_factory=list)
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    step: int = 0  # optimiser steps over the whole run
    started: float = field(default_factory=monotonic)
    looks: Counter[str] = field(default_factory=Counter)  # how often each noise set was looked at
    pipeline: LatentPipeline | None = None  # what stands around a network of latents
    images: dict[str, Any] | None = None  # how many were given, which could not be decoded
    cancelled: str = ""  # "cancelled by NAME", where a person ended the stages
    cancelled_tries: list[dict[str, Any]] = field(default_factory=list)  # what was at work then
    held_seconds: float = 0.0  # spent in `hooks.between_steps`: paused, or saving a checkpoint
    _conditions: ConditionSets | None = None
    _select: Evaluator | None = None
    _final: Evaluator | None = None

    def __post_init__(self) -> None:
        """Count the time in which the work is held."""
        self.hooks = replace(
            self.hooks, between_steps=partial(self._hold, self.hooks.between_steps)
        )

    def _hold(self, between_steps: BetweenSteps, save: Save | None) -> None:
        began = monotonic()
        try:
            between_steps(save)
        finally:
            self.held_seconds += monotonic() - began

    def seconds_at_work(self) -> float:
        """Return a clock that stands still while the work is held."""
        return monotonic() - self.held_seconds

    @property
    def base_model(self) -> DiffusionModel:
        """The original model on its original grid."""
        return self.original.model

    @property
    def is_latent(self) -> bool:
        """Whether the model's samples are latents, not pictures."""
        return self.pipeline is not None

    @property
    def spaces(self) -> tuple[Space, Space]:
        """What samples are compared as on the select and on the final noise."""
        decode = None
        if self.pipeline is not None:
            decode = decoder_of(self.pipeline, lambda: self.hooks.between_steps(None))
        return spaces_of(self.config.quality.mode, decode)

    def pictures_of(self, samples: np.ndarray) -> np.ndarray:
        """Return samples (n, H, W, C) as pictures in [-1, 1]."""
        return samples if self.pipeline is None else decoder_of(self.pipeline)(samples)

    @property
    def conditions(self) -> ConditionSets:
        """The distinct conditions that students learn under and are measured under."""
        if self._conditions is None:
            assert self.pipeline is None, "the conditions of a model of prompts are given"
            self._conditions = ConditionSets.same(classes(self.base_model.class_count))
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: ConditionSets) -> None:
        self._conditions = conditions

    @contextmanager
    def phase(
        self,
        name: str,
        *,
        stage: int | None = None,
        unit: str = "samples",
        is_interruptible: bool = True,
    ) -> Iterator[Progress]:
        """Announce a phase.

        Yield a progress callback ``(done, total)`` that is safe to call as often as one likes.
        """
        started, last = self.seconds_at_work(), 0.0
        base, before = None, 0
        self.hooks.emit(PhaseStarted(phase=name, stage=stage, unit=unit))

        def progress(done: int, total: int) -> None:
            nonlocal last, base, before
            if is_interruptible:
                self.hooks.between_steps(None)
            now = self.seconds_at_work()
            if base is None or done < before:  # it begins, goes on from a record, or begins again
                is_new = is_interruptible and done <= total * _MOST_AT_ONCE
                base = (started, 0) if is_new else (now, done)
            before = done
            if now - last < 1.0 and done < total:
                return
            last = now
            pace = (now - base[0]) / (done - base[1]) if done > base[1] else None
            eta = pace * (total - done) if pace is not None else None
            self.hooks.emit(
                PhaseProgressed(phase=name, done=done, total=total, stage=stage, eta_seconds=eta)
            )

        yield progress
        seconds = self.seconds_at_work() - started
        self.hooks.emit(PhaseFinished(phase=name, seconds=seconds, stage=stage))

    def remembered(
        self, name: str, compute: Callable[[], Record], *, stage: int | None = None
    ) -> Record:
        """Return the record of a piece of work, doing the work if it was not done before."""
        record = self.recall(name)
        if record is None:
            record = compute()
            self.keep(name, record, stage=stage)
        return record

    def recall(self, name: str) -> Record | None:
        """Return a kept record; the evaluators' counts of looks come back with it."""
        record = self.hooks.memory.recall(name)
        if record is not None:
            self.looks |= Counter(
                record.facts["looks"]
            )  # the larger of both, in the Counter that evaluators share
        return record

    def keep(
        self, name: str, record: Record, *, stage: int | None = None, is_accepted: bool = False
    ) -> CheckpointSaved | None:
        """Keep a record, with the counts of looks so far.

        Return the event that says so, None without a memory.
        """
        full = Record(record.tensors, {**record.facts, "looks": dict(self.looks)})
        path = self.hooks.with_room(lambda: self.hooks.memory.keep(name, full))
        if path is None:
            return None
        return CheckpointSaved(
            path=f"{path.parent.name}/{path.name}",
            step=self.step,
            size_bytes=path.stat().st_size,
            stage=stage,
            is_accepted=is_accepted,
        )

    def trajectories_of(self, teacher: DiffusionModel, *, stage: int) -> Trajectories:
        """Return the paths of `teacher` from the train noise.

        It runs as the hardware section says a teacher is run.
        """
        training, model = self.config.training, self.as_teacher(teacher)
        count, shape = training.trajectories, teacher.sample_shape
        conditions = self.conditions.train.repeated(count)

        rows = self.hooks.memory.rows(
            f"trajectories-{stage}",
            {"states": (teacher.steps + 1, *shape), "x0": (teacher.steps, *shape)},
            count,
            sampling_digest(model, conditions, training.seed),
        )
        if rows.done < count:
            noise = unit_noise(Purpose.TRAIN, count, shape, training.seed)
            with self.phase("cache", stage=stage) as progress:
                for part, states, x0 in trajectory_chunks(
                    model,
                    noise,
                    conditions,
                    batch_size=self.hardware.evaluation_batch_size,
                    first=rows.done,
                    between=self._between,
                ):
                    refuse_infinite(states, part.start)
                    made = {"states": states, "x0": x0}
                    self.hooks.with_room(partial(rows.append, made))
                    progress(part.stop, count)
        return Trajectories(**rows.arrays(), conditions=conditions, grid=teacher.grid)

    def paths_of(self, teacher: DiffusionModel, *, stage: int) -> Paths:
        """Return how to come by the paths of `teacher`, for a stage that may not need them."""
        return cache(lambda: self.trajectories_of(teacher, stage=stage))

    def forget_trajectories(self, up_to_stage: int) -> None:
        """Remove the paths of all teachers up to a stage's: no later try begins at them."""
        for stage in range(up_to_stage + 1):
            self.hooks.memory.forget(f"trajectories-{stage}")

    def as_teacher(self, model: DiffusionModel) -> DiffusionModel:
        """Return `model` held as the hardware section asks of a frozen teacher."""
        return model.frozen_as(getattr(mx, self.hardware.teacher_dtype), self.hardware.teacher_bits)

    @property
    def select(self) -> Evaluator:
        """Scores against the original on the select noise, by which choices are made."""
        if self._select is None:
            noise_set = NoiseSet.select(
                self.config.quality.counts(is_latent=self.is_latent)[0],
                self.base_model.sample_shape,
                self.conditions.select,
            )
            self._select = self._evaluator(noise_set, None, self.spaces[0])
        return self._select

    @property
    def final(self) -> Evaluator:
        """Scores against the original on the final noise, which the report tells."""
        if self._final is None:
            _, count = self.config.quality.counts(is_latent=self.is_latent)
            noise_set = NoiseSet.final(count, self.base_model.sample_shape, self.conditions.final)
            self._final = self._evaluator(noise_set, self._final_components(count), self.spaces[1])
        return self._final

    def _final_components(self, count: int) -> Components:
        """Return the directions that the final score looks along, fitted on the select samples.

        Where these had to be decoded for it, they are kept and the pictures let go of.
        """
        space = self.spaces[1]
        if space.decode is None:
            return self.select.components_for(count, space)

        def record() -> Record:
            found = self.select.components_for(count, space)
            return Record({"mean": found.mean, "basis": found.basis})

        tensors = self.remembered("final-components", record).tensors
        self.hooks.memory.forget("select-both-pictures")
        return Components(tensors["mean"], tensors["basis"])

    def _evaluator(
        self, noise_set: NoiseSet, components: Components | None, space: Space
    ) -> Evaluator:
        batch_size, quality = self.hardware.evaluation_batch_size, self.config.quality

        def record() -> Record:
            with self.phase("evaluate") as progress:
                own, other = sample_teacher(
                    self.base_model,
                    noise_set,
                    batch_size=batch_size,
                    on_progress=progress,
                    between=self._between,
                )
            return Record({"own": own, "other": other})

        tensors = self.remembered(f"{noise_set.name}-samples", record).tensors
        return Evaluator.from_samples(
            noise_set,
            tensors["own"],
            tensors["other"],
            components,
            batch_size=batch_size,
            resamples=quality.bootstrap,
            looks=self.looks,
            on_batch=lambda done, total: self.hooks.between_steps(None),
            space=space,
            keep=self._kept_pictures,
            between=self._between,
        )

    def _between(self) -> None:
        """Let commands in between evaluations of the network: a batch of a large one is long."""
        self.hooks.between_steps(None)

    def _kept_pictures(self, name: str, latents: np.ndarray, decode: Decode) -> np.ndarray:
        """Decode latents into rows on the disk, or read what was decoded before; see `Keep`."""
        rows = self.hooks.memory.rows(
            name,
            {"pictures": decode(latents[:1]).shape[1:]},
            len(latents),
            hashlib.sha256(latents.tobytes()).hexdigest(),
        )
        if rows.done < len(latents):
            with self.phase("evaluate", unit="pictures") as progress:
                while rows.done < len(latents):
                    made = {"pictures": decode(latents[rows.done : rows.done + _DECODED_AT_ONCE])}
                    self.hooks.with_room(partial(rows.append, made))
                    progress(rows.done, len(latents))
        return rows.arrays()["pictures"]

    def evaluated(
        self,
        label: str,
        quality: Quality,
        noise_set: str,
        *,
        steps: int,
        stage: int | None = None,
        attempt: int | None = None,
    ) -> None:
        """Emit one measurement."""
        self.hooks.emit(
            Evaluated(
                label=label,
                steps=steps,
                fidelity=quality.fidelity.value,
                distribution=quality.distribution.value if quality.distribution else None,
                band_energy=quality.band_energy.value,
                score=quality.score,
                lower_bound=quality.lower_bound,
                noise_set=noise_set,
                samples=quality.samples,
                mode=quality.mode,
                threshold=self.config.quality_threshold,
                stage=stage,
                attempt=attempt,
            )
        )
