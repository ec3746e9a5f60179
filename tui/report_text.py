"""A run's report.md as lines for a pane: headings, wrapped words, tables in columns. Pure.

For the Markdown that engine/report.py writes, not for any: no lists, no links, no nesting.
"""

from __future__ import annotations

import re
import textwrap
from itertools import groupby

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui import format as words

_GAP = "  "
_LEAST = 24  # cells of a table's last column, which is wrapped where the table is wider than that
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")


def report_lines(text: str, width: int) -> list[Content]:
    """Return the report in lines; those of prose are `width` cells at most, tables may be wider."""
    out: list[Content] = []
    for kind, lines in groupby(text.splitlines(), key=_kind):
        if kind == "table":
            out += _table([_cells(line) for line in lines], width)
        elif kind == "words":
            out += _words(" ".join(lines), width)
        else:
            out += [_single(words.printable(line)) for line in lines]
    return out


def _kind(line: str) -> str:
    if line.startswith("|"):
        return "table"
    return "words" if line and line[0] not in "#!" else "single"


def _words(text: str, width: int) -> list[Content]:
    style = "bold" if text.startswith("**") else ""
    plain = words.printable(text.replace("**", "").replace("`", ""))
    return [Content.styled(part, style) for part in textwrap.wrap(plain, max(_LEAST, width))]


def _single(line: str) -> Content:
    """Return a heading, the place of a picture, or an empty line."""
    if (picture := _PICTURE.fullmatch(line)) is not None:
        return Content.styled(f"{picture[1]}: {picture[2]}", "$text-muted")
    return Content.styled(line.lstrip("# "), "bold $accent")


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [words.printable(cell.strip().replace("`", "")) for cell in inner.split("|")]


def _table(rows: list[list[str]], width: int) -> list[Content]:
    """Return a table's rows; the last column is wrapped where that makes the table fit."""
    head, *body = [row for row in rows if any(set(cell) - set("-: ") for cell in row)]
    count = max(map(len, [head, *body]))
    table = [[*row, *[""] * (count - len(row))] for row in ([head] if any(head) else []) + body]
    widths = [max(cell_len(row[column]) for row in table) for column in range(count)]
    room = width - sum(widths[:-1]) - len(_GAP) * (count - 1)
    widths[-1] = min(widths[-1], room) if room >= _LEAST else widths[-1]
    out: list[Content] = []
    for number, row in enumerate(table):
        style = "$text-muted" if number == 0 and any(head) else ""
        parts = textwrap.wrap(row[-1], max(1, widths[-1])) or [""]
        for place, part in enumerate(parts):
            cells = row[:-1] if place == 0 else [""] * (count - 1)
            fitted = [set_cell_size(cell, size) for cell, size in zip(cells, widths, strict=False)]
            out.append(Content.styled(_GAP.join([*fitted, part]).rstrip(), style))
    return out
