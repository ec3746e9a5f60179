"""Reading a config.json into a checked record: what every kind of network's settings share.

A record's fields are the keys it knows, with their defaults; a `Checks` says what each may hold. An
absent key, or null where None has no meaning of its own, is the default; keys that the record does
not know are left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from math import isfinite
from typing import Any, NoReturn, TypeGuard, TypeVar

from engine.errors import UnsupportedError

BLOCK_TYPES = ("down_block_types", "up_block_types")
MOST = 1_000_000  # of channels, classes or timesteps: more is a slip, and could overflow a shape

Check = tuple[Callable[[Any], bool], str]  # whether a value will do, and what is wanted in words
_Record = TypeVar("_Record")


def read_settings(
    record: type[_Record],
    config: Mapping[str, Any],
    checks: Mapping[str, Check],
    *,
    nullable: frozenset[str],
    source: str,
) -> _Record:
    """Return a `record` of what `config` says; lists become tuples.

    Raises:
        CheckpointError: a value will not do; names the `source` and the key.
    """
    settings = {}
    for field in fields(record):  # pyright: ignore[reportArgumentType]
        if field.name not in config:
            continue
        value = config[field.name]
        if value is None and field.name not in nullable:
            continue
        is_right, wanted = checks[field.name]
        if value is not None and not is_right(value):
            refuse(source, field.name, value, wanted)
        settings[field.name] = _as_tuple(value)
    return record(**settings)


class LabelledUNet:
    """What the settings of both kinds of UNet say of time and class."""

    __slots__ = ()
    block_out_channels: tuple[int, ...]
    time_embedding_dim: int | None
    class_embed_type: str | None
    num_class_embeds: int | None

    @property
    def embed_dim(self) -> int:
        """The width of the time embedding that every residual block reads."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def is_class_conditional(self) -> bool:
        """Whether the network must be given `class_labels`."""
        return self.class_embed_type is not None or self.num_class_embeds is not None


def refuse_other_kind(
    config: Mapping[str, Any], kind: str, *, source: str, key: str = "_class_name", others: str
) -> None:
    """Refuse a config that names another kind of network; `others` says what there is to do."""
    found = config.get(key, kind)
    if found != kind:
        refuse(source, key, found, kind, f"{others}: choose another model.")


def check_levels(settings: Any, keys: Sequence[str] = BLOCK_TYPES, *, source: str) -> None:
    """Refuse lists that do not have an entry for each of `settings.block_out_channels`."""
    levels = len(settings.block_out_channels)
    for key in keys:
        found = getattr(settings, key)
        if len(found) != levels:
            refuse(source, key, found, f"one entry for each of the {levels} block_out_channels")


def check_groups(settings: Any, *, source: str) -> None:
    """Refuse a number of groups that some level's channels cannot be parted into."""
    if any(channels % settings.norm_num_groups for channels in settings.block_out_channels):
        wanted = f"a divisor of all block_out_channels, {list(settings.block_out_channels)},"
        refuse(source, "norm_num_groups", settings.norm_num_groups, wanted)


def refuse_unless_default(
    config: Mapping[str, Any], supported: Mapping[str, Any], *, source: str
) -> None:
    """Refuse, by key, settings that would change the network and are not supported.

    `supported` holds the one value of each key that is; null is as good as an absent key.
    """
    for key, only in supported.items():
        if config.get(key) not in (None, only):
            remedy = "Other values are not supported: choose another model."
            refuse(source, key, config[key], repr(only), remedy)


def refuse(
    source: str, key: str, found: object, wanted: str, remedy: str = "Correct the file."
) -> NoReturn:
    """Raise the error that names file, key, what was found and what is wanted."""
    raise UnsupportedError(f"{source}: {key} is {found!r}, but {wanted} is wanted. {remedy}")


def is_int(value: object) -> bool:
    """Whether it is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number from 1 to MOST."""
    return isinstance(value, int) and is_int(value) and 1 <= value <= MOST


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether it is a list."""
    return isinstance(value, list | tuple)


def is_size(value: object) -> bool:
    """Whether it is a length, or a list of height and width."""
    return is_count(value) or (
        is_list(value) and len(value) == 2 and all(is_count(side) for side in value)
    )


def one_of(*names: str) -> Check:
    """Return the check for a choice."""
    return (lambda value: value in names), f"one of {', '.join(names)} (others are not supported)"


def list_of(*names: str, prefix: str = "") -> Check:
    """Return the check for a list of choices; each may carry the `prefix`."""

    def is_right(value: Any) -> bool:
        return _is_full_list(value) and all(
            isinstance(name, str) and name.removeprefix(prefix) in names for name in value
        )

    return is_right, f"a list of {', '.join(names)} (others are not supported)"


def _is_full_list(value: object) -> TypeGuard[Sequence[Any]]:
    return is_list(value) and len(value) > 0


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if is_list(value) else value


COUNT: Check = (is_count, f"a whole number from 1 to {MOST}")
COUNTS: Check = (
    lambda value: _is_full_list(value) and all(map(is_count, value)),
    f"a list of whole numbers from 1 to {MOST}",
)
COUNT_OR_COUNTS: Check = (
    lambda value: is_count(value) or COUNTS[0](value),
    f"a whole number from 1 to {MOST}, or a list of them",
)
SIZE: Check = (is_size, "a whole number, or a list of height and width")
NUMBER: Check = (is_number, "a number")
POSITIVE: Check = (lambda value: is_number(value) and value > 0, "a number above 0")
SHARE: Check = (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 up to 1")
FLAG: Check = (lambda value: isinstance(value, bool), "true or false")
