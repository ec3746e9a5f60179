"""DiffoptScreen: what the four screens have in common.

A header line, a banner that is there only while it has something to say, the body, a footer by
focus; panes that are walked with tab and zoomed with z; timers that stand still while hidden.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingsMap, BindingType
from textual.containers import Container
from textual.content import Content
from textual.dom import DOMNode
from textual.reactive import Reactive
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from tui.live_keys import do, grey_binding
from tui.widgets.banner import Banner
from tui.widgets.footer import Footer
from tui.widgets.header import Header

if TYPE_CHECKING:
    from engine.run import RunFolder
    from tui.app import DiffoptApp

LEAST_WIDTH, LEAST_HEIGHT = 80, 24
MOST_HELD_SECONDS = 0.5
_TAKES_NO_KEY = DOMNode.check_consume_key


class DiffoptScreen(Screen[None], inherit_bindings=False):
    """Base of Runs, Config, Live and Compare.

    A child names itself, yields its panes in `compose_body`, and writes `action_*` methods for the
    keys of its scope in the table. Its timers go through `every`, so that they stand still while
    the screen is hidden.
    """

    NAME: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = []
    AUTO_FOCUS: ClassVar[str | None] = "#body Pane, #body *"  # pyright: ignore[reportIncompatibleVariableOverride]

    # A moved focus repaints the two panes by itself; Textual would repaint the whole screen, which
    # took half of the time from a key to the terminal.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self) -> None:
        """Make the screen, empty."""
        super().__init__(classes=f"screen-{self.NAME}")
        self._timers_of_screen: list[Timer] = []
        self._held = ExitStack()  # paints held back
        self.is_held = False
        self.is_shown = self._was_shown = False

    @property
    def _binding_chain(self) -> list[tuple[DOMNode, BindingsMap]]:
        """The bindings from the focus up; a key asks for them five times.

        Textual copies them each time, for what is typed into and for the user's own keys. Where
        neither is, nothing changes them.
        """
        focused = self.focused
        if focused is None or focused.loading or self.app._keymap:
            return super()._binding_chain
        nodes = focused.ancestors_with_self
        if any(type(node).check_consume_key is not _TAKES_NO_KEY for node in nodes):
            return super()._binding_chain
        return [(node, node._bindings) for node in nodes]

    @property
    def diffopt(self) -> DiffoptApp:
        """The app, by its own type."""
        return cast("DiffoptApp", self.app)

    @property
    def chosen_run(self) -> RunFolder | None:
        """The run that a key of every screen means: the selected one on Runs, else the current."""
        return self.diffopt.current_run

    def compose(self) -> ComposeResult:
        """Lay out the frame around the body."""
        self._take_breakpoints()
        yield Header(self.NAME)
        yield Banner()
        with Container(id="body"):
            yield from self.compose_body()
        yield Footer()
        yield Static("", id="too-small", markup=False)

    def _take_breakpoints(self) -> None:
        """Know the size before the panes are there: Textual would style all of them again."""
        (width, height), app = self.app.size, self.app
        self.add_class(*self._get_breakpoint_classes(width, app.HORIZONTAL_BREAKPOINTS or []))
        self.add_class(*self._get_breakpoint_classes(height, app.VERTICAL_BREAKPOINTS or []))

    def compose_body(self) -> ComposeResult:
        """Yield the panes."""
        yield from ()

    # What a child may use

    @property
    def is_narrow(self) -> bool:
        """Whether panes go into tabs for want of width."""
        return self.app.size.width < 100

    @property
    def is_short(self) -> bool:
        """Whether panes must do with fewer rows."""
        return self.app.size.height < 30

    def set_header(self, subject: str | Content, right: str | Content = "") -> None:
        """Write what this screen is about into the first line."""
        self.query_one(Header).set_words(subject, right)

    def set_banner(self, text: str, severity: str = "information") -> None:
        """Show a sentence under the header; "" takes it away."""
        banner = self.query_one(Banner)
        wanted = bool(text)
        if wanted:
            for name in ("information", "warning", "error"):
                banner.set_class(name == severity, f"-{name}")
            if str(banner.content) != text:
                banner.update(text)
        if banner.display != wanted:
            banner.display = wanted

    def hold_paint(self) -> None:
        """Paint once there is something to read, not an empty frame before it: it costs a paint."""
        self._held.close()
        self._held.enter_context(self.app.batch_update())
        self.is_held = True
        self.set_timer(MOST_HELD_SECONDS, self.release_paint)

    def release_paint(self) -> None:
        """Paint what was held back, and from now on."""
        self._held.close()
        if self.is_held:
            self.is_held = False
            self.refresh()
            self._await_paint()

    def _await_paint(self) -> None:
        if self.app._batch_count:  # the app itself holds paints until it stands
            self.set_timer(0.01, self._await_paint)
        else:
            self.call_after_refresh(self.painted)

    def painted(self) -> None:
        """Begin what can wait until there is something to read; for children."""

    def _compositor_refresh(self) -> None:
        """Draw nothing while paints are held: Textual draws, and throws away what it drew."""
        if not self.app._batch_count:
            super()._compositor_refresh()

    def every(self, seconds: float, do: object) -> Timer:
        """Call `do` every so often while the screen is shown."""
        timer = self.set_interval(seconds, do, pause=not self.is_shown)  # pyright: ignore[reportArgumentType]
        self._timers_of_screen.append(timer)
        return timer

    def why_not(self, action: str) -> str | None:
        """Return why an action of this screen cannot be done now; None where it can."""
        return None

    def why_not_open(self, pane: Widget) -> str | None:
        """Return why enter does nothing in a pane now; None where it does."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what cannot be done now."""
        return None if self.why_not(action) else True

    def on_key(self, event: events.Key) -> None:
        """Say why a grey key does nothing."""
        if (grey := grey_binding(self, event.key)) is not None:
            event.stop()
            do(self.diffopt, *grey)

    def look_again(self, reason: str) -> None:
        """Bring up to date what a reason is about, before it is told; for children."""

    def on_shown(self) -> None:
        """Take note that the screen is looked at from now on; for children."""

    def on_hidden(self) -> None:
        """Take note that another screen is looked at; for children."""

    def on_hangup(self) -> None:
        """Save what would be lost: the terminal is gone; for children."""

    async def _message_loop_exit(self) -> None:
        """End what still works for the screen before the panes that it would look for are gone."""
        self.workers.cancel_node(self)
        await super()._message_loop_exit()

    # The frame. Textual calls these handlers beside a child's of the same name.

    def on_mount(self) -> None:
        """Say so where the terminal is too small."""
        self._measure(self.app.size.width, self.app.size.height)
        # a size that came while the screen was still being put together is taken up here
        self.call_after_refresh(self._measure_again)

    def _measure_again(self) -> None:
        if self.is_attached:
            self._measure(self.app.size.width, self.app.size.height)

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """Let the timers go on."""
        if not self._was_shown:  # styled a moment ago, as its panes were mounted
            self._was_shown, event.refresh_styles = True, False
        if not self.is_shown:
            self.is_shown = True
            for timer in self._timers_of_screen:
                timer.resume()
            self.on_shown()

    def on_screen_suspend(self) -> None:
        """Hold the timers still, unless it is only a dialog that covers the screen."""
        if self.app.screen_stack and self.app.screen_stack[0] is self:
            return
        self.is_shown = False
        for timer in self._timers_of_screen:
            timer.pause()
        self.on_hidden()

    def on_unmount(self) -> None:
        """Hold back nobody else's paints."""
        self._held.close()

    def on_resize(self, event: events.Resize) -> None:
        """Say so where the terminal is too small."""
        self._measure(event.size.width, event.size.height)

    def _measure(self, width: int, height: int) -> None:
        is_small = width < LEAST_WIDTH or height < LEAST_HEIGHT
        line = self.query_one("#too-small", Static)
        if is_small:
            subject = self.query_one(Header).subject.plain
            need = f"need {LEAST_WIDTH}x{LEAST_HEIGHT}, have {width}x{height}"
            line.update(f"{need}\n{subject}" if subject else need)
        self.set_class(is_small, "-too-small")

    # Keys of every screen

    def action_next_pane(self) -> None:
        """Focus the next pane."""
        self.focus_next()

    def action_previous_pane(self) -> None:
        """Focus the pane before."""
        self.focus_previous()

    def action_zoom(self) -> None:
        """Show the focused pane alone, or all again."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not None:
            self.maximize(self.zoomed_widget(self.focused), container=False)

    def zoomed_widget(self, focused: Widget) -> Widget:
        """Return what z enlarges when `focused` has the focus."""
        return focused

    async def action_pane_right(self) -> None:
        """Move right in the focused pane."""
        if self.focused is not None and hasattr(self.focused, "action_move_right"):
            await self.app.run_action("move_right", self.focused)

    def go_back(self) -> bool:
        """Close what is open on this screen; returns False where there is nothing to close."""
        if self.maximized is not None:
            self.minimize()
            return True
        return False
