"""Every layer of a UNet as its config.json implies it: names, widths, sizes. No arrays, no MLX.

What parameters and memory are counted from (`engine.model_size`), and which layers an adapter may
sit on (`LORA_TARGETS`). The networks themselves are engine/models; tests hold both to the same
parameter names.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import CheckpointError

Kind = Literal["conv", "linear", "norm", "embedding", "attention", "gate"]

# By the end of a layer's path; diffusers' names. The time and text embeddings and the first and the
# last convolution are left alone, as LCM-LoRA and others do.
LORA_TARGETS: dict[str, re.Pattern[str]] = {
    "attention": re.compile(r"(?:^|\.)(?:to_q|to_k|to_v|to_out\.0)$"),
    "feed_forward": re.compile(r"(?:^|\.)(?:ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out)$"),
    "convolutions": re.compile(
        r"(?:^|\.)(?:conv1|conv2|conv_shortcut|time_emb_proj|(?:down|up)samplers\.0\.conv)$"
    ),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer and how much of one sample it reads and gives.

    `inputs` and `outputs` are channels, `positions` pixels or tokens. "attention" and "gate" (the
    product of GEGLU) have no parameters but hold arrays: an attention's `inputs` are its heads and
    its `outputs` the positions that are attended to.
    """

    path: str
    kind: Kind
    inputs: int
    outputs: int
    positions: int
    positions_in: int
    kernel: int = 1
    has_bias: bool = True

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        if self.kind in ("attention", "gate"):
            return 0
        if self.kind == "norm":
            return 2 * self.outputs
        bias = self.outputs if self.has_bias and self.kind != "embedding" else 0
        return self.inputs * self.outputs * self.kernel**2 + bias

    def adapter_parameters(self, rank: int) -> int:
        """Return the parameters of a low-rank pair on this layer: A (rank, in), B (out, rank)."""
        return rank * (self.inputs * self.kernel**2 + self.outputs)

    def is_target(self, targets: Iterable[str]) -> bool:
        """Return whether an adapter for `targets` (names of LORA_TARGETS) sits on this layer."""
        return is_lora_target(self.path, targets)


def is_lora_target(path: str, targets: Iterable[str]) -> bool:
    """Return whether the layer at `path` is one of `targets` (names of LORA_TARGETS)."""
    return any(LORA_TARGETS[name].search(path) for name in targets)


def unet_layers(
    config: Mapping[str, Any], height: int | None = None, width: int | None = None, tokens: int = 77
) -> list[Layer]:
    """Return the layers of a UNet2DModel or UNet2DConditionModel in the order they compute.

    `height` and `width` are those of a sample (latent pixels), by default the config's sample_size;
    `tokens` is the length of a text.

    Raises:
        CheckpointError: the config is of another network, or contradicts itself.
    """
    name = config.get("_class_name") or "UNet2DModel"
    if name not in ("UNet2DModel", "UNet2DConditionModel"):
        raise CheckpointError(
            f"_class_name is {name!r}; wanted UNet2DModel or UNet2DConditionModel."
        )
    size = config.get("sample_size") or 32
    size = size if isinstance(size, Sequence) else (size, size)
    try:
        walk = _Walk(config, height or size[0], width or size[1], tokens, name)
        return walk.whole()
    except (IndexError, TypeError, ZeroDivisionError, KeyError) as error:
        raise CheckpointError(
            f"the config of a {name} contradicts itself ({error}); use the one of the model."
        ) from error


class _Walk:
    def __init__(
        self, config: Mapping[str, Any], height: int, width: int, tokens: int, name: str
    ) -> None:
        is_text = name == "UNet2DConditionModel"
        self.is_text = is_text
        self._config, self._height, self._width, self._tokens = config, height, width, tokens
        channels = (320, 640, 1280, 1280) if is_text else (224, 448, 672, 896)
        self.channels = self._get("block_out_channels", channels)
        self.time_width = self._get("time_embedding_dim", 4 * self.channels[0])
        default_down = (
            (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D")
            if is_text
            else ("DownBlock2D", *("AttnDownBlock2D",) * 3)
        )
        default_up = (
            ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
            if is_text
            else (*("AttnUpBlock2D",) * 3, "UpBlock2D")
        )
        self.down = self._get("down_block_types", default_down)
        self.up = self._get("up_block_types", default_up)
        self.levels = len(self.channels)
        self.is_scale_shift = self._get("resnet_time_scale_shift", "default") == "scale_shift"
        self.layers: list[Layer] = []

    def _get(self, key: str, default: Any) -> Any:
        value = self._config.get(key)
        return default if value is None else value

    def _by_level(self, key: str, default: Any) -> list[Any]:
        value = self._get(key, default)
        return list(value) if isinstance(value, Sequence) else [value] * self.levels

    def pixels(self, level: int) -> int:
        """Return the pixels of a sample after `level` halvings, each rounded up."""
        return -(-self._height // 2**level) * -(-self._width // 2**level)

    def whole(self) -> list[Layer]:
        """Return all layers."""
        channels, last = self.channels, self.levels - 1
        inputs = self._get("in_channels", 4 if self.is_text else 3)
        outputs = self._get("out_channels", 4 if self.is_text else 3)
        self.conv("conv_in", inputs, channels[0], 0, kernel=self._get("conv_in_kernel", 3))
        self.embeddings()
        per_block = self._by_level("layers_per_block", 2)

        skips = [channels[0]]
        for i, kind in enumerate(self.down):
            path, before, level = f"down_blocks.{i}", channels[max(i - 1, 0)], i
            for j in range(per_block[i]):
                width = before if j == 0 else channels[i]
                self.resnet(f"{path}.resnets.{j}", width, channels[i], level)
                if "Attn" in kind:
                    self.attention(f"{path}.attentions.{j}", channels[i], level, i, j)
                skips.append(channels[i])
            if i != last:
                by_resnet = "ResnetDown" in kind or (
                    "Attn" in kind
                    and not self.is_text
                    and self._get("downsample_type", "conv") == "resnet"
                )
                self.resample(f"{path}.downsamplers.0", channels[i], level + 1, by_resnet)
                skips.append(channels[i])

        self.middle()

        rising = channels[::-1]
        for i, kind in enumerate(self.up):
            path, level = f"up_blocks.{i}", last - i
            hidden = rising[max(i - 1, 0)]
            for j in range(per_block[level] + 1):
                width = (hidden if j == 0 else rising[i]) + skips.pop()
                self.resnet(f"{path}.resnets.{j}", width, rising[i], level)
                if "Attn" in kind:
                    self.attention(f"{path}.attentions.{j}", rising[i], level, level, j)
            if i != last:
                by_resnet = "ResnetUp" in kind or (
                    "Attn" in kind
                    and not self.is_text
                    and self._get("upsample_type", "conv") == "resnet"
                )
                self.resample(f"{path}.upsamplers.0", rising[i], level - 1, by_resnet)
        self.norm("conv_norm_out", channels[0], self.pixels(0))
        self.conv("conv_out", channels[0], outputs, 0, kernel=self._get("conv_out_kernel", 3))
        return self.layers

    def embeddings(self) -> None:
        """Add what tells the network time, class and text."""
        first, wide = self.channels[0], self.time_width
        if self._get("time_embedding_type", "positional") == "learned":
            self.embedding("time_proj", self._config["num_train_timesteps"], first)
        if self._config.get("time_cond_proj_dim"):
            width = self._config["time_cond_proj_dim"]
            self.linear("time_embedding.cond_proj", width, first, 1, has_bias=False)
        self.perceptron("time_embedding", first, wide)
        kind = self._config.get("class_embed_type")
        if kind == "timestep":
            self.perceptron("class_embedding", first, wide)
        elif kind == "projection":
            width = self._config["projection_class_embeddings_input_dim"]
            self.perceptron("class_embedding", width, wide)
        elif kind is None and self._config.get("num_class_embeds"):
            self.embedding("class_embedding", self._config["num_class_embeds"], wide)
        if self._config.get("addition_embed_type") == "text_time":
            width = self._config["projection_class_embeddings_input_dim"]
            self.perceptron("add_embedding", width, wide)

    def middle(self) -> None:
        """Add the middle block."""
        channels, last = self.channels[-1], self.levels - 1
        default = "UNetMidBlock2DCrossAttn" if self.is_text else "UNetMidBlock2D"
        if self._config.get("mid_block_type", default) is None:
            return
        self.resnet("mid_block.resnets.0", channels, channels, last)
        if self.is_text or self._get("add_attention", True):
            self.attention("mid_block.attentions.0", channels, last, last, 0, is_middle=True)
        self.resnet("mid_block.resnets.1", channels, channels, last)

    def resnet(self, path: str, inputs: int, outputs: int, level: int, before: int = -1) -> None:
        """Add a residual block; `before` is the level that it reads where it resamples."""
        pixels, pixels_in = self.pixels(level), self.pixels(level if before < 0 else before)
        self.norm(f"{path}.norm1", inputs, pixels_in)
        self.conv(f"{path}.conv1", inputs, outputs, level)
        wide = 2 * outputs if self.is_scale_shift else outputs
        self.linear(f"{path}.time_emb_proj", self.time_width, wide, 1)
        self.norm(f"{path}.norm2", outputs, pixels)
        self.conv(f"{path}.conv2", outputs, outputs, level)
        if inputs != outputs:
            self.conv(f"{path}.conv_shortcut", inputs, outputs, level, kernel=1)

    def resample(self, path: str, channels: int, level: int, by_resnet: bool) -> None:
        """Add what halves or doubles to `level`."""
        before = level - 1 if "down" in path else level + 1
        if by_resnet:
            self.resnet(path, channels, channels, level, before)
        else:
            before = before if "down" in path else level
            self.conv(f"{path}.conv", channels, channels, level, before=before)

    def attention(
        self, path: str, channels: int, level: int, block: int, layer: int, is_middle: bool = False
    ) -> None:
        """Add a level's attention: a transformer that reads text, or pixels alone."""
        pixels = self.pixels(level)
        if not self.is_text:
            self.self_attention(path, channels, pixels, is_middle)
            return
        heads = self._by_level("num_attention_heads", self._get("attention_head_dim", 8))[block]
        depth = self._by_level("transformer_layers_per_block", 1)[block]
        if path.startswith("up") and self._get("reverse_transformer_layers_per_block", None):
            depth = self._get("reverse_transformer_layers_per_block", 1)[::-1][block]
        if isinstance(depth, Sequence):
            depth = depth[layer]
        text = self._by_level("cross_attention_dim", 1280)[block]
        is_linear = bool(self._get("use_linear_projection", False))

        inner = heads * (channels // heads)

        def project(name: str, inputs: int, outputs: int) -> None:
            if is_linear:
                self.linear(f"{path}.{name}", inputs, outputs, pixels)
            else:
                self.conv(f"{path}.{name}", inputs, outputs, level, kernel=1)

        self.norm(f"{path}.norm", channels, pixels)
        project("proj_in", channels, inner)
        for k in range(depth):
            block_path = f"{path}.transformer_blocks.{k}"
            self.norm(f"{block_path}.norm1", inner, pixels)
            self.heads(f"{block_path}.attn1", inner, inner, pixels, pixels, heads)
            self.norm(f"{block_path}.norm2", inner, pixels)
            self.heads(f"{block_path}.attn2", inner, text, pixels, self._tokens, heads)
            self.norm(f"{block_path}.norm3", inner, pixels)
            self.linear(f"{block_path}.ff.net.0.proj", inner, 8 * inner, pixels)
            self.add(f"{block_path}.ff.gate", "gate", 8 * inner, 4 * inner, pixels)
            self.linear(f"{block_path}.ff.net.2", 4 * inner, inner, pixels)
        project("proj_out", inner, channels)

    def self_attention(self, path: str, channels: int, pixels: int, is_middle: bool) -> None:
        """Add the attention of a UNet2DModel."""
        head_width = self._config.get("attention_head_dim", 8) or channels
        heads = channels // head_width
        inner = heads * head_width
        has_norm = not (
            is_middle and self.is_scale_shift and not self._config.get("attn_norm_num_groups")
        )
        if has_norm:
            self.norm(f"{path}.group_norm", channels, pixels)
        self.heads(path, channels, channels, pixels, pixels, heads, inner, has_bias=True)

    def heads(
        self,
        path: str,
        channels: int,
        context: int,
        positions: int,
        attended: int,
        heads: int,
        inner: int | None = None,
        *,
        has_bias: bool = False,
    ) -> None:
        """Add queries, keys, values, their attention and what projects it back."""
        inner = inner or channels
        self.linear(f"{path}.to_q", channels, inner, positions, has_bias=has_bias)
        self.linear(f"{path}.to_k", context, inner, attended, has_bias=has_bias)
        self.linear(f"{path}.to_v", context, inner, attended, has_bias=has_bias)
        self.add(f"{path}.scores", "attention", heads, attended, positions)
        self.linear(f"{path}.to_out.0", inner, channels, positions)

    def perceptron(self, path: str, inputs: int, outputs: int) -> None:
        """Add a TimestepEmbedding."""
        self.linear(f"{path}.linear_1", inputs, outputs, 1)
        self.linear(f"{path}.linear_2", outputs, outputs, 1)

    def conv(
        self, path: str, inputs: int, outputs: int, level: int, *, kernel: int = 3, before: int = -1
    ) -> None:
        """Add a convolution that gives `level`, and reads `before` if that is another."""
        pixels, pixels_in = self.pixels(level), self.pixels(level if before < 0 else before)
        self.layers.append(Layer(path, "conv", inputs, outputs, pixels, pixels_in, kernel))

    def linear(
        self, path: str, inputs: int, outputs: int, positions: int, *, has_bias: bool = True
    ) -> None:
        """Add a linear layer."""
        layer = Layer(path, "linear", inputs, outputs, positions, positions, has_bias=has_bias)
        self.layers.append(layer)

    def norm(self, path: str, channels: int, positions: int) -> None:
        """Add a group norm or a layer norm."""
        self.add(path, "norm", channels, channels, positions)

    def embedding(self, path: str, rows: int, width: int) -> None:
        """Add a table."""
        self.add(path, "embedding", rows, width, 1)

    def add(self, path: str, kind: Kind, inputs: int, outputs: int, positions: int) -> None:
        """Add a layer that reads as many positions as it gives."""
        self.layers.append(Layer(path, kind, inputs, outputs, positions, positions))
