"""Parameters, bytes and memory of a model from its config.json and file headers. No MLX.

The memory of a training step is counted, part by part: what is held between steps exactly, what a
step holds for its gradient by the coefficients below. Those were fitted to measured peaks of 8
small networks on a Linux CPU (benchmarks/step_memory.py measures them again); there the total is
within 15 %. Metal and CUDA keep other things and were not measured. Used by `diffopt inspect`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from engine.errors import CheckpointError
from engine.unet_layers import Layer, unet_layers

SCORING_BLOCK_BYTES = 16 << 20  # of features in float64 that a score looks at at one time
_SCORING_BLOCKS = 7.5  # pyramids of student and teacher, and what they are made with: measured
_DIRECTIONS_SHARE = 10  # of the samples: principal directions that a score looks along

_GROUP = 32  # of quantised weights that share a scale and a bias, both float32
_INT8_BYTES = 1 + 8 / _GROUP

_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1}


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step holds, in arrays of the size of what a kind of layer gives, unless said."""

    conv: float
    scores: float  # of an attention: heads x queries x keys
    gate: float
    patches: float  # of the convolution that reads most
    gradients: float  # of the trained parameters
    norm: float = 0.0
    target_inputs: float = 0.0  # of what adapted layers read
    largest_weight: float = 0.0  # of the layer with most parameters


# Fitted to measured peaks, by whether all weights are trained and whether the step is compiled.
_COSTS: dict[tuple[bool, bool], StepCost] = {
    (True, False): StepCost(conv=0.96, scores=1.42, gate=9.1, patches=5.8, gradients=1.2),
    (True, True): StepCost(norm=5.4, conv=0.9, scores=1.34, gate=3.8, patches=2.6, gradients=2.0),
    (False, False): StepCost(
        conv=0.92,
        scores=1.35,
        gate=4.0,
        target_inputs=1.3,
        patches=3.2,
        gradients=0.8,
        largest_weight=1.6,
    ),
    (False, True): StepCost(
        conv=2.25, scores=1.36, gate=6.7, patches=5.6, gradients=0.6, largest_weight=1.8
    ),
}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of a training step, by what they hold."""

    weights: int  # of the student's network; with adapters the base that all share
    teacher: int  # 0 where it shares the student's base
    adapters: int
    average: int
    optimizer: int
    activations: int  # a step's own: activations, gradients and workspace at their peak

    @property
    def total(self) -> int:
        """All parts together: the peak of a step."""
        resident = self.weights + self.teacher + self.adapters + self.average + self.optimizer
        return resident + self.activations


def parameter_count(unet_config: Mapping[str, Any]) -> int:
    """Return the parameters of a UNet2DModel or UNet2DConditionModel by its config.json."""
    return sum(layer.parameters for layer in unet_layers(unet_config))


def adapter_parameter_count(
    unet_config: Mapping[str, Any], rank: int, targets: Iterable[str]
) -> int:
    """Return the parameters that adapters of `rank` on `targets` add."""
    targets = tuple(targets)
    layers = unet_layers(unet_config)
    return sum(layer.adapter_parameters(rank) for layer in layers if layer.is_target(targets))


def forward_flops(
    unet_config: Mapping[str, Any],
    height: int | None = None,
    width: int | None = None,
    tokens: int = 77,
) -> float:
    """Return the floating-point operations of one forward of one sample, two a multiply-add."""
    total = 0.0
    for layer in unet_layers(unet_config, height, width, tokens):
        if layer.kind in ("conv", "linear"):
            total += 2.0 * layer.inputs * layer.outputs * layer.kernel**2 * layer.positions
    return total


def training_memory(
    unet_config: Mapping[str, Any],
    *,
    batch_size: int,
    height: int | None = None,
    width: int | None = None,
    tokens: int = 77,
    lora_rank: int | None = None,
    lora_targets: Iterable[str] = (),
    base_precision: str = "float32",
    compute_bytes: int = 4,
    has_average: bool = True,
    is_compiled: bool = True,
) -> MemoryEstimate:
    """Return the memory of a distillation step, all weights trained or adapters of `lora_rank`.

    `batch_size` is the number of samples whose gradient is taken at one time; `height` and `width`
    are those of a sample (latent pixels), by default the config's. `base_precision` is what the
    frozen base under adapters is held in, `compute_bytes` what a number of an activation takes;
    what is trained is float32. A base in bfloat16 is trained in it.
    """
    layers = unet_layers(unet_config, height, width, tokens)
    targets, is_full = tuple(lora_targets), lora_rank is None
    parameters = sum(layer.parameters for layer in layers)
    trained = parameters
    if lora_rank is not None:
        adapted = [layer for layer in layers if layer.is_target(targets)]
        trained = sum(layer.adapter_parameters(lora_rank) for layer in adapted)
    if not is_full and base_precision == "bfloat16":
        compute_bytes = 2
    weights = 4 * parameters if is_full else _held_bytes(layers, base_precision)
    return MemoryEstimate(
        weights=weights,
        teacher=4 * parameters if is_full else 0,
        adapters=0 if is_full else 4 * trained,
        average=4 * trained if has_average else 0,
        optimizer=8 * trained,
        activations=_step_bytes(
            layers,
            _COSTS[is_full, is_compiled],
            targets=() if is_full else targets,
            batch_size=batch_size,
            compute_bytes=compute_bytes,
            trained_bytes=4 * trained,
        ),
    )


def _held_bytes(layers: Sequence[Layer], precision: str) -> int:
    """Return the bytes of a frozen network whose weights are held in `precision`."""
    total = 0.0
    for layer in layers:
        each = 2.0 if precision == "bfloat16" else 4.0
        total += each * layer.parameters
        if precision == "int8" and layer.kind == "linear" and layer.inputs % _GROUP == 0:
            total -= (each - _INT8_BYTES) * layer.inputs * layer.outputs
    return round(total)


def _step_bytes(
    layers: Sequence[Layer],
    cost: StepCost,
    *,
    targets: Sequence[str],
    batch_size: int,
    compute_bytes: int,
    trained_bytes: int,
) -> int:
    """Return the larger of two peaks: activations at the turn, gradients at the end."""
    kept = patches = 0.0
    shares = {
        "norm": cost.norm,
        "conv": cost.conv,
        "attention": cost.scores,
        "gate": cost.gate,
    }
    for layer in layers:
        values = layer.outputs * layer.positions
        if layer.kind == "attention":
            values *= layer.inputs  # heads
        kept += shares.get(layer.kind, 0.0) * values
        if targets and layer.is_target(targets):
            kept += cost.target_inputs * layer.inputs * layer.positions_in
        if layer.kind == "conv":
            patches = max(patches, layer.inputs * layer.kernel**2 * layer.positions)
    kept += cost.patches * patches
    largest = max(layer.parameters for layer in layers) * compute_bytes
    gradients = cost.gradients * trained_bytes
    activations = kept * batch_size * compute_bytes
    if targets:
        return round(activations + gradients + cost.largest_weight * largest)
    return round(max(activations, gradients + cost.largest_weight * largest))


def scoring_memory(picture_values: int, samples: int) -> int:
    """Return the bytes that scoring `samples` pictures of so many numbers holds at its peak.

    A block of features with what is made of it, and the teacher's mean and principal directions;
    the pictures themselves lie on the disk.
    """
    block = max(SCORING_BLOCK_BYTES, 8 * picture_values)
    block = min(block, 8 * picture_values * samples)
    return round(_SCORING_BLOCKS * block + 8 * picture_values * (samples // _DIRECTIONS_SHARE + 4))


def component_sizes(model_folder: Path) -> dict[str, int]:
    """Return the bytes of the weights of each component of a diffusers folder, by its name.

    Read from the headers of the safetensors files. Of several variants (fp16 beside full precision)
    the one that would be loaded counts. A folder that is a component itself is called "unet".
    """
    return {name: size for name, (size, _) in _components(model_folder).items()}


def component_parameters(model_folder: Path) -> dict[str, int]:
    """Return the parameters of each component of a diffusers folder, by its name."""
    return {name: count for name, (_, count) in _components(model_folder).items()}


def _components(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    if _weight_files(folder):
        found["unet"] = _measured(_weight_files(folder))
    for part in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        if files := _weight_files(part):
            found[part.name] = _measured(files)
    return found


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a component's weights, the first variant that is there."""
    for stem in ("diffusion_pytorch_model", "model"):
        for variant in ("", ".fp16", ".bf16"):
            single = folder / f"{stem}{variant}.safetensors"
            if single.is_file():
                return [single]
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if index.is_file():
                try:
                    names = set(
                        json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                    )
                except (ValueError, KeyError, AttributeError) as error:
                    raise CheckpointError(
                        f"{index} is damaged ({error}); fetch it again."
                    ) from error
                return [folder / name for name in sorted(names) if (folder / name).is_file()]
    return []


def _measured(paths: Iterable[Path]) -> tuple[int, int]:
    """Return (bytes, numbers) that the headers of some files tell of."""
    size = count = 0
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as file:
                for key in file.keys():  # noqa: SIM118
                    entry = file.get_slice(key)
                    numbers = math.prod(entry.get_shape())
                    count += numbers
                    size += numbers * _BYTES.get(entry.get_dtype(), 4)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); fetch it again."
            ) from error
    return size, count
