"""Where the parts of a YAML line are, for colouring it. Pure, one line at a time.

Settings need no more: Textual's extra for syntax brings fifteen languages in 23 MB, as much as
Textual itself.
"""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["key", "comment", "number", "string", "word"]

_KEY = re.compile(r"(?P<lead>\s*(?:-\s+)?)(?P<key>[A-Za-z_][\w.-]*|'[^']*'|\"[^\"]*\")\s*:(?=\s|$)")
_FLOW_KEY = re.compile(r"(?<=[{,])\s*([A-Za-z_][\w.-]*)\s*:(?=\s)")
_TOKEN = re.compile(
    r"(?P<string>'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<number>(?<![\w.])[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?\d+)?(?![\w.]))"
    r"|(?P<word>(?<![\w.])(?:true|false|yes|no|on|off|null)(?![\w.])|~)"
    r"|(?P<comment>(?:(?<=\s)|^)#.*$)"
)


def parts(line: str) -> list[tuple[int, int, Part]]:
    """Return (start, end, what) of the parts of a line, in order."""
    found: list[tuple[int, int, Part]] = []
    place = 0
    if not line.lstrip().startswith("#") and (match := _KEY.match(line)):
        found.append((match.start("key"), match.end("key"), "key"))
        place = match.end()
    for match in _TOKEN.finditer(line, place):
        kind = match.lastgroup
        assert kind is not None
        found.append((match.start(), match.end(), kind))  # pyright: ignore[reportArgumentType]
        if kind == "comment":
            break
    taken = [(start, end) for start, end, _ in found]
    keys: list[tuple[int, int, Part]] = [
        (match.start(1), match.end(1), "key")
        for match in _FLOW_KEY.finditer(line)
        if not any(start <= match.start(1) < end for start, end in taken)
    ]
    return sorted(found + keys)
