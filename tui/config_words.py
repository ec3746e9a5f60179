"""What the Config screen says: help by key, differences, the line of cost. Pure; no widgets."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tui import format
from tui.schema import Section, Setting, sections
from tui.typed_values import MISSING, shown

if TYPE_CHECKING:
    from engine.config_check import Fault
    from engine.estimate import Estimate
    from tui.draft import Draft

KINDS = {
    "bool": "yes or no", "choice": "one of", "int": "whole number", "float": "number",
    "text": "text", "path": "path (tab completes)", "ints": "whole numbers", "floats": "numbers",
    "texts": "words", "choices": "some of",
}  # fmt: skip
_MUTED, _DIM = "$text-muted", "$text-disabled"


def help_lines(draft: Draft, setting: Setting, width: int, lock: str = "") -> list[Content]:
    """Return what is to be known about a setting."""
    facts = [KINDS[setting.kind]]
    if setting.choices:
        facts[0] += f": {', '.join(map(str, setting.choices))}"
    if setting.is_optional:
        facts.append("or null")
    if setting.bounds:
        facts.append(setting.bounds)
    if setting.unit:
        facts.append(f"in {setting.unit}")
    usual = "no default" if setting.is_required else f"default {shown(setting.default) or 'empty'}"
    lines: list[Content] = []
    fault = draft.fault_of(setting.key)
    if fault is not None:
        where = f"line {fault.line}: " if fault.line else ""
        lines += _wrapped(f"{where}{fault.message}", width, "bold $text-error")
    if lock:
        lines += _wrapped(lock, width, "$text-warning")
    lines += _wrapped(" · ".join([*facts, usual]), width, _MUTED)
    lines += _wrapped(_sentence(setting.description), width, "")
    return lines


def section_lines(section: Section, width: int) -> list[Content]:
    """Return what a section is about."""
    lines = _wrapped(section.help, width, "")
    lines += _wrapped("enter opens and closes · / finds a key · F2 the YAML", width, _MUTED)
    return lines


def live_words(live: list[str]) -> str:
    """Return the settings that may change, a section of nothing else by its name alone."""
    names: list[str] = []
    for section in sections():
        mine = [one.key for one in section.settings if one.key in live]
        names += [section.name] if len(mine) == len(section.settings) and section.name else mine
    return ", ".join(f"`{name}`" for name in names)


def offer_lines(names: tuple[str, ...], width: int, height: int) -> list[Content]:
    """Return the names that a path may go on with, in columns; what has no room is counted."""
    if not names:
        return []
    cell = min(width, max(map(len, names)) + 2)
    across = max(1, width // cell)
    room = across * height if len(names) <= across * height else across * (height - 1)
    shown, more = names[:room], len(names) - room
    rows = [shown[at : at + across] for at in range(0, len(shown), across)]
    lines = [Content("".join(f"{_cut(name, cell - 1):<{cell}}" for name in row)) for row in rows]
    return [*lines, *([Content.styled(f"and {more} more", _MUTED)] if more > 0 else [])]


def diff_lines(draft: Draft, width: int) -> list[Content]:
    """Return the settings that differ from their defaults, old and new."""
    changes = draft.changed()
    if not changes:
        return [Content.styled("Nothing differs from the defaults.", _MUTED)]
    name = max(len(one.key) for one in changes) + 1
    lines = []
    for one in changes:
        old = "" if one.old is MISSING else f"  was {shown(one.old) or 'empty'}"
        if one.old is MISSING and one.key not in ("model_path",):
            old = "  no setting of that name"
        new = draft.words(one.key) if one.new is not None else "null"
        room = max(8, width - name)
        lines.append(
            Content.assemble((one.key.ljust(name), ""), (_cut(new, room), "bold $accent"),
                             (_cut(old, max(0, room - len(new))), _MUTED))
        )  # fmt: skip
    return lines


def unified_lines(diff: list[str]) -> list[Content]:
    """Return a unified diff in colours that do not speak alone: each line keeps its sign."""
    styles = {"+": "$text-success", "-": "$text-error", "@": _MUTED}
    if not diff:
        return [Content.styled("The text is as it is on disk.", _MUTED)]
    return [Content.styled(line, styles.get(line[:1], "")) for line in diff]


def state_words(draft: Draft) -> str:
    """Return "2 errors · 3 changed"."""
    faults, changed = len(draft.faults), len(draft.changed())
    words = [f"{faults} error{'s' if faults != 1 else ''}"] if faults else []
    return " · ".join([*words, f"{changed} changed"])


def why_not_start(draft: Draft, lock: str) -> str | None:
    """Return why no run can be started from the draft; None where one can."""
    if lock:
        return lock
    if not draft.faults:
        return None
    fault = draft.faults[0]
    more = f" and {len(draft.faults) - 1} more" if len(draft.faults) > 1 else ""
    where = fault.key or (f"line {fault.line}" if fault.line else "the YAML")
    return f"{where}: {beside_key(fault)}{more} (^n goes there)"


def beside_key(fault: Fault) -> str:
    """Return what is wrong for a place where the key stands already: "[2, 3]; wanted …"."""
    return fault.message.removeprefix(f"{fault.key} is ")


def cost_line(estimate: Estimate | None, width: int) -> Content:
    """Return what a run costs, and how sure that is."""
    if estimate is None:
        return Content.styled(" estimating…", _DIM)
    if estimate.problem:
        return Content.styled(_cut(f" no estimate: {estimate.problem}", width), "$text-warning")
    parts: list[Any] = [" "]
    if estimate.seconds is not None:
        parts += [("≈ ", _MUTED), (format.duration(estimate.seconds), "bold")]
        if estimate.spread > 1.3 and width >= 100:
            low, high = estimate.seconds / estimate.spread, estimate.seconds * estimate.spread
            parts.append((f" ({format.duration(low)} to {format.duration(high)})", _MUTED))
        parts.append((f" {estimate.basis}", _MUTED))
    else:
        parts.append((f"time unknown, {estimate.basis}", _MUTED))
    memory = format.bytes_(estimate.memory_bytes, is_binary=True)
    parts += [(" · memory ", _MUTED), (memory, "bold")]
    if estimate.machine_bytes and not estimate.fits:
        parts.append((" (too much)", "bold $text-error"))
    if estimate.machine_bytes and (width >= 100 or not estimate.fits):
        parts.append((f" of {format.bytes_(estimate.machine_bytes, is_binary=True)}", _MUTED))
    parts += [(" · disk ", _MUTED), (format.bytes_(estimate.disk_bytes), "bold")]
    if not estimate.has_room:
        parts.append((" (too much)", "bold $text-error"))
    line = Content.assemble(*parts)
    return line if line.cell_length <= width else line[: max(0, width - 1)] + "…"


def _wrapped(text: str, width: int, style: str) -> list[Content]:
    return [Content.styled(line, style) for line in textwrap.wrap(text, max(20, width)) or [""]]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…" if width > 1 else ""
