"""YAML as settings are written in it: `SettingsLoader` and `parse_yaml`.

YAML 1.1 with three differences: 1e-4 is a number, a key that stands twice is refused, and nothing
but plain data can be made. Used by `config`, `config_check` and whoever edits such a text in place.
No MLX.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from engine.errors import ConfigError

_MERGE = "tag:yaml.org,2002:merge"
# what PyYAML's constructors raise on 2001-13-45, !!bool maybe, !!int '', !!timestamp soon
UNREADABLE = (ValueError, KeyError, IndexError, AttributeError, TypeError)


class SettingsLoader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text; this loader reads it as the number everybody means.

    Duplicate keys are refused.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node; raises ConstructorError for a key that stands twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} cannot be a key", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Endless(yaml.MarkedYAMLError):
    """A list or section that holds itself: `&a [*a]`."""


SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
           |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
           |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
           |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def parse_yaml(text: str, name: str) -> Any:
    """Return what `text` holds; raises ConfigError with the place, `name` standing for the text."""
    try:
        loader = SettingsLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_endless(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        line, column = place_of(error, text)
        where = f"{name}: line {line}, column {column}" if line else name
        mend = "Check the indentation and colons there."
        if isinstance(error, yaml.reader.ReaderError):
            mend = "Take it out."
        elif isinstance(error, _Endless):
            mend = "Write out what it stands for."
        raise ConfigError(f"{where}: not valid YAML: {problem_of(error)}. {mend}") from error
    except UNREADABLE as error:
        raise ConfigError(
            f"{name}: not valid YAML: a value is not what its form or tag promises ({error}). "
            "Put quotes around it, or mend it."
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"{name}: not valid YAML: nested too deep. Settings are sections of 'key: value' lines."
        ) from error


def _refuse_endless(root: yaml.Node) -> None:
    """Raise _Endless where an alias stands within what it stands for: no walk of that ends."""
    open_: set[int] = set()
    done: set[int] = set()

    def walk(node: yaml.Node) -> None:
        if not isinstance(node, yaml.CollectionNode) or id(node) in done:
            return
        if id(node) in open_:
            raise _Endless(None, None, "an alias stands within itself", node.start_mark)
        open_.add(id(node))
        for part in node.value:
            for one in part if isinstance(part, tuple) else (part,):
                walk(one)
        open_.remove(id(node))
        done.add(id(node))

    walk(root)


def place_of(error: yaml.YAMLError, text: str) -> tuple[int, int] | tuple[None, None]:
    """Return the line and column of an error in `text`, counted from 1, where it knows them."""
    if isinstance(error, yaml.reader.ReaderError):  # a character that no YAML may hold
        before = text[: error.position]
        return before.count("\n") + 1, len(before) - before.rfind("\n")
    mark = getattr(error, "problem_mark", None)
    return (mark.line + 1, mark.column + 1) if mark else (None, None)


def problem_of(error: yaml.YAMLError) -> str:
    """Return what is wrong, in PyYAML's words."""
    if isinstance(error, yaml.reader.ReaderError) and isinstance(error.character, int):
        return f"the character U+{error.character:04X} cannot stand in YAML"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return str(problem).splitlines()[0]
