"""Write the key table of docs/dashboard.md from the table that the bindings are made of.

`python scripts/write_key_table.py` writes it; a test holds the page equal to it.
"""

from __future__ import annotations

from pathlib import Path

from tui.keys import KEYS, Key, key_words

PAGE = Path(__file__).resolve().parents[1] / "docs" / "dashboard.md"
BEGIN, END = "<!-- keys: written by scripts/write_key_table.py -->", "<!-- end of keys -->"
_WHERE = {"app": "the four screens", "over": "report, themes, notices", "pane": "lists"}
_EVERYWHERE = ("app.back", "app.redraw")  # esc closes every window; ^l comes before all of them


def key_table() -> str:
    """Return the table in Markdown, a group at a time."""
    lines = ["| Key | What it does | Where | Id for the keymap |", "|---|---|---|---|"]
    for group in dict.fromkeys(key.group for key in KEYS):
        lines.append(f"| **{group}** | | | |")
        lines += [_line(key) for key in KEYS if key.group == group]
    return "\n".join(lines)


def page_with_table(page: str) -> str:
    """Return the page with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{key_table()}\n\n{END}{after}"


def _line(key: Key) -> str:
    keys = " ".join(f"`{key_words(one)}`" for one in key.keys.split(","))
    asks = "" if not key.is_asked or "asked" in key.help else "; asks"
    where = ", ".join(_WHERE.get(screen, screen.capitalize()) for screen in key.screens)
    where = "everywhere" if key.id in _EVERYWHERE else where
    return f"| {keys} | {key.help}{asks} | {where} | `{key.id}` |"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
