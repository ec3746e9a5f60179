"""The style sheet is parsed for other colours only."""

import pytest

from tui.display.rules import StyleRules


@pytest.fixture
def rules() -> StyleRules:
    made = StyleRules(variables={"ink": "#ff0000"})
    made.add_source("Label { color: $ink; }", read_from=("here", ""))
    return made


def colour(rules: StyleRules) -> str:
    (rule,) = rules.rules
    return rule.styles.color.hex


def test_the_same_colours_are_not_parsed_again(rules: StyleRules) -> None:
    before = rules.rules
    rules.set_variables({"ink": "#ff0000"})
    rules.reparse()
    assert rules.rules is before


def test_other_colours_are(rules: StyleRules) -> None:
    assert colour(rules) == "#FF0000"
    rules.set_variables({"ink": "#00ff00"})
    rules.reparse()
    assert colour(rules) == "#00FF00"


def test_a_source_that_comes_later_is_parsed_with_the_colours_of_now(rules: StyleRules) -> None:
    rules.set_variables({"ink": "#0000ff"})
    rules.reparse()
    rules.add_source("Input { color: $ink; }", read_from=("there", ""))
    assert [rule.styles.color.hex for rule in rules.rules] == ["#0000FF", "#0000FF"]
