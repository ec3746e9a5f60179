"""What keys do here now: the bindings that the focus reaches, which are grey, and why they are.

Footer, help and palette are made of it; each does what a key does, or tells why it cannot be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.dom import DOMNode
from textual.screen import Screen

from engine.run.fact import Fact
from tui.keys import KEYS

if TYPE_CHECKING:
    from tui.app import DiffoptApp

UNKNOWN = "That cannot be done now."
_PLACE = {key.id: place for place, key in enumerate(KEYS)}


class LiveKey(Fact):
    """A binding that works here, or would if it were not grey."""

    id: str
    key: str  # the key as bound, after the user's keymap
    words: str
    action: str
    node: DOMNode
    is_enabled: bool

    @property
    def why_not(self) -> str:
        """Why it is grey, "" where it is not."""
        target, name = _target(self.node, self.action)
        return "" if self.is_enabled else reason(target, name)


def live_keys(screen: Screen[Any]) -> list[LiveKey]:
    """Return the bindings that the focus reaches and that something answers, in table order."""
    found: list[LiveKey] = []
    for key, active in screen.active_bindings.items():
        node, binding = active.node, active.binding
        if not answers(node, binding.action):
            continue
        found.append(
            LiveKey(binding.id or "", key, binding.description, binding.action, node,
                    active.enabled)
        )  # fmt: skip
    found.sort(key=lambda one: _PLACE.get(one.id, -1))
    return found


def answers(node: DOMNode, action: str) -> bool:
    """Return whether an action has a method that does it."""
    target, name = _target(node, action)
    return hasattr(target, f"action_{name}") or hasattr(target, f"_action_{name}")


def reason(target: object, action: str) -> str:
    """Return why `target` cannot do an action now."""
    tell = getattr(target, "why_not", None)
    return (tell(action) if tell else None) or UNKNOWN


def grey_binding(screen: Screen[Any], key: str) -> tuple[str, DOMNode] | None:
    """Return action and node of a key where the first that binds it is grey; None where none is."""
    for node, bindings in screen._modal_binding_chain:
        for binding in bindings.key_to_bindings.get(key, ()):
            state = screen.app._check_action_state(binding.action, node)
            if state:
                return None
            if state is None:  # False is for what is not bound at all
                return binding.action, node
    return None


def do(app: DiffoptApp, action: str, node: DOMNode) -> None:
    """Do what a key does, or tell why it cannot be done now."""
    target, name = _target(node, action)
    if not app._check_action_state(action, node) and hasattr(target, "look_again"):
        target.look_again(reason(target, name))  # pyright: ignore[reportAttributeAccessIssue]
    if app._check_action_state(action, node):
        app.call_later(app.run_action, action, node)
    else:
        refuse(app, reason(target, name))


def refuse(app: DiffoptApp, why: str) -> None:
    """Tell why something cannot be done."""
    app.tell(why, "warning", kind=f"refused {why}")


def _target(node: DOMNode, action: str) -> tuple[DOMNode, str]:
    """Return who does an action, and its name."""
    name = action.partition("(")[0]
    namespace, _, name = name.rpartition(".")
    return {"app": node.app, "screen": node.screen}.get(namespace, node), name
