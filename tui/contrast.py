"""How well a theme's texts can be read: WCAG 2.2's contrast of every ink on every ground. Pure."""

from __future__ import annotations

from textual.color import Color
from textual.theme import Theme

READABLE = 4.5  # WCAG 2.2, success criterion 1.4.3
FAINT = 3.0  # for what is disabled, which WCAG leaves free
# panes are drawn on the background, lists over the screen on the surface, header and footer on the
# panel; the cursor's row has a ground of its own
GROUNDS = ("background", "surface", "panel", "block-cursor-blurred-background")
INKS = (
    "foreground", "primary", "secondary", "accent", "success", "warning", "error", "text-muted",
    "text-error", "text-success", "text-warning", "text-primary", "text-accent",
)  # fmt: skip


def contrast(one: Color, other: Color) -> float:
    """Return (L1 + 0.05) / (L2 + 0.05), 1 to 21; L is the relative luminance of WCAG 2.2."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def faintest(ink: Color, ground: Color, share: float, least: float = READABLE) -> Color:
    """Return `ground` with `share` of `ink` in it, or with as much more as `least` takes."""
    blended = ground.blend(ink, share)
    while share < 1 and contrast(blended, ground) < least:
        share = min(1.0, share + 0.01)
        blended = ground.blend(ink, share)
    return blended


def hard_to_read(theme: Theme, least: float = READABLE) -> list[str]:
    """Return the pairs of text and ground below `least`, a line each; [] for a readable theme.

    What is disabled may be fainter, but on the background, where axes and units are drawn in the
    same colour. A theme of the terminal's own colours has no pairs that could be measured.
    """
    if theme.ansi:
        return []
    css = theme.to_color_system().generate() | theme.variables
    series = [key for key in css if key.startswith("series-")]
    pairs = [(ink, ground, least) for ink in (*INKS, *series) for ground in GROUNDS]
    pairs += [("text-disabled", ground, FAINT) for ground in GROUNDS[1:]]
    pairs.append(("text-disabled", "background", least))
    pairs.append(("block-cursor-foreground", "block-cursor-background", least))
    measured = [(ink, ground, _between(css, ink, ground), wanted) for ink, ground, wanted in pairs]
    return [
        f"{ink} on {ground} has a contrast of {found:.1f}, below {wanted:g}"
        for ink, ground, found, wanted in measured
        if found < wanted
    ]


def _between(css: dict[str, str], ink: str, ground: str) -> float:
    return contrast(Color.parse(css[ink]), Color.parse(css[ground]))


def _luminance(colour: Color) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in colour.rgb)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
