"""Themes: the bundled ones can be read by everyone, a wrong one is told from a right one."""

import itertools
from importlib import resources
from pathlib import Path

import pytest
import yaml
from textual.color import Color

from tui.contrast import contrast, hard_to_read
from tui.theme import (
    BUNDLED,
    REQUIRED,
    LoadedTheme,
    ThemeError,
    ThemeLibrary,
    default_name,
    plain_mapping,
    theme_from_text,
)
from tui.theme_proof import SERIES

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
BLINDNESS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
COMPLETE = "\n".join(f'{name}: "#{number:02x}4060"' for number, name in enumerate(REQUIRED))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "themes"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", BUNDLED)
def test_every_text_of_a_bundled_theme_can_be_read_on_every_ground(name: str) -> None:
    loaded = ThemeLibrary().load(name)
    assert hard_to_read(loaded.theme, 7.0 if name == "contrast" else 4.5) == []
    assert loaded.title
    assert loaded.about


def test_what_is_faint_is_told_and_what_is_disabled_may_be_fainter() -> None:
    fjord = ThemeLibrary().load("fjord").theme
    assert hard_to_read(fjord) == []
    faint = hard_to_read(fjord, 7.0)
    assert "text-disabled on background has a contrast of 4.5, below 7" in faint
    assert "text-muted on panel has a contrast of 5.6, below 7" in faint
    assert not any("text-disabled on panel" in line for line in faint), "3 is enough there"
    fjord.variables["text-disabled"] = "#404850"
    assert "text-disabled on panel has a contrast of 1.3, below 3" in hard_to_read(fjord)


def test_the_themes_are_of_the_kinds_that_are_promised() -> None:
    library = ThemeLibrary()
    themes = {name: library.load(name).theme for name in BUNDLED}
    assert len(themes) >= 6
    assert {theme.dark for theme in themes.values()} == {True, False}
    assert [name for name, theme in themes.items() if theme.ansi] == ["sixteen"]
    greys = [value for value in vars(themes["mono"]).values() if str(value).startswith("#")]
    assert all(len(set(Color.parse(value).rgb)) == 1 for value in greys)


def test_the_sixteen_colour_theme_names_no_other_colour() -> None:
    theme = ThemeLibrary().load("sixteen").theme
    named = [value for key, value in theme.variables.items() if "style" not in key]
    named += [theme.primary, *(str(getattr(theme, key)) for key in REQUIRED)]
    assert all(value.startswith("ansi_") for value in named)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colour_blind_see_states_and_series_apart(kind: str) -> None:
    loaded = ThemeLibrary().load("okabe")
    for group in (states_of(loaded), series_of(loaded)):
        for one, other in itertools.combinations(group, 2):
            assert distance(seen(one, kind), seen(other, kind)) > 0.08, (one.hex, other.hex)


def test_the_measure_of_colour_vision_sees_red_and_green_fall_together() -> None:
    red, green = Color.parse("#d04545"), Color.parse("#7c7c20")
    assert distance(seen(red, None), seen(green, None)) > 0.08
    assert distance(seen(red, "deuteranopia"), seen(green, "deuteranopia")) < 0.08


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(Color.parse("#000"), Color.parse("#fff")) == pytest.approx(21)
    assert contrast(Color.parse("#777"), Color.parse("#fff")) == pytest.approx(4.48, abs=0.01)


def test_an_own_theme_is_listed_after_the_bundled_ones_and_takes_a_name_over(own: Path) -> None:
    (own / "zebra.yaml").write_text(COMPLETE)
    (own / "paper.yaml").write_text(COMPLETE + "\ntitle: My paper\n")
    library = ThemeLibrary(own)
    assert library.names == [*BUNDLED, "zebra"]
    assert library.load("paper").title == "My paper"
    assert library.load("paper").path == own / "paper.yaml"
    assert library.after("zebra") == "midnight"
    assert library.after("mono") == "zebra"
    assert library.after("gone") == "midnight"


def test_series_are_repeated_until_there_are_enough() -> None:
    loaded = theme_from_text(COMPLETE + '\nseries: ["#112233", "#445566"]', "own")
    assert [loaded.theme.variables[f"series-{n}"] for n in (1, 2, 3)] == [
        "#112233",
        "#445566",
        "#112233",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COMPLETE.replace("primary", "primry"), "'primry'; 'primary' is the nearest"),
        (COMPLETE.replace('"#054060"', "#054060"), "secondary: None is no colour"),
        (COMPLETE.replace("#054060", "#05406g"), "'#05406g' is no colour"),
        (COMPLETE.replace("#054060", "#05406080"), "shine through"),
        (COMPLETE.replace("#054060", "auto"), "auto"),
        ("primary: '#ffffff'", "background, surface, panel, foreground"),
        (COMPLETE + "\ndark: maybe", "dark: true or false"),
        (COMPLETE + "\nseries: red", "series: a list"),
        (COMPLETE + "\nseries: [red, rouge]", "series, colour 2: 'rouge'"),
        (COMPLETE + "\nvariables: [1]", "variables: a mapping"),
        (COMPLETE + "\nvariables: {footer-backgrund: red}", "'footer-background' is the nearest"),
        (COMPLETE + "\nvariables: {border: rouge}", "'rouge' is no colour"),
        (COMPLETE + "\nvariables: {border: red mid}", "a share is written as 50%"),
        (COMPLETE + "\nvariables: {block-cursor-text-style: fat}", "'fat' is no style"),
        (
            COMPLETE + "\nvariables: {border: red, primary-lighten-1: red 20%}",
            "variables: primary-lighten-1: '#FF0000 20%' cannot be used there",
        ),
        (COMPLETE + "\nprimary: [", "line"),
        ("- red", "a mapping of colours"),
    ],
)
def test_what_is_wrong_in_a_theme_is_named_with_its_file(own: Path, text: str, said: str) -> None:
    (own / "mine.yaml").write_text(text)
    with pytest.raises(ThemeError) as caught:
        ThemeLibrary(own).load("mine")
    assert said in str(caught.value)
    assert str(own / "mine.yaml") in str(caught.value)


def test_a_theme_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(ThemeError, match="'midnight' is the nearest"):
        ThemeLibrary().load("midnite")


def test_a_terminal_of_few_colours_gets_a_theme_for_it() -> None:
    assert default_name() == "midnight"
    assert default_name(colours=256) == "midnight"
    assert default_name(colours=16) == "sixteen"
    assert default_name(colours=2) == "mono"


def states_of(loaded: LoadedTheme) -> list[Color]:
    theme = loaded.theme
    return [Color.parse(str(one)) for one in (theme.success, theme.warning, theme.error)]


def series_of(loaded: LoadedTheme) -> list[Color]:
    return [Color.parse(loaded.theme.variables[f"series-{n + 1}"]) for n in range(SERIES)]


def seen(colour: Color, kind: str | None) -> tuple[float, ...]:
    """Return the colour in Oklab (Ottosson 2020) as someone with that colour vision has it."""
    rgb = [part / 255 for part in colour.rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    if kind is not None:
        linear = [sum(m * v for m, v in zip(row, linear, strict=True)) for row in BLINDNESS[kind]]
    r, g, b = (min(1.0, max(0.0, part)) for part in linear)
    lms = (
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    )
    long, middle, short = (part ** (1 / 3) for part in lms)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5


@pytest.mark.parametrize("name", BUNDLED)
def test_the_quick_reader_reads_bundled_themes_as_pyyaml_does(name: str) -> None:
    text = (resources.files("themes") / f"{name}.yaml").read_text(encoding="utf-8")
    assert plain_mapping(text) == yaml.safe_load(text)
