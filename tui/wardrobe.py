"""Wardrobe: the part of the app that knows a person's choices, wears themes and tells things."""

from __future__ import annotations

from engine.errors import DiffoptError
from tui.display.frames import LeanFrames
from tui.display.rules import StyleRules
from tui.notices import Notices
from tui.options import Options
from tui.preferences import Preferences, config_folder
from tui.theme import ThemeError, ThemeLibrary, default_name
from tui.theme_proof import UNUSABLE


class Wardrobe(LeanFrames, inherit_bindings=False):
    """An app that is dressed and has the keys as a person chose them."""

    def __init__(self, options: Options) -> None:
        """Read the choices, take the keys over and put the first theme on."""
        super().__init__(is_lean=options.is_cell_diff)
        self.options = options
        self.notices = Notices()
        self._to_tell: list[str] = []
        self.preferences = Preferences.load()
        self.preferences.on_notice = self._tell_what_waits
        if self.preferences.keys:
            from tui.keymap import checked

            keys, problems = checked(self.preferences.keys)
            self.set_keymap(keys)
            path = self.preferences.path
            self._to_tell += [f"{path}: keys: {problem}" for problem in problems]
        self.themes = ThemeLibrary(config_folder() / "themes")
        self._wear_first_theme()
        self.stylesheet = StyleRules(variables=self.get_css_variables())

    def tell(self, text: str, severity: str = "information", *, kind: str | None = None) -> None:
        """Tell the user something: it pops up, and stays among the notices.

        One of each `kind` pops up in five seconds.
        """
        if self.notices.add(text, severity, kind):
            self.notify(text, severity=severity, markup=False)  # pyright: ignore[reportArgumentType]

    def wear_theme(self, name: str, *, is_remembered: bool = True) -> bool:
        """Take a theme, and keep it for the next time.

        A broken one is told and the old one stays; returns whether it was taken.
        """
        try:
            self._put_on(name)
        except DiffoptError as error:
            self._to_tell.append(str(error))
            self._tell_what_waits()
            return False
        if is_remembered:
            self.preferences.set(theme=name)
        return True

    def action_next_theme(self) -> None:
        """Take the next theme; broken ones are told and passed over."""
        name = self.themes.after(self.theme)
        for _ in self.themes.names:
            if self.wear_theme(name):
                return
            name = self.themes.after(name)

    def action_themes(self) -> None:
        """List the themes; moving previews them."""
        from tui.screens.lists import ThemeRow, ThemesScreen

        rows = []
        for name in self.themes.names:
            try:
                rows.append(ThemeRow(name, about=self.themes.load(name).about))
            except ThemeError as error:
                rows.append(ThemeRow(name, fault=str(error)))
        self.push_screen(ThemesScreen(rows, self.theme))

    def _wear_first_theme(self) -> None:
        colours = {"standard": 16, "256": 256}.get(self.console.color_system or "")
        plain = "mono" if self.no_color else default_name(colours=colours)
        for name in (self.options.theme, None if self.no_color else self.preferences.theme, plain):
            if name and self.wear_theme(name, is_remembered=False):
                return

    def _put_on(self, name: str) -> None:
        loaded = self.themes.load(name)
        if loaded.path is not None and isinstance(self.stylesheet, StyleRules):
            # what the checks let pass and Textual does not would end the dashboard a moment later
            css = loaded.theme.to_color_system().generate() | loaded.theme.variables
            try:
                self.stylesheet.try_on(css)
            except UNUSABLE as error:
                raise ThemeError(f"{loaded.path} cannot be worn: Textual refuses it.") from error
        self.register_theme(loaded.theme)
        self.theme = name

    def _tell_what_waits(self) -> None:
        if self._running:
            waiting, self._to_tell = self._to_tell, []
            for text in (*self.preferences.take_notices(), *waiting):
                self.tell(text, "warning")
