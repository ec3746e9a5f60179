"""StyleRules: Textual's style sheet, parsed once for a theme."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet


class StyleRules(Stylesheet):
    """A style sheet that is parsed again only for other colours.

    Textual sets the same ones again while it starts and parses all rules after that, which took 14
    milliseconds of some 570.
    """

    def __init__(self, *, variables: dict[str, str]) -> None:
        """Begin with a theme's colours; the sources come later."""
        super().__init__(variables=variables)
        self._is_stale = False

    def try_on(self, variables: dict[str, str]) -> None:
        """Parse all there is so far with a theme's colours, and change nothing.

        Raises what parsing raises, where Textual would raise it later and end.
        """
        tried = self.copy()
        tried.set_variables(variables)
        tried.parse()

    def set_variables(self, variables: dict[str, str]) -> None:
        """Take a theme's colours."""
        if variables != self._variables:
            super().set_variables(variables)
            self._is_stale = True

    def reparse(self) -> None:
        """Parse all sources again, where the colours are others than they were parsed with."""
        if self._is_stale:
            super().reparse()
            self._is_stale = False
