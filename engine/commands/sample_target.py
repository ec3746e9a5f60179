"""Where `diffopt sample` may write, judged before there is anything to write."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.errors import ConfigError
from engine.files import expanded, reason_of, temporary_name
from engine.run import is_run

SAMPLES = "samples"


def sample_target(text: str) -> Path:
    """Return the file that `text` (--out) names.

    Raises:
        ConfigError: the name does not end in .png or .safetensors, no file can be written there, or
            what is there is not for samples to replace: a folder, a run's file, other tensors.
    """
    out = expanded(text)
    if out.suffix not in (".png", ".safetensors"):
        raise ConfigError(f"--out {out}: wanted a name that ends in .png or .safetensors.")
    try:
        parent = out.absolute().parent
        if not parent.is_dir():
            raise ConfigError(f"--out {out}: there is no folder {parent}; make it first.")
        if out.is_dir():
            raise ConfigError(f"--out {out}: this is a folder; name a file.")
        for folder in out.resolve().parents:
            if is_run(folder):
                raise ConfigError(f"--out {out}: this lies in the run {folder}; name another file.")
        if out.suffix == ".safetensors" and out.exists():
            _refuse_other_tensors(out)
        probe = temporary_name(out)
        probe.touch()
        probe.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        raise ConfigError(
            f"--out {out}: no file can be written there ({reason_of(error)}); name another."
        ) from error
    return out


def _refuse_other_tensors(path: Path) -> None:
    """Refuse a file that was not made by this command: a model's weights, the noise to start from.

    Raises ConfigError.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
    except SafetensorError:  # cut off, or something else by that name
        names = set()
    if names != {SAMPLES}:
        raise ConfigError(
            f"--out {path}: this file holds something else than samples, which is never replaced; "
            "name another, or remove it first."
        )
