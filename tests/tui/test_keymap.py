"""Keys that a person chose: taken, or left out with the reason."""

from collections.abc import Callable
from typing import Any

import pytest

from tui.app import DiffoptApp
from tui.keymap import checked
from tui.keys import KEYS
from tui.options import Options
from tui.preferences import config_folder
from tui.widgets.footer import Footer


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_every_key_of_the_table_could_be_written_down_as_it_is(key: Any) -> None:
    assert checked({key.id: key.keys}) == ({key.id: key.keys}, [])


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"run.pause": "p, f8"}, {"run.pause": "p,f8"}),
        ({"run.pause": "%"}, {"run.pause": "percent_sign"}),
        ({"run.pause": "ctrl+alt+p"}, {"run.pause": "ctrl+alt+p"}),
        ({"run.pause": "c", "run.cancel_stage": "p"}, {"run.pause": "c", "run.cancel_stage": "p"}),
        ({"run.pause": 8}, {"run.pause": "8"}),  # without quotes a number to YAML
        ({"run.retry": "s"}, {"run.retry": "s"}),  # nothing is sorted on Live
    ],
)
def test_keys_are_taken_as_they_are_written(wanted: dict[str, Any], taken: dict[str, str]) -> None:
    assert checked(wanted) == (taken, [])


@pytest.mark.parametrize(
    "key",
    [
        "Space", "Escape", "Tab", "Backspace", "solidus", "low_line", "digit_one", "ctrl+/",
        "shift+a", "shift+slash", "ctrl+P", "ctrl++", "snowmen",
    ],
)  # fmt: skip
def test_a_name_that_no_terminal_sends_is_no_key(key: str) -> None:
    assert checked({"run.pause": key}) == (
        {},
        [f"run.pause: '{key}' is no key; left out. Keys are written as p, f8, ctrl+p, space."],
    )


@pytest.mark.parametrize(
    "key",
    [
        "space", "escape", "backspace", "slash", "underscore", "full_stop", "less_than_sign", "<",
        "snowman", "ä", "ctrl+@", "ctrl+slash", "ctrl+shift+a", "alt+p", "shift+f5", "shift+enter",
        "shift+space",
    ],
)  # fmt: skip
def test_a_name_that_a_terminal_sends_is_a_key(key: str) -> None:
    taken, problems = checked({"runs.empty_trash": key})
    assert not any("is no key" in problem for problem in problems)
    assert taken or problems, "taken, or another's"


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (
            {"run.puase": "p"},
            "run.puase: no action is called so; left out. Did you mean run.pause?",
        ),
        ({"x": "p"}, "x: no action is called so; left out. docs/dashboard.md lists the ids."),
        (
            {"run.pause": None},
            "run.pause: None is no key to YAML; left out. Write it in quotes, as '~' or 'p,f8'.",
        ),
        (
            {"run.pause": ["p", "f8"]},
            "run.pause: ['p', 'f8'] is no key to YAML; left out. "
            "Write it in quotes, as '~' or 'p,f8'.",
        ),
        (
            {"run.pause": True},
            "run.pause: True is no key to YAML; left out. Write it in quotes, as '~' or 'p,f8'.",
        ),
        ({7: "p"}, "7: no action is called so; left out. docs/dashboard.md lists the ids."),
        ({"run.pause": " , "}, "run.pause: no key is named; left out. It keeps p."),
        (
            {"run.pause": "p,ctr+x"},
            "run.pause: 'ctr+x' is no key; left out. Keys are written as p, f8, ctrl+p, space.",
        ),
        (
            {"run.pause": "?"},
            "run.pause: ? is the key of app.help in the same place; left out. "
            "Give app.help another one.",
        ),
        (
            {"view.follow": "j"},
            "view.follow: j is the key of pane.down in the same place; left out. "
            "Give pane.down another one.",
        ),
    ],
)
def test_a_mistake_is_told_and_leaves_out_its_own_line_only(
    wanted: dict[Any, Any], problem: str
) -> None:
    assert checked({**wanted, "runs.new": "f8"}) == ({"runs.new": "f8"}, [problem])


def test_two_actions_that_take_each_other_s_key_may_both_have_it() -> None:
    half = {"run.pause": "c"}
    assert checked(half)[0] == {}
    assert len(checked({**half, "run.cancel_stage": "p"})[0]) == 2


def test_the_dashboard_opens_with_the_good_ones_and_tells_the_rest(
    options: Options, go: Callable[..., Any]
) -> None:
    path = config_folder() / "ui.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "tehme: ember\nkeys: {app.help: f7, run.puase: p, view.zoom: 9, view.find: no}\n"
    )

    async def story() -> None:
        app = DiffoptApp(options)
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.pause()
            assert "F7 Help" in app.screen.query_one(Footer).render_line(0).text
            told = " ".join(notice.text for notice in app.notices)
            assert f"{path}: tehme: this version knows no such choice; left out." in told
            assert f"{path}: keys: run.puase: no action is called so" in told
            assert f"{path}: keys: view.find: False is no key to YAML" in told
            assert app._keymap["view.zoom"] == "9"

    go(story())
