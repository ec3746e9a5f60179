"""Changing one setting in a YAML text, and nothing else of it: not a comment, not a spelling. Pure.

`set_key` and `remove_key` cut at the marks of PyYAML's nodes, and then prove the edit: the new text
must load as the old data plus the one change. What cannot be proven is refused with the reason, and
the text stays as it was. Used by `draft`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from engine.errors import ConfigError, DiffoptError
from engine.yaml_text import SettingsLoader, parse_yaml
from tui import yaml_nodes as nodes
from tui.yaml_nodes import Member
from tui.yaml_spelling import is_same, spell


class EditRefused(DiffoptError):
    """The text cannot be changed there without harm; it was not touched."""


def set_key(
    text: str, key: str, value: Any, *, spelling: str | None = None, order: Sequence[str] = ()
) -> str:
    """Return `text` with the setting `key` ("training.batch_size") at `value`.

    A key that is missing is put after its neighbour in `order` (all keys, sections among them), and
    its section is made where there is none. Raises EditRefused.
    """
    old, path = _loaded(text, key), key.split(".")
    wanted = _unshared(old, key) if old else {}
    place = wanted
    for part in path[:-1]:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise EditRefused(f"{key}: {part} is not a section; mend it in the YAML.")
    place[path[-1]] = value
    new = _tried(key, lambda: _set(text, path, value, spelling, order))
    _prove(key, new, lambda data: is_same(data, wanted))
    return new


def remove_key(text: str, key: str) -> str:
    """Return `text` without the setting `key`, and without its section if that was all of it.

    A comment on its line stays, on a line of its own. Raises EditRefused.
    """
    old, path = _loaded(text, key), key.split(".")
    wanted = _unshared(old, key) if old else {}
    place = wanted
    for part in path[:-1]:
        place = place.get(part)
        if not isinstance(place, dict):
            return text
    if path[-1] not in place:
        return text
    del place[path[-1]]
    new = _tried(key, lambda: _remove(text, path))
    _prove(key, new, lambda data: is_same(_without_empty(data), _without_empty(wanted)))
    return new


def _loaded(text: str, key: str) -> dict[str, Any] | None:
    try:
        data = parse_yaml(text, "the YAML")
    except ConfigError as error:
        raise EditRefused(f"{key}: {error}") from error
    if data is not None and not isinstance(data, dict):
        raise EditRefused(f"{key}: the YAML holds no 'key: value' lines; mend it there first.")
    return data


def _unshared(data: Any, key: str) -> Any:
    """Return a copy in which what an alias shared is there twice: an edit changes one of them."""
    try:
        if isinstance(data, dict):
            return {name: _unshared(value, key) for name, value in data.items()}
        return [_unshared(value, key) for value in data] if isinstance(data, list) else data
    except RecursionError as error:
        raise EditRefused(f"{key}: an alias in the YAML stands within itself.") from error


def _tried(key: str, edit: Callable[[], str]) -> str:
    try:
        return edit()
    except nodes.Unclear as error:
        raise EditRefused(f"{key}: {error}; change it in the YAML.") from error


def _prove(key: str, new: str, is_as_wanted: Callable[[dict[str, Any]], bool]) -> None:
    try:
        data = parse_yaml(new, "the YAML")
    except ConfigError:
        data = None
        is_proven = False
    else:
        is_proven = is_as_wanted(data if data is not None else {})
    if not is_proven:
        raise EditRefused(
            f"{key}: changing its text would change something else too (an anchor, a merged "
            "section or an unusual layout is in the way); change it in the YAML."
        )


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value not in (None, {})}


# Setting


def _set(
    text: str, path: Sequence[str], value: Any, spelling: str | None, order: Sequence[str]
) -> str:
    root = yaml.compose(text, Loader=SettingsLoader)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not isinstance(root, yaml.MappingNode):
        return _begin(text, root, path, spell(value, spelling=spelling), newline)
    place, prefix = root, ""
    for depth, part in enumerate(path[:-1]):
        prefix += f"{part}."
        member = nodes.find(text, place, part)
        if member is None:
            entry = _section(path[depth:], spell(value, spelling=spelling), text, root, newline)
            return _insert(text, place, prefix[:-1], entry, order, newline, is_section=True)
        if member.is_alias:
            raise nodes.Unclear(f"{part} is an alias of a section that stands elsewhere")
        if not isinstance(member.value, yaml.MappingNode):
            return _fill_section(
                text, place, member, path[depth + 1 :], spell(value, spelling=spelling), newline
            )
        place = member.value
    member = nodes.find(text, place, path[-1])
    if member is not None:
        return _replace(text, place, member, value, spelling)
    written = spell(value, spelling=spelling)
    return _insert(text, place, ".".join(path), [f"{path[-1]}: {written}"], order, newline)


def _begin(
    text: str, root: yaml.Node | None, path: Sequence[str], written: str, newline: str
) -> str:
    """Write the first setting of a text that has none."""
    entry = newline.join(_section(path, written, text, None, newline))
    if root is None:
        gap = "" if not text or text[-1] in "\r\n\ufeff" else newline
        return text + gap + entry + newline
    start, end = root.start_mark.index, root.end_mark.index
    before = text[:start]
    gap = "" if not before or before[-1] in nodes.BREAKS else newline
    after = text[end:]
    return (
        before + gap + entry + (after if after[:1] in nodes.BREAKS and after else newline + after)
    )


def _section(
    path: Sequence[str], written: str, text: str, root: yaml.MappingNode | None, newline: str
) -> list[str]:
    """Return the lines of a setting in the sections that lead to it."""
    step = " " * nodes.usual_indentation(root)
    lines = [f"{step * depth}{part}:" for depth, part in enumerate(path)]
    lines[-1] += f" {written}"
    return lines


def _insert(
    text: str,
    place: yaml.MappingNode,
    key: str,
    entry: list[str],
    order: Sequence[str],
    newline: str,
    *,
    is_section: bool = False,
) -> str:
    """Put `entry`, lines without indentation, after the neighbour that `order` tells."""
    members = nodes.members(text, place)
    prefix = key.rpartition(".")[0]
    rank = {name: number for number, name in enumerate(order)}

    def rank_of(name: str) -> int:
        if name == "<<":
            return -1  # what is merged stands first
        return rank.get(f"{prefix}.{name}" if prefix else name, len(rank))

    mine = rank.get(key, len(rank))
    before = [member for member in members if rank_of(member.name) <= mine]
    neighbour = max(before, key=lambda member: (rank_of(member.name), member.start), default=None)
    if place.flow_style:
        flow = nodes.flow_of(entry)
        if neighbour is not None:
            return text[: neighbour.end] + f", {flow}" + text[neighbour.end :]
        at = place.end_mark.index - 1 if not members else members[0].start
        if not members:
            at = text.index("{", place.start_mark.index) + 1
        return text[:at] + flow + (", " if members else "") + text[at:]
    indentation = " " * place.start_mark.column
    lines = [indentation + line for line in entry]
    if neighbour is not None:
        end = nodes.line_end(text, neighbour.end)
        if is_section:
            end = nodes.past_indented_comments(text, end, len(indentation))
            if nodes.has_blank_line_above(text, members):
                lines.insert(0, "")
        return text[:end] + "".join(newline + line for line in lines) + text[end:]
    start = nodes.line_start(text, members[0].start)
    if text[start : members[0].start].strip(" \ufeff"):
        raise nodes.Unclear("its neighbour does not stand at the beginning of a line")
    if indentation:  # above the comments that speak of the first one
        start = nodes.above_comments(text, start)
    bom = "\ufeff" if text[start : start + 1] == "\ufeff" else ""
    start += len(bom)
    return text[:start] + "".join(line + newline for line in lines) + text[start:]


def _fill_section(
    text: str,
    place: yaml.MappingNode,
    member: Member,
    path: Sequence[str],
    written: str,
    newline: str,
) -> str:
    """Write the first setting of a section that stands there empty."""
    assert isinstance(member.value, yaml.ScalarNode)  # `set_key` refused everything else
    lines = _section(path, written, text, None, newline)
    start, end = nodes.content_span(text, member)
    if place.flow_style:
        colon = "" if member.colon_end is not None else ": "
        flow = f"{{{nodes.flow_of(lines)}}}"
        gap = " " if member.colon_end == start else ""
        return text[:start] + colon + gap + flow + text[end:]
    if end > start:  # null or ~ goes
        before = text[:start].rstrip(" ")
        text, start = before + text[end:], len(before)
    at = nodes.line_end(text, start)
    inner = " " * (place.start_mark.column + nodes.usual_indentation(place))
    return text[:at] + "".join(newline + inner + line for line in lines) + text[at:]


def _replace(
    text: str, place: yaml.MappingNode, member: Member, value: Any, spelling: str | None
) -> str:
    node = member.value
    if not member.is_alias and isinstance(node, yaml.SequenceNode) and isinstance(value, list):
        by_item = _replace_items(text, node, value)
        if by_item is not None:
            return by_item
    start, end = nodes.content_span(text, member)
    if member.colon_end is None:
        return text[:start] + ": " + spell(value, spelling=spelling) + text[end:]
    quote = node.style if isinstance(node, yaml.ScalarNode) and not member.is_alias else None
    written = spell(value, spelling=spelling, quote=quote if quote in ("'", '"') else None)
    if start == end:
        return text[:start] + " " + written + text[start:]
    if nodes.comments_in(text, start, end):
        raise nodes.Unclear("there are comments inside its value, which would be lost")
    is_block_list = isinstance(node, yaml.SequenceNode) and not node.flow_style
    if member.is_alias or not is_block_list:
        return text[:start] + written + text[end:]
    if isinstance(value, list) and value:
        newline = "\r\n" if "\r\n" in text else "\n"
        glue = newline + " " * node.start_mark.column + "- "
        return text[:start] + "- " + glue.join(spell(item) for item in value) + text[end:]
    # back onto the line of its key
    above = nodes.comments_in(text, member.colon_end, start)
    if above:
        raise nodes.Unclear("there is a comment between the key and its list")
    return text[: member.colon_end] + " " + written + text[end:]


def _replace_items(text: str, node: yaml.SequenceNode, value: list[Any]) -> str | None:
    """Return the text with only those items changed that differ; None where that cannot be."""
    if len(node.value) != len(value) or not value:
        return None
    old = SettingsLoader(text).construct_document(node)
    for item, before, after in reversed(list(zip(node.value, old, value, strict=True))):
        if is_same(before, after):
            continue
        start, end = item.start_mark.index, item.end_mark.index
        is_alias = start < node.start_mark.index
        if is_alias or not isinstance(item, yaml.ScalarNode) or item.style in ("|", ">"):
            return None
        start = nodes.past_properties(text, start, end)
        if start >= end:
            return None
        text = text[:start] + spell(after, quote=item.style) + text[end:]
    return text


# Removing


def _remove(text: str, path: Sequence[str]) -> str:
    root = yaml.compose(text, Loader=SettingsLoader)
    assert isinstance(root, yaml.MappingNode)
    place, sections = root, []
    for part in path[:-1]:
        member = nodes.find(text, place, part)
        if member is None or member.is_alias or not isinstance(member.value, yaml.MappingNode):
            raise nodes.Unclear(f"{part} takes it from elsewhere, by an alias or a merge")
        sections.append((place, member))
        place = member.value
    member = nodes.find(text, place, path[-1])
    if member is None:
        raise nodes.Unclear("it comes from a merged section")
    # a section that holds nothing else goes along, unless somebody wrote into it
    while sections and len(place.value) == 1:
        outer, section = sections[-1]
        end = nodes.past_indented_comments(
            text, nodes.line_end(text, section.end), outer.start_mark.column
        )
        if outer.flow_style or nodes.comments_in(text, section.start, end):
            break
        sections.pop()
        place, member = outer, section
    return _cut_flow(text, place, member) if place.flow_style else _cut_block(text, place, member)


def _cut_block(text: str, place: yaml.MappingNode, member: Member) -> str:
    start, end = nodes.line_start(text, member.start), nodes.line_end(text, member.end)
    if text[start : member.start].strip(" \ufeff"):
        raise nodes.Unclear("it does not stand at the beginning of a line")
    if nodes.comments_in(text, member.start, member.end):
        raise nodes.Unclear("there are comments inside its value, which would be lost")
    rest = text[member.end : end].strip()
    if rest and not rest.startswith("#"):
        raise nodes.Unclear("something else stands on its line")
    lead = text[start : member.start]
    after = nodes.past_break(text, end)
    kept = lead + rest + text[end:after] if rest else "\ufeff" * lead.count("\ufeff")
    return text[:start] + kept + text[after:]


def _cut_flow(text: str, place: yaml.MappingNode, member: Member) -> str:
    members = nodes.members(text, place)
    number = [one.start for one in members].index(member.start)
    start, end = member.start, member.end
    if number + 1 < len(members):
        end = members[number + 1].start
    else:
        if number:
            start = members[number - 1].end
        comma = re.compile(r"\s*,").match(text, end)
        end = comma.end() if comma and not number else end
    if nodes.comments_in(text, start, end):
        raise nodes.Unclear("there is a comment beside it, which would be lost")
    return text[:start] + text[end:]
