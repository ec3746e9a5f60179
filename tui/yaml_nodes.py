"""Where things stand in a YAML text: PyYAML's marks, made good where they mislead. Pure.

A node's `start_mark` takes in its anchor and tag, an alias carries the marks of what it points at,
a block's `end_mark` lies past the comments and blank lines that follow, an empty value has none.
Used by `yaml_edit`.
"""

import re
from collections.abc import Sequence

import yaml

from engine.run.fact import Fact
from engine.yaml_text import SettingsLoader

BREAKS = "\n\r\x85\u2028\u2029"
_COLON = re.compile(r"\s*:")
_ALIAS = re.compile(r"\s*\*[^\s,\[\]{}]+")
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s*)+")


class Unclear(Exception):
    """There is no safe place for the edit; the message says why, to follow a key and a colon."""


class Member(Fact):
    """One `key: value` of a mapping, as character positions."""

    name: str
    value: yaml.Node
    start: int  # of the key
    colon_end: int | None  # None where a flow mapping has a bare key
    end: int  # of the value itself, without what follows it
    is_alias: bool


def members(text: str, mapping: yaml.MappingNode) -> list[Member]:
    """Return what stands in a mapping itself; merged keys do not."""
    found = []
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            raise Unclear("a key beside it is no plain word")
        start, end = key.start_mark.index, key.end_mark.index
        colon = _COLON.match(text, end)
        colon_end = colon.end() if colon else None
        is_alias = value.start_mark.index < start
        if is_alias:
            alias = _ALIAS.match(text, colon_end or end)
            if alias is None:
                raise Unclear("its alias cannot be found in the text")
            value_end = alias.end()
        else:
            value_end = max(_true_end(text, value), colon_end or end)
        found.append(Member(str(key.value), value, start, colon_end, value_end, is_alias))
    return found


def find(text: str, mapping: yaml.MappingNode, name: str) -> Member | None:
    """Return the member called `name`, None where there is none."""
    return next((one for one in members(text, mapping) if one.name == name), None)


def content_span(text: str, member: Member) -> tuple[int, int]:
    """Return where a value's own words begin and end; equal where it is empty."""
    if member.is_alias:
        assert member.colon_end is not None
        return text.index("*", member.colon_end), member.end
    start = member.value.start_mark.index
    if member.colon_end is None or start < member.colon_end:
        start = member.colon_end if member.colon_end is not None else member.end
        return start, start
    return min(past_properties(text, start, member.end), member.end), member.end


def past_properties(text: str, start: int, end: int) -> int:
    """Return where a value begins past its anchor and tag."""
    match = _PROPERTIES.match(text, start, end)
    return match.end() if match else start


def comments_in(text: str, start: int, end: int) -> list[str]:
    """Return the comments between two places."""
    found, place = [], 0
    try:
        for token in yaml.scan(text, Loader=SettingsLoader):
            first, last = token.start_mark.index, token.end_mark.index
            found += _comments_of_gap(text, max(place, start), min(first, end))
            is_block = isinstance(token, yaml.ScalarToken) and token.style in ("|", ">")
            if is_block and start <= first < end and "#" in text[first : line_end(text, first)]:
                found.append(text[first : line_end(text, first)])
            place = max(place, last)
    except yaml.YAMLError as error:  # it parsed a moment ago
        raise Unclear("its surroundings cannot be read") from error
    return found + _comments_of_gap(text, max(place, start), end)


def _comments_of_gap(text: str, start: int, end: int) -> list[str]:
    gap = text[start:end] if start < end else ""
    return re.findall(r"#[^\n\r\x85\u2028\u2029]*", gap)


def _true_end(text: str, node: yaml.Node) -> int:
    """Return where a node's own text ends."""
    if isinstance(node, yaml.ScalarNode):
        end = node.end_mark.index
        if node.style in ("|", ">"):
            return node.start_mark.index + len(text[node.start_mark.index : end].rstrip())
        return end
    assert isinstance(node, yaml.CollectionNode)
    if node.flow_style:
        return node.end_mark.index
    if isinstance(node, yaml.MappingNode):
        return members(text, node)[-1].end
    last = node.value[-1]
    if last.start_mark.index < node.start_mark.index:
        raise Unclear("its list ends in an alias")
    if last.start_mark.index == last.end_mark.index:
        # an empty item: its mark stands behind the dash
        return last.end_mark.index
    return _true_end(text, last)


def line_start(text: str, place: int) -> int:
    """Return where the line of `place` begins."""
    while place and text[place - 1] not in BREAKS:
        place -= 1
    return place


def line_end(text: str, place: int) -> int:
    """Return where the line of `place` ends, before its break."""
    while place < len(text) and text[place] not in BREAKS:
        place += 1
    return place


def past_break(text: str, place: int) -> int:
    """Return where the line after the break at `place` begins."""
    if text[place : place + 2] == "\r\n":
        return place + 2
    return min(place + 1, len(text))


def past_indented_comments(text: str, end: int, column: int) -> int:
    """Return the end of the last comment line that follows and is indented deeper than `column`."""
    place = end
    while place < len(text):
        start = past_break(text, place)
        place = line_end(text, start)
        line = text[start:place]
        if not line.strip().startswith("#") or len(line) - len(line.lstrip(" ")) <= column:
            return end
        end = place
    return end


def above_comments(text: str, start: int) -> int:
    """Return where the comment lines begin that stand right above the line at `start`."""
    while start:
        above = line_start(text, start - 1 - text[:start].endswith("\r\n"))
        if not text[above:start].strip().startswith("#"):
            break
        start = above
    return start


def has_blank_line_above(text: str, found: Sequence[Member]) -> bool:
    """Return whether sections are set apart by blank lines here."""
    for member in found:
        if not isinstance(member.value, yaml.MappingNode) or member.is_alias:
            continue
        start = above_comments(text, line_start(text, member.start))
        above = line_start(text, max(0, start - 1 - text[:start].endswith("\r\n")))
        if start and not text[above:start].strip():
            return True
    return False


def usual_indentation(root: yaml.MappingNode | None) -> int:
    """Return by how many columns sections are indented here, 2 where there are none."""
    for key, value in root.value if root else ():
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        if is_block and value.start_mark.index > key.start_mark.index:
            step = value.value[0][0].start_mark.column - key.start_mark.column
            if step > 0:
                return step
    return 2


def flow_of(lines: Sequence[str]) -> str:
    """Return nested `key:` lines as the inside of a flow mapping."""
    first, *rest = (line.strip() for line in lines)
    return first if not rest else f"{first} {{{flow_of(rest)}}}"
