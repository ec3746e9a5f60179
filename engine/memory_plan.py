"""How a training step and an evaluation are cut to fit into the memory there is. No MLX.

Pure arithmetic over `engine.model_size`. What is tried, in this order, until it fits: the whole
batch; parts of it, whose gradients are summed; activations computed again instead of kept; smaller
parts. What a person set is obeyed and not refused. The plan depends on the machine, so a run keeps
it: one that is taken up elsewhere goes on as it began.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.config import DiffusionOptimizationConfig
from engine.errors import ConfigError
from engine.model_size import MemoryEstimate, training_memory
from engine.settings import HardwareSettings

# Of a step's activations, measured on three small networks on a Linux CPU, eager and compiled:
# 0.35 to 0.53 where they are recomputed, 0.08 to 0.36 in a forward that takes no gradient.
RECOMPUTED_SHARE = 0.6
FORWARD_SHARE = 0.4
_FEWEST_AT_ONCE = 4  # below, a device is idle between layers: recomputing costs less


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How much is computed at one time."""

    micro_batch_size: int
    recompute_activations: bool
    evaluation_batch_size: int
    needed_bytes: int  # estimated peak of a training step, or of scoring where that is more
    budget_bytes: int

    @property
    def summary(self) -> str:
        """The plan in one line, for a person."""
        how = ", activations recomputed" if self.recompute_activations else ""
        return (
            f"{self.micro_batch_size} samples a gradient{how}, {self.evaluation_batch_size} an "
            f"evaluation: about {self.needed_bytes / 2**30:.2f} of {self.budget_bytes / 2**30:.1f} "
            "GiB"
        )

    def applied_to(self, settings: HardwareSettings) -> HardwareSettings:
        """Return the settings with what was planned in them."""
        return replace(
            settings,
            micro_batch_size=self.micro_batch_size,
            recompute_activations=self.recompute_activations,
            evaluation_batch_size=self.evaluation_batch_size,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MemoryPlan":
        """Return what `to_dict` wrote, records' other facts left out."""
        return cls(**{name: values[name] for name in cls.__slots__})


def plan_memory(
    unet_config: Mapping[str, Any],
    config: DiffusionOptimizationConfig,
    *,
    budget_bytes: int,
    sample_size: tuple[int, int],
    is_guided: bool,
    is_compiled: bool,
    scoring_bytes: int = 0,
) -> MemoryPlan:
    """Return the largest pieces of work that fit into `budget_bytes`, as the settings allow.

    `sample_size` is (height, width) of a sample, latent pixels for a model of latents; a guided
    teacher runs twice as many samples. `scoring_bytes` is what the gate's look at samples holds,
    beside the weights and never beside a step's activations.

    Raises:
        ConfigError: not even one sample fits, and the settings do not insist.
    """
    settings, batch = config.hardware, config.training.batch_size
    height, width = sample_size

    def estimate(
        samples: int, is_recomputed: bool, precision: str = settings.base_precision
    ) -> MemoryEstimate:
        memory = training_memory(
            unet_config,
            batch_size=samples,
            height=height,
            width=width,
            lora_rank=config.lora.rank if config.lora.enabled else None,
            lora_targets=config.lora.targets if config.lora.enabled else (),
            base_precision=precision,
            compute_bytes=2 if settings.compute_dtype == "bfloat16" else 4,
            has_average=config.training.ema_decay > 0,
            is_compiled=is_compiled,
        )
        share = RECOMPUTED_SHARE if is_recomputed else 1.0
        return replace(memory, activations=round(share * memory.activations))

    choices = _choices(batch, settings)
    samples, is_recomputed = next(
        (choice for choice in choices if estimate(*choice).total <= budget_bytes), choices[-1]
    )
    needed = estimate(samples, is_recomputed)
    is_insisted = settings.micro_batch_size is not None
    if needed.total > budget_bytes and not is_insisted:
        parts = ", ".join(
            f"{name} {value / 2**30:.1f}" for name, value in asdict(needed).items() if value
        )
        remedy = (
            "hardware.base_precision: int8, a smaller lora.rank, or smaller data.height and "
            "data.width"
            if config.lora.enabled
            else "lora.enabled: true, which trains a small addition to shared weights"
        )
        raise ConfigError(
            f"training one sample at a time would take about {needed.total / 2**30:.1f} GiB "
            f"({parts}), and there are {budget_bytes / 2**30:.1f} GiB for it. Try {remedy}; "
            "or set hardware.micro_batch_size: 1 to try all the same."
        )
    # the original is sampled as it was loaded, whatever its base is held in afterwards
    one = estimate(1, False, "float32")
    held = one.total - one.activations
    forward = FORWARD_SHARE * one.activations * (2 if is_guided else 1)
    fitting = int(max(0, budget_bytes - held) // max(1, forward))
    whole = 0 if settings.base_precision == "float32" else one.weights + round(forward)
    if whole > budget_bytes and not is_insisted:
        raise ConfigError(
            f"hardware.base_precision: {settings.base_precision} is what the base is held in once "
            f"the original was sampled in float32, which takes {whole / 2**30:.1f} GiB; there are "
            f"{budget_bytes / 2**30:.1f} GiB for it. Use a machine with more memory, or set "
            "hardware.micro_batch_size: 1 to try all the same."
        )
    return MemoryPlan(
        micro_batch_size=samples,
        recompute_activations=is_recomputed,
        evaluation_batch_size=max(1, min(settings.evaluation_batch_size, fitting)),
        needed_bytes=max(needed.total, needed.total - needed.activations + scoring_bytes, whole),
        budget_bytes=budget_bytes,
    )


def _choices(batch: int, settings: HardwareSettings) -> list[tuple[int, bool]]:
    """Return (samples at one time, whether activations are recomputed), the best first."""
    parts = [part for part in range(batch, 0, -1) if batch % part == 0]
    if settings.micro_batch_size is not None:
        parts = [min(batch, settings.micro_batch_size)]
    if settings.recompute_activations is not None:
        return [(part, settings.recompute_activations) for part in parts]
    kept = [part for part in parts if part >= _FEWEST_AT_ONCE] or parts[:1]
    return [*((part, False) for part in kept), *((part, True) for part in parts)]
