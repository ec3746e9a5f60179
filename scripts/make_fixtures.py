"""Makes the tiny checkpoints of tests/fixtures, and what real diffusers answers in float64.

Run it to make them again or to add one; the tests need only what it wrote. It wants PyTorch and
diffusers, which diffopt itself never imports:

    pip install '.[interop]'
    python scripts/make_fixtures.py [FOLDER]

Weights are random, structure is faithful. Beside each checkpoint, `reference.safetensors` holds
(NCHW and PyTorch's layouts, computed in float64, stored as float32):

    in, class_labels           what the network is given; height and width differ
    out.tT                     its answer at timestep T for the whole batch
    timesteps, out.batch       a timestep of its own for each sample
    grad.cotangent             loss = mean(out * cotangent) at the first timestep
    grad.input, grad.param.K   its gradients

The old attention names and the flat folder are written by hand, as diffusers no longer does.
ddpm_cifar is not made here: a larger one, with samplers' trajectories, kept as it came (its keys
begin with `unet.`, and reference.json explains them).
"""

import argparse
import json
import math
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def float64_timestep_embedding(
    timesteps: torch.Tensor,
    embedding_dim: int,
    flip_sin_to_cos: bool = False,
    downscale_freq_shift: float = 1,
    scale: float = 1,
    max_period: int = 10000,
) -> torch.Tensor:
    """Return diffusers' sinusoidal embedding without its float32 exponents, which are off 5e-6."""
    half = embedding_dim // 2
    exponent = torch.arange(half, dtype=torch.float64) / (half - downscale_freq_shift)
    angle = scale * timesteps[:, None].double() * torch.exp(-math.log(max_period) * exponent)
    waves = [angle.cos(), angle.sin()] if flip_sin_to_cos else [angle.sin(), angle.cos()]
    if embedding_dim % 2:
        waves.append(torch.zeros_like(angle[:, :1]))
    return torch.cat(waves, dim=-1)


def make_network(seed: int, **config: object) -> diffusers.UNet2DModel:
    """Return a network with random weights, norms too: left at 1 and 0 they would hide a swap."""
    torch.manual_seed(seed)
    network = diffusers.UNet2DModel(**config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def write_reference(
    network: diffusers.UNet2DModel,
    folder: Path,
    *,
    timesteps: tuple[float, ...],
    class_labels: torch.Tensor | None = None,
) -> None:
    """Write what the network answers, in float64, and the gradients at the first timestep."""
    network = network.double()
    size = 4 * 2 ** (len(network.config.block_out_channels) - 1)
    z = torch.randn(2, network.config.in_channels, size, size + size // 2).double()
    tensors = {"in": z}
    labels = class_labels
    if labels is not None:
        tensors["class_labels"] = labels
        labels = labels.double() if labels.is_floating_point() else labels

    for t in timesteps:
        with torch.no_grad():
            tensors[f"out.t{t:g}"] = network(z, torch.tensor(t), labels).sample
    tensors["timesteps"] = torch.tensor(timesteps[:2])
    with torch.no_grad():
        tensors["out.batch"] = network(z, tensors["timesteps"], labels).sample

    x = z.clone().requires_grad_(True)
    out = network(x, torch.tensor(timesteps[0]), labels).sample
    tensors["grad.cotangent"] = torch.randn_like(out)
    (out * tensors["grad.cotangent"]).mean().backward()
    tensors["grad.input"] = x.grad
    for key, parameter in network.named_parameters():
        tensors[f"grad.param.{key}"] = parameter.grad

    for key, tensor in tensors.items():
        tensors[key] = tensor.detach().contiguous()
        if tensor.is_floating_point():
            tensors[key] = tensors[key].float()
    save_file(tensors, folder / "reference.safetensors")


def make_adm_pipeline(folder: Path) -> None:
    """A pipeline: classes, scale_shift, resampling inside residual blocks, several heads."""
    network = make_network(
        0,
        sample_size=8,
        block_out_channels=(4, 8),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=4,
        norm_num_groups=2,
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=5,
    )
    scheduler = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    diffusers.DDIMPipeline(network, scheduler).save_pretrained(folder)
    labels = torch.tensor([3, 0])
    write_reference(network, folder, timesteps=(759, 21, 999), class_labels=labels)


def make_ddpm_flat(folder: Path) -> None:
    """The flat layout with the old attention names, all files in the root, as google/ddpm-*."""
    network = make_network(
        1,
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        norm_num_groups=4,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    network.save_config(folder)
    diffusers.DDPMScheduler(variance_type="fixed_large").save_config(folder)
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1"}
    index |= {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")

    weights = {}
    for key, tensor in network.state_dict().items():
        for name, old_name in OLD_NAMES.items():
            key = key.replace(f".{name}.", f".{old_name}.")
        weights[key] = tensor
    save_file(weights, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    write_reference(network, folder, timesteps=(759, 999, 0))


def make_learned_sharded(folder: Path) -> None:
    """A network alone, in shards: learned time, labels added as they are, resampling by resnet."""
    network = make_network(
        2,
        in_channels=2,
        out_channels=4,
        block_out_channels=(8, 6),
        layers_per_block=1,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        downsample_type="resnet",
        upsample_type="resnet",
        time_embedding_type="learned",
        time_embedding_dim=20,
        num_train_timesteps=10,
        class_embed_type="identity",
        act_fn="mish",
        center_input_sample=True,
        mid_block_scale_factor=1.5,
        attention_head_dim=5,  # divides no level: the heads are narrower than the level
        norm_num_groups=2,
        attn_norm_num_groups=3,
    )
    network.save_pretrained(folder, max_shard_size="40KB")
    labels = torch.randn(2, 20)
    write_reference(network, folder, timesteps=(9, 4, 0), class_labels=labels)


def make_middleless_half(folder: Path) -> None:
    """A network alone, in half precision: no middle, numbers as labels, an odd embedding, GELU."""
    network = make_network(
        3,
        in_channels=1,
        out_channels=1,
        block_out_channels=(9, 6),
        layers_per_block=2,
        down_block_types=("UNetResDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type=None,
        class_embed_type="timestep",
        act_fn="gelu",
        norm_num_groups=3,
        dropout=0.1,
    ).half()
    network.save_pretrained(folder, variant="fp16")
    labels = torch.tensor([12.5, 300.0])
    write_reference(network, folder, timesteps=(999, 0.25, 500.5), class_labels=labels)


def make_sd15_lora(folder: Path, base: Path) -> None:
    """Adapters on the tiny Stable Diffusion of `base`, as peft and diffusers write them."""
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(4)
    network = diffusers.UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    targets = ["to_q", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "time_emb_proj"]
    network.add_adapter(
        LoraConfig(r=2, lora_alpha=5, target_modules=targets, init_lora_weights=False)
    )
    diffusers.StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(network),
        unet_lora_adapter_metadata=network.peft_config["default"].to_dict(),
    )
    network = network.double()
    z, text = torch.randn(1, 4, 8, 8).double(), torch.randn(1, 7, 24).double()
    with torch.no_grad():
        out = network(z, torch.tensor(500), text).sample
    tensors = {"in": z, "encoder_hidden_states": text, "out.t500": out}
    tensors = {key: value.float().contiguous() for key, value in tensors.items()}
    save_file(tensors, folder / "reference.safetensors")


def main() -> None:
    """Make every fixture in the folder given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = Path(__file__).parent.parent / "tests" / "fixtures"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder

    torch.set_num_threads(1)
    diffusers.models.embeddings.get_timestep_embedding = float64_timestep_embedding
    make_adm_pipeline(folder / "adm_pipeline")
    make_ddpm_flat(folder / "ddpm_flat")
    make_learned_sharded(folder / "learned_sharded")
    make_middleless_half(folder / "middleless_half")
    make_sd15_lora(folder / "sd15_lora", default / "sd15")


if __name__ == "__main__":
    main()
