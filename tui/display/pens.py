"""Pens: how a cell is coloured, as SGR codes, and the shortest way from one to the next. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

# Each attribute's code with the one that ends it; 22 ends both bold and dim.
_END = {
    "1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28",
    "9": "29", "21": "24", "51": "54", "52": "54", "53": "55",
}  # fmt: skip
_SEEN_ON_BLANKS = frozenset({"4", "7", "9", "21", "51", "52", "53"})


class Pen(NamedTuple):
    """A cell's attributes and colours; "" is the terminal's own colour."""

    attributes: frozenset[str] = frozenset()
    ink: str = ""
    ground: str = ""

    @property
    def codes(self) -> str:
        """Its SGR parameters, from a plain pen."""
        parts = (*sorted(self.attributes, key=int), self.ink, self.ground)
        return ";".join(part for part in parts if part)


PLAIN = Pen()


@lru_cache(4096)
def pen_of(codes: str) -> Pen:
    """Return the pen that SGR parameters make, as Rich and Textual write them.

    Raises ValueError for parameters that they do not write.
    """
    attributes: set[str] = set()
    ink = ground = ""
    parts = iter(codes.split(";") if codes else ())
    for part in parts:
        number = int(part)
        if part in _END:
            attributes.add(part)
        elif number in (38, 48):
            mode = next(parts)
            rest = [next(parts) for _ in range({"2": 3, "5": 1}[mode])]
            colour = ";".join((part, mode, *rest))
            ink, ground = (colour, ground) if number == 38 else (ink, colour)
        elif 30 <= number <= 37 or 90 <= number <= 97:
            ink = part
        elif 40 <= number <= 47 or 100 <= number <= 107:
            ground = part
        elif number == 39:
            ink = ""
        elif number == 49:
            ground = ""
        else:
            raise ValueError(f"SGR {part} in {codes}")
    return Pen(frozenset(attributes), ink, ground)


@lru_cache(4096)
def blank_pen(pen: Pen) -> Pen:
    """Return what of a pen can be seen on a blank: its ground, where no line runs through it."""
    if pen.attributes & _SEEN_ON_BLANKS:
        return pen
    return Pen(frozenset(), "", pen.ground)


@lru_cache(4096)
def pen_for_blank(held: Pen, wanted: Pen) -> Pen:
    """Return the pen nearest to `held` that draws a blank like `wanted`, a blank's pen."""
    if wanted.attributes:
        return wanted
    return Pen(held.attributes - _SEEN_ON_BLANKS, held.ink, wanted.ground)


@lru_cache(8192)
def change(held: Pen, wanted: Pen) -> str:
    """Return the shortest sequence from one pen to another; "" where there is nothing to do."""
    if held == wanted:
        return ""
    ends = {_END[code] for code in held.attributes - wanted.attributes}
    kept = {code for code in held.attributes if _END[code] not in ends}
    parts = [*sorted(ends, key=int), *sorted(wanted.attributes - kept, key=int)]
    if held.ink != wanted.ink:
        parts.append(wanted.ink or "39")
    if held.ground != wanted.ground:
        parts.append(wanted.ground or "49")
    step = f"\x1b[{';'.join(parts)}m"
    afresh = f"\x1b[0;{wanted.codes}m" if wanted.codes else "\x1b[m"
    return min(step, afresh, key=len)
