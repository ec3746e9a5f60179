"""What a model folder costs, told from its config.json and the headers of its weights. No MLX.

Only headers are read: a few kilobytes, however large the model. Puts together what `model_size`
counts; used by `estimate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import CheckpointError
from engine.model_size import (
    MemoryEstimate,
    component_parameters,
    forward_flops,
    training_memory,
)
from engine.models.folder import find_model, resolve_model_path
from engine.unet_layers import unet_layers

_LIVE_LAYERS = 3.0  # of the widest: what it reads, its patches, what it gives
_VAE_SCALE = 8  # pixels of an image for each latent, along one side


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one evaluation of the network takes."""

    parameters: int
    flops: float  # of a forward pass of one sample
    height: int  # of a sample
    width: int
    channels: int
    companion_bytes: int  # text encoders and autoencoder in float32
    has_prompts: bool
    is_latent: bool
    network_config: Mapping[str, Any]

    @property
    def sample_values(self) -> int:
        """Numbers in one sample."""
        return self.height * self.width * self.channels

    @property
    def image_values(self) -> int:
        """Numbers in one decoded sample."""
        return (
            3 * self.height * self.width * _VAE_SCALE**2 if self.is_latent else self.sample_values
        )

    def sampling_bytes(self, samples: int) -> float:
        """Return what sampling holds: it keeps no layer, a few of the widest live at a time."""
        widest = max(
            layer.outputs
            * layer.positions
            * (layer.inputs if layer.kind == "attention" else layer.kernel**2)
            for layer in unet_layers(self.network_config, self.height, self.width)
        )
        return 4.0 * samples * widest * _LIVE_LAYERS

    def training(
        self,
        *,
        samples: int,
        is_compiled: bool,
        compute_bytes: int = 4,
        base_precision: str = "float32",
        rank: int | None = None,
        targets: Sequence[str] = (),
    ) -> MemoryEstimate:
        """Return what a training step holds that takes the gradient of `samples` at one time."""
        return training_memory(
            self.network_config,
            batch_size=samples,
            height=self.height,
            width=self.width,
            lora_rank=rank,
            lora_targets=targets,
            compute_bytes=compute_bytes,
            base_precision=base_precision,
            is_compiled=is_compiled,
        )


def model_cost(model_path: str, height: int | None = None, width: int | None = None) -> ModelCost:
    """Return what the model in a folder, or `bundled:NAME`, costs for pictures of this size.

    `height` and `width` are a picture's, None for the model's own. Raises CheckpointError as
    loading it would for what headers can tell, OSError for what cannot be read.
    """
    folder = find_model(resolve_model_path(model_path))
    config = folder.network_config
    try:
        prompts = config.get("cross_attention_dim") is not None
        is_latent = prompts or (folder.path / "vae").is_dir()
        scale = _VAE_SCALE if is_latent else 1
        own = config.get("sample_size") or 32
        own_height, own_width = own if isinstance(own, list) else (own, own)
        rows = height // scale if height else int(own_height)
        columns = width // scale if width else int(own_width)
        parts = component_parameters(folder.path)
        network = parts.get("unet", 0)
        used = ("vae", "text_encoder", "text_encoder_2")
        return ModelCost(
            parameters=network,
            flops=forward_flops(config, rows, columns),
            height=rows,
            width=columns,
            channels=int(config.get("in_channels", 3)),
            companion_bytes=4 * sum(parts.get(name, 0) for name in used),
            has_prompts=prompts,
            is_latent=is_latent,
            network_config=config,
        )
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{folder.config_path}: it describes no network that is known ({error!r}). "
            "Fetch it again."
        ) from error
