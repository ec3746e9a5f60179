"""What a checkpoint's scheduler_config.json says, read once at load into a `SchedulerSettings`.

Knows the keys of diffusers' schedulers and their defaults; refuses, by key, what would change the
samples and is not supported. Used by loading, sampling and export.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import numpy as np

from engine.diffusion.grid import Grid, grid_at, spaced_grid
from engine.diffusion.names import SPACINGS, Solver, Spacing
from engine.diffusion.noise import (
    BETA_SCHEDULES,
    PREDICTION_TYPES,
    NoiseSchedule,
    PredictionType,
    betas,
)
from engine.errors import UnsupportedError

GRID_KEY = "diffopt_timesteps"

_DDPM_BETAS = (1e-4, 0.02, "linear")
_STABLE_BETAS = (0.00085, 0.012, "scaled_linear")


@dataclass(frozen=True, slots=True)
class _SchedulerClass:
    """What a class of diffusers means, and its defaults.

    Configs carry keys of other classes along (SDXL's Euler has set_alpha_to_one), which must not
    be obeyed: `end_key` is the one that says where sampling ends, None where it is always clean.
    """

    solver: Solver  # ours, of the same ODE
    spacing: Spacing
    clips: bool | None = None  # x0 by default; None where the class never does
    end_key: Literal["set_alpha_to_one", "final_sigmas_type"] | None = None
    ends_clean: bool = True
    betas: tuple[float, float, str] = _DDPM_BETAS  # start, end, schedule


_DDIM = _SchedulerClass("ddim", "leading", clips=True, end_key="set_alpha_to_one")
_FEW_STEPS = replace(_DDIM, clips=False, betas=_STABLE_BETAS)
_DPM = _SchedulerClass("dpmpp_2m", "linspace", end_key="final_sigmas_type")
_CLASSES: dict[str, _SchedulerClass] = {
    "DDPMScheduler": _SchedulerClass("ddim", "leading", clips=True),
    "DDPMParallelScheduler": _SchedulerClass("ddim", "leading", clips=True),
    "DDIMScheduler": _DDIM,
    "DDIMParallelScheduler": _DDIM,
    "PNDMScheduler": replace(_DDIM, clips=None, ends_clean=False),
    "LMSDiscreteScheduler": _SchedulerClass("euler", "linspace"),
    "HeunDiscreteScheduler": _SchedulerClass(
        "euler", "linspace", clips=False, betas=(0.00085, 0.012, "linear")
    ),
    "EulerDiscreteScheduler": _SchedulerClass("euler", "linspace", end_key="final_sigmas_type"),
    "EulerAncestralDiscreteScheduler": _SchedulerClass("euler", "linspace"),
    "DPMSolverMultistepScheduler": _DPM,
    "DPMSolverSinglestepScheduler": _DPM,
    "UniPCMultistepScheduler": _DPM,
    "LCMScheduler": _FEW_STEPS,
    "TCDScheduler": _FEW_STEPS,
}


@dataclass(frozen=True)
class SchedulerSettings:
    """How a checkpoint wants to be sampled.

    Its noise schedule, prediction type, solver, spacing and clipping.
    """

    schedule: NoiseSchedule
    prediction_type: PredictionType
    solver: Solver
    spacing: Spacing
    steps_offset: int
    clip_range: (
        float | None
    )  # x0 is clipped to [-clip_range, clip_range] by DDIM; None leaves it alone
    own_timesteps: (
        tuple[float, ...] | None
    )  # a distilled student's grid; None for an ordinary model

    def grid(
        self, steps: int, spacing: Spacing | None = None, solver: Solver | None = None
    ) -> Grid:
        """Return the grid that this checkpoint's scheduler takes for `steps` steps of `solver`."""
        return spaced_grid(
            self.schedule,
            spacing or self.spacing,
            steps,
            offset=self.steps_offset,
            solver=solver or self.solver,
        )

    def own_grid(self) -> Grid | None:
        """Return the grid that a distilled student carries, or None."""
        return grid_at(self.schedule, self.own_timesteps, "own") if self.own_timesteps else None


def read_scheduler_config(config: Mapping[str, Any], source: str) -> SchedulerSettings:
    """Return the settings that `config` (a parsed scheduler_config.json.

    `source` names it in errors) stands for.

    An empty config means diffusers' DDPM defaults. Raises CheckpointError naming the file and the
    key.
    """
    reader = _Reader(config, source)
    class_name = reader.text("_class_name", "DDPMScheduler", tuple(_CLASSES))
    kind = _CLASSES[class_name]
    reader.refuse_unless("thresholding", False, "dynamic thresholding is not supported")
    reader.refuse_unless("use_flow_sigmas", False, "flow matching is not supported")
    reader.refuse_unless("use_lu_lambdas", False, "only karras spacing is supported")
    reader.refuse_unless("use_exponential_sigmas", False, "only karras spacing is supported")
    reader.refuse_unless("use_beta_sigmas", False, "only karras spacing is supported")
    reader.refuse_unless("timestep_type", "discrete", "the network must be told timesteps")
    reader.refuse_unless(
        "interpolation_type", "linear", "only linear interpolation between levels is supported"
    )
    prediction = reader.text("prediction_type", "epsilon", PREDICTION_TYPES)

    schedule = _read_schedule(reader, kind, prediction)
    solver = kind.solver
    # DPM-Solver++ of order 1 is DDIM; our students are exported as such.
    if solver == "dpmpp_2m" and config.get("solver_order") == 1:
        solver = "ddim"
    spacing = reader.text("timestep_spacing", kind.spacing, SPACINGS)
    if reader.flag("use_karras_sigmas", False):
        spacing = "karras"
    clips = reader.flag("clip_sample", kind.clips or False) and kind.clips is not None
    return SchedulerSettings(
        schedule=schedule,
        prediction_type=prediction,
        solver=solver,
        spacing=spacing,
        steps_offset=reader.integer("steps_offset", 0, minimum=0),
        clip_range=reader.number("clip_sample_range", 1.0) if clips else None,
        own_timesteps=reader.timesteps(schedule.count),
    )


def _read_schedule(reader: "_Reader", scheduler: _SchedulerClass, prediction: str) -> NoiseSchedule:
    count = reader.integer("num_train_timesteps", 1000, minimum=1)
    trained = reader.config.get("trained_betas")
    if trained is not None:
        try:
            values = np.asarray(trained, dtype=np.float32)
        except (TypeError, ValueError):
            reader.fail(
                "trained_betas", "not a list of numbers", f"{count} numbers, one for each timestep"
            )
        if values.ndim != 1 or len(values) != count:
            reader.fail(
                "trained_betas",
                f"{values.size} values",
                f"{count}, one for each of num_train_timesteps",
            )
    else:
        start, end, default = scheduler.betas
        kind = reader.text("beta_schedule", default, BETA_SCHEDULES)
        values = betas(
            kind, count, reader.number("beta_start", start), reader.number("beta_end", end)
        )
    if not ((values >= 0).all() and (values <= 1).all()):
        reader.fail("trained_betas/beta_end", "variances outside [0, 1]", "0 to 1")
    # DDIM says set_alpha_to_one, DPM-Solver and Euler say final_sigmas_type: one fact under two
    # names, and a config may hold both.
    to_one = reader.flag("set_alpha_to_one", scheduler.ends_clean)
    last_level = reader.text("final_sigmas_type", "zero", ("zero", "sigma_min"))
    ends_clean = {"set_alpha_to_one": to_one, "final_sigmas_type": last_level == "zero"}
    ends_at_first = scheduler.end_key is not None and not ends_clean[scheduler.end_key]
    schedule = NoiseSchedule.from_betas(values, end_at_first=ends_at_first)
    if reader.flag("rescale_betas_zero_snr", False):
        if prediction == "epsilon":
            reader.fail(
                "rescale_betas_zero_snr",
                "true with epsilon prediction",
                "v_prediction or sample: an epsilon prediction says "
                "nothing where no signal is left",
            )
        schedule = schedule.rescaled_to_zero_terminal_snr()
    return schedule


class _Reader:
    """Typed access to a JSON object.

    Its errors name the file, the key, what was found and what was wanted.
    """

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self.config, self.source = config, source

    def fail(self, key: str, found: str, wanted: str) -> NoReturn:
        raise UnsupportedError(f"{self.source}: {key} is {found}; wanted {wanted}.")

    def text(self, key: str, default: Any, allowed: tuple[str, ...]) -> Any:
        value = self.config.get(key)
        value = default if value is None else value
        if value not in allowed:
            self.fail(key, repr(value), f"one of {', '.join(allowed)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            self.fail(key, repr(value), "true or false")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.config.get(key)
        value = default if value is None else value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not np.isfinite(value)
            or value <= 0
        ):
            self.fail(key, repr(value), "a number above 0")
        return float(value)

    def integer(self, key: str, default: int, minimum: int) -> int:
        value = self.config.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self.fail(key, repr(value), f"a whole number of at least {minimum}")
        return value

    def refuse_unless(self, key: str, only: Any, why: str) -> None:
        if self.config.get(key) not in (None, only):
            self.fail(key, repr(self.config[key]), f"{only!r}: {why}")

    def timesteps(self, count: int) -> tuple[float, ...] | None:
        value = self.config.get(GRID_KEY)
        if value is None:
            return None
        numbers = (
            isinstance(value, list) and value and all(isinstance(t, int | float) for t in value)
        )
        if (
            not numbers
            or sorted(set(value), reverse=True) != value
            or not all(0 <= t <= count - 1 for t in value)
        ):
            self.fail(GRID_KEY, repr(value), f"a falling list of timesteps in 0 to {count - 1}")
        return tuple(float(t) for t in value)
