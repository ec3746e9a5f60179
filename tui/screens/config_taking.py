"""What a draft on the Config screen takes in from elsewhere: an editor, a paste, a preset."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported
from textual.content import Content

from engine.errors import ConfigError, DiffoptError
from tui import format
from tui.schema import flat, settings_by_key
from tui.screens.config_doing import ConfigDoing

if TYPE_CHECKING:
    from tui.draft import Draft


class ConfigTaking(ConfigDoing):
    """The half of Config's actions that leads into the draft, each as one step of undo."""

    def action_editor(self) -> None:
        """Edit the text in $VISUAL or $EDITOR, and take what comes back."""
        self.flush()
        draft = self.draft
        if draft is None or self.lock:
            return
        words = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            command = shlex.split(words)
        except ValueError as error:  # a quote without its end
            told = f"$EDITOR or $VISUAL is no command line ({error}): {words}"
            self.diffopt.tell(told, "error")
            return
        if not command or shutil.which(command[0]) is None:
            name = command[0] if command else "no editor"
            self.diffopt.tell(f"{name} is not there; set $EDITOR to one that is.", "error")
            return
        try:
            code, text = self._edited(command, draft)
        except SuspendNotSupported:
            self.diffopt.tell("This terminal cannot be lent to an editor.", "error")
            return
        except (OSError, UnicodeError) as error:
            told = f"The text cannot go to an editor and back: {error}. It stands here as it was."
            self.diffopt.tell(told, "error")
            return
        if code != 0:
            self.diffopt.tell(f"{command[0]} ended with {code}; nothing is taken.", "warning")
        elif text != draft.text:
            draft.end_step()
            draft.set_text(text, "editor")
            draft.end_step()
        self.refresh_all()

    def _edited(self, command: list[str], draft: Draft) -> tuple[int, str]:
        """Return how the editor ended, and the text that it left."""
        name = draft.source.path.name if draft.source.path else "draft.yaml"
        with tempfile.TemporaryDirectory(prefix="diffopt-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / name
            path.write_bytes(draft.text.encode("utf-8"))
            with self.app.suspend():
                code = subprocess.run([*command, str(path)], check=False).returncode
            return code, path.read_bytes().decode("utf-8")

    def paste(self, text: str) -> None:
        """Take settings out of pasted YAML, as one step of undo."""
        from engine.yaml_text import parse_yaml

        if self.lock or self.draft is None:
            self.diffopt.tell(f"{self.lock}.", "warning", kind="lock")
            return
        try:
            data = parse_yaml(text, "what was pasted")
        except ConfigError as error:
            self.diffopt.tell(str(error), "warning")
            return
        found = flat(data) if isinstance(data, dict) else {}
        known = {key: value for key, value in found.items() if key in settings_by_key()}
        if not known:
            self.diffopt.tell("What was pasted holds no settings ('key: value' lines).", "warning")
            return
        if not self.change(lambda draft: draft.set_values(known, "paste")):
            return
        left = sorted(set(found) - set(known))
        more = f"; left out: {', '.join(left[:3])}" if left else ""
        self.diffopt.tell(f"{len(known)} pasted settings taken{more}. ^z takes them back.")

    # Presets

    def action_presets(self) -> None:
        """Choose how much to spend, or begin from a recipe."""
        self.flush()
        self.run_worker(self._presets, exclusive=True, group="ask")

    async def _presets(self) -> None:
        import asyncio

        from tui.asking import Pick
        from tui.presets import Preset, presets

        offered = [one for one in presets() if one.recipe is not None or not self.lock]
        costs = await asyncio.to_thread(self._costs_of, offered)

        def line(preset: Preset, cost: str) -> Content:
            mark = "recipe" if preset.recipe else ""
            words = preset.words if len(preset.words) <= 40 else f"{preset.words[:39]}…"
            return Content.assemble(
                (f"{preset.name:<12}", "bold"),
                f"{mark:<8}",
                (f"{cost:>9}  ", "$accent"),
                (words, "$text-muted"),
            )

        lines = [line(one, cost) for one, cost in zip(offered, costs, strict=True)]
        is_unknown = not any(cost.startswith("≈") for cost in costs)
        hint = "time unknown, no run here yet · " if is_unknown else ""
        hint += "enter takes · esc leaves"
        picked = await self.app.push_screen_wait(Pick("Presets", lines, hint))
        if picked is None:
            return
        preset = offered[picked]
        if preset.recipe is not None:
            self.load_source(preset.recipe)
        elif self.change(lambda draft: draft.set_values(dict(preset.settings), preset.name)):
            self.diffopt.tell(f"{preset.name}: ^z takes it back", kind="preset")

    def _costs_of(self, offered: list[Any]) -> list[str]:
        from engine.config import load_config, parse_config
        from engine.estimate import estimate, past_runs

        past = past_runs(self.diffopt.runs_dir)
        base = self.draft.checked.config if self.draft else None
        out = []
        for preset in offered:
            try:
                if preset.recipe is not None:
                    config = load_config(preset.recipe)
                elif base is not None:
                    from engine.config import config_to_yaml
                    from tui.yaml_spelling import spell

                    sets = [f"{key}={spell(value)}" for key, value in preset.settings]
                    config = parse_config(config_to_yaml(base), "preset", sets)
                else:
                    out.append("")
                    continue
                seconds = estimate(config, self.diffopt.runs_dir, past=past).seconds
                out.append(f"≈ {format.duration(seconds)}" if seconds is not None else "")
            except DiffoptError:
                out.append("")
        return out
