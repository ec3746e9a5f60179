"""What a person's theme may say: all that passes can be worn, on every screen there is."""

import importlib
import pkgutil
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from rich.style import Style
from textual.app import App
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode
from textual.markup import parse_style

import tui.app
import tui.screens
import tui.widgets
from tui.theme import BUNDLED, REQUIRED, ThemeError, ThemeLibrary, theme_from_text
from tui.theme_proof import COLOURS, checked_variable, unusable

COMPLETE = "\n".join(f'{name}: "#{number:02x}4060"' for number, name in enumerate(REQUIRED))
WORDS = (
    "red", "#7cb0ff", "#7cb0ff80", "ansi_cyan", "ansi_default", "rgb(1, 2, 3)", "hsl(20, 50%, 40%)",
    "auto", "initial", "transparent", "none", "not", "bold", "b", "r", "reverse", "dim",
    "underline", "50%", "0%", "100%", "500%", "12.5%", "-5%", "50", "5fr", "$primary", "$nothing",
    "round", "on", "link", "!important", ";", "}", "/*", '"x"', "é",
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("background", "initial", "background: 'initial' is no colour"),
        ("primary", "initial", "primary: 'initial' is no colour"),
        ("border-blurred", "auto", "border-blurred: auto is not for it"),
        ("text", "initial", "text: initial is not for it"),
        ("border", "auto 500%", "a share is written as 50%, of 100% at most"),
        ("border", "red 500%", "a share is written as 50%, of 100% at most"),
        ("border", "red 12.5%", "a share is written as 50%, of 100% at most"),
        ("link-style", "not", "not stands before another word"),
        ("link-style", "none bold", "none stands alone"),
        ("link-style", "not not bold", "not stands before another word"),
        ("link-style", "r", "'r' is no style"),
        ("surface", "transparent", "shine through"),
        ("series-2", "red 50%", "'red 50%' is no colour"),
        ("border", "[" * 500, "is no colour"),
        ("border", 7, "7 is no colour and no style"),
    ],
)
def test_a_value_that_textual_would_fail_on_is_refused_by_name(
    key: str, value: object, said: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        checked_variable(key, value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("border", "ansi_cyan"),
        ("border", "#7cb0ff 40%"),
        ("border", "rgb(1, 2, 3) 40%"),
        ("text-muted", "auto 70%"),
        ("footer-key-background", "transparent"),
        ("link-background", "initial"),
        ("link-style-hover", "bold not underline"),
        ("block-cursor-text-style", "none"),
        ("scrollbar", "hsl(20, 50%, 40%)"),
    ],
)
def test_what_textual_itself_says_of_such_a_variable_may_be_said(key: str, value: str) -> None:
    assert theme_from_text(f"{COMPLETE}\nvariables: {{{key}: '{value}'}}", "mine").theme


def test_all_that_passes_can_be_used_by_every_rule_and_style_of_every_screen() -> None:
    """Values are put together at random from words that Textual gives a meaning, and others."""
    chance = random.Random(20)
    plain = ThemeLibrary().load("fjord").theme
    css = plain.to_color_system().generate() | plain.variables
    tried = [(key, " ".join(chance.choices(WORDS, k=chance.choice((1, 1, 2, 3))))) for key in css
             for _ in range(25)]  # fmt: skip
    passed: dict[str, list[str]] = {}
    for key, value in tried:
        try:
            written = checked_variable(key, value)
        except ValueError:
            continue
        if written not in passed.setdefault(key, []):
            passed[key].append(written)
    assert sum(map(len, passed.values())) > 300, "or nothing much was tried"
    for turn in range(max(map(len, passed.values()))):
        worn = css | {key: values[turn % len(values)] for key, values in passed.items()}
        assert unusable(worn, list(passed)) is None
        use_everywhere(worn)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_theme_can_be_used_everywhere(name: str) -> None:
    theme = ThemeLibrary().load(name).theme
    use_everywhere(theme.to_color_system().generate() | theme.variables)


def test_the_sheet_that_themes_are_tried_on_is_the_whole_one_and_finds_what_is_wrong() -> None:
    theme = ThemeLibrary().load("fjord").theme
    css = theme.to_color_system().generate() | theme.variables
    for broken in ({"border-blurred": "auto 500% x"}, {"background": "initial"}, {"border": "("}):
        with pytest.raises(Exception, match=r"."):
            use_everywhere(css | broken)


@pytest.mark.parametrize("key", [*COLOURS, "variables", "series"])
def test_a_message_stays_short_however_large_the_value_is(key: str) -> None:
    text = COMPLETE.replace(f"{key}:", "x:") if key in COLOURS else COMPLETE
    nested = "{" + ", ".join(f"a{n}: [1, 2, 3, 4, 5, 6, 7, 8, 9]" for n in range(500)) + "}"
    lines = [line for line in text.splitlines() if not line.startswith("x:")]
    with pytest.raises(ThemeError) as caught:
        theme_from_text("\n".join([*lines, f"{key}: {nested}"]), "mine")
    assert len(str(caught.value)) < 400


def use_everywhere(css: dict[str, str]) -> None:
    """Parse every rule of the dashboard, and every style that a line of it may name."""
    sheet = Stylesheet(variables=css)
    for node in all_nodes():
        if text := node.__dict__.get("DEFAULT_CSS"):
            where = (node.__module__, node.__qualname__)
            sheet.add_source(text, read_from=where, is_default_css=True)
    sheet.read(Path(tui.app.__file__).with_name("diffopt.tcss"))
    sheet.parse()
    for rules in sheet.rules:
        for name, value in rules.styles.get_rules().items():
            if name.endswith("_style") and isinstance(value, str):
                Style.parse(value)
    for name, value in css.items():
        if "style" not in name and name != "link-background":  # which only Textual's rules name
            for style in (f"bold ${name}", f"${name} 60% on ${name}"):
                parse_style(style, {name: value})


@cache
def all_nodes() -> tuple[type[DOMNode], ...]:
    for package in (tui.screens, tui.widgets):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    for name in ("tui.asking", "tui.dialogs", "textual.command", "textual.widgets._toast"):
        importlib.import_module(name)
    assert issubclass(App, DOMNode)
    return tuple(dict.fromkeys(children(DOMNode)))


def children(node: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for child in node.__subclasses__():
        yield child
        yield from children(child)
