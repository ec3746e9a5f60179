"""The command `diffopt`.

Reads the words, calls `engine.commands`, turns our errors into one line and an exit code.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from engine import __version__
from engine.diffusion.names import SOLVERS, SPACINGS
from engine.errors import DiffoptError
from engine.files import is_no_room, reason_of
from engine.option_types import (
    named,
    number,
    numbers,
    positive,
    runs_folder,
    samples,
    seed,
    whole_numbers,
)
from engine.standard_output import silence, write_out

DESCRIPTION = """\
diffopt: fewer sampling steps for diffusion models, at a quality you can trust.

  diffopt run demo                    distil the bundled model from 50 steps to 4, with its score
  diffopt run my.yaml --detach        train in the background; the terminal may close
  diffopt schedule MODEL              what 4, 6, 8 and 10 steps reach with no training at all
  diffopt sample MODEL --out a.png    look at samples
"""

EPILOG = """\
exit codes: 0 target reached at the threshold, 3 done but the target missed it,
2 a mistake in what was given, 130 cancelled, 1 failure.
Settings: diffopt config demo > my.yaml, edit, diffopt run my.yaml.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if sys.stderr is None:  # 2>&-, which must not become the first file that is opened
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if sys.stdout is None:  # >&-
        return _told("standard output is closed. Send it to a file or, if unwanted, to /dev/null.")
    try:
        return _called(arguments)
    except DiffoptError as error:
        return _told(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        silence()
        return 0
    except OSError as error:
        if is_no_room(error):
            return _told(
                f"{error.filename or 'a file'} could not be written ({error.strerror}). Make room "
                "on that disk, or raise the quota; nothing is left half-written.",
                1,
            )
        if error.filename is None:
            raise
        return _told(f"{error.filename} cannot be used: {reason_of(error)}.")
    except MemoryError:
        return _told("there is not enough memory for this. Ask for fewer or smaller samples.")


def _called(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    module, function = options.call.split(":")
    return getattr(import_module(f"engine.commands.{module}"), function)(options)


def _told(message: str, code: int = 2) -> int:
    with suppress(OSError):  # nobody can be told that standard error is full
        sys.stderr.write(f"diffopt: {_plain(message)}\n")
        sys.stderr.flush()
    return code


def _plain(message: str) -> str:
    """Return it on one line, whatever was given; a name may hold what would steer the terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in message)


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line; the usage of some commands is fifteen."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and end with exit code 2."""
        message = _plain(message.removeprefix("argument "))
        self.exit(2, f"diffopt: {message}. See `{self.prog} --help`.\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse itself keeps silent where this fails
        if file is sys.stderr:
            super()._print_message(message, file)
        elif message:
            write_out(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="diffopt",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"diffopt {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_run_commands(commands)
    _add_shelf_commands(commands)
    _add_model_commands(commands)
    return parser


def _add_run_commands(commands: Any) -> None:
    run = _command(commands, "run", "runs:run", "distil a model as a config file or a recipe says")
    run.add_argument(
        "config", metavar="CONFIG|RECIPE", help="a YAML file, or a recipe: demo, smoke, tiny-sd"
    )
    run.add_argument("--name", help="the run's name; by default the time and the recipe")
    run.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="change a setting, e.g. --set training.batch_size=128",
    )
    run.add_argument(
        "--detach", action="store_true", help="return at once; the run works in the background"
    )
    run.add_argument("--force", action="store_true", help="allow a runs folder on a network disk")
    config = _command(
        commands,
        "config",
        "settings:config",
        "print a config with every setting, its unit and bounds",
    )
    config.add_argument("config", metavar="CONFIG|RECIPE", nargs="?", default="demo")
    config.add_argument("--set", action="append", metavar="KEY=VALUE")
    listed = _command(commands, "runs", "listing:runs", "list runs")
    listed.add_argument("--all", action="store_true", help="archived ones too")
    for name, call, text in (
        ("show", "listing:show", "show a run's state and result"),
        ("log", "runs:log", "print a run's events"),
    ):
        command = _command(commands, name, call, text)
        command.add_argument("run", type=named, metavar="RUN")
    command.add_argument("--follow", action="store_true", help="go on until the run ends")
    for name, text in (
        ("pause", "hold a run still after its current step"),
        ("resume", "let a paused run go on, or take a stopped, lost or failed one up again"),
        ("checkpoint", "write a checkpoint now"),
        ("retry", "begin the stage's current try again with other draws"),
        ("cancel", "end a run"),
        ("stop", "checkpoint and end the worker; resume takes the run up again"),
    ):
        command = _command(commands, name, "runs:steer", text)
        command.add_argument("run", type=named, metavar="RUN")
        command.set_defaults(
            command_kind={"cancel": "cancel-run", "retry": "retry-stage"}.get(name, name)
        )
        if name == "pause":
            command.add_argument("--free", action="store_true", help="also release the memory")
        if name == "cancel":
            command.add_argument(
                "--stage",
                action="store_true",
                help="give up this stage only; export the last accepted student",
            )


def _add_shelf_commands(commands: Any) -> None:
    archive = _command(
        commands, "archive", "listing:put_away", "keep a run out of lists; nothing is moved"
    )
    archive.add_argument("run", type=named, metavar="RUN")
    archive.add_argument("--undo", action="store_true", help="list it again")
    trash = _command(
        commands, "trash", "listing:throw_away", "move a run to the trash, or list what is there"
    )
    trash.add_argument("run", type=named, metavar="RUN", nargs="?")
    restore = _command(commands, "restore", "listing:bring_back", "put a run back from the trash")
    restore.add_argument("run", type=named, metavar="RUN")
    empty = _command(
        commands, "empty-trash", "listing:delete_trash", "delete what is in the trash for good"
    )
    empty.add_argument("--yes", action="store_true", help="do not ask")


def _add_model_commands(commands: Any) -> None:
    schedule = _command(
        commands, "schedule", "measuring:schedule", "what few steps reach with no training at all"
    )
    schedule.add_argument("model", metavar="MODEL", help="a diffusers folder, or bundled:digits")
    schedule.add_argument("--steps", type=whole_numbers, default=[4, 6, 8, 10], metavar="4,6,..")
    schedule.add_argument(
        "--original-steps", type=positive, default=50, metavar="N", help="of the original (50)"
    )
    schedule.add_argument(
        "--samples", type=samples, metavar="N", help="behind each score (256, latents 128)"
    )
    schedule.add_argument(
        "--top", type=positive, default=3, metavar="N", help="rows for each step count (3)"
    )
    _add_prompt_options(schedule)

    evaluate = _command(
        commands, "evaluate", "measuring:evaluate", "score one model against another"
    )
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument("--against", required=True, metavar="TEACHER", help="the original model")
    evaluate.add_argument(
        "--steps", type=positive, metavar="N", help="of MODEL, if it is no distilled student (50)"
    )
    evaluate.add_argument(
        "--original-steps", type=positive, default=50, metavar="N", help="of TEACHER (50)"
    )
    evaluate.add_argument(
        "--samples", type=samples, metavar="N", help="behind the score (1000, latents 128)"
    )
    evaluate.add_argument(
        "--threshold", type=number, metavar="Q", help="exit 3 if the lower bound is below"
    )
    evaluate.add_argument("--classifier", metavar="NAME", help="also read labels; bundled:digits")
    evaluate.add_argument("--lora", metavar="FOLDER", help="adapters to put on MODEL")
    _add_prompt_options(evaluate)

    sample = _command(
        commands, "sample", "sampling:sample", "sample a model into a picture or a file of arrays"
    )
    sample.add_argument("model", metavar="MODEL", help="a diffusers folder, or bundled:digits")
    grid = sample.add_mutually_exclusive_group()
    grid.add_argument(
        "--steps", type=positive, metavar="N", help="sampling steps (50, or the student's own)"
    )
    grid.add_argument("--timesteps", type=numbers, metavar="a,b,..", help="falling timesteps")
    sample.add_argument("--spacing", choices=SPACINGS, help="by default the checkpoint's own")
    sample.add_argument("--solver", choices=SOLVERS, help="by default the checkpoint's own")
    labels = sample.add_mutually_exclusive_group()
    labels.add_argument(
        "--class-labels", type=whole_numbers, metavar="1,2,..", help="classes, repeated in turn"
    )
    labels.add_argument("--labels", choices=["all"], help="every class in turn")
    sample.add_argument("--prompt", action="append", metavar="TEXT", help="may be given again")
    sample.add_argument("--negative-prompt", metavar="TEXT", help="what guidance leads away from")
    sample.add_argument(
        "--guidance",
        type=number,
        metavar="G",
        help="diffusers' guidance_scale; 1 is none (7.5, SDXL 5, a distilled student 1)",
    )
    sample.add_argument("--guidance-rescale", type=number, metavar="R", help="0 to 1 (0)")
    sample.add_argument("--height", type=positive, metavar="PIXELS", help="of a picture")
    sample.add_argument("--width", type=positive, metavar="PIXELS", help="of a picture")
    sample.add_argument(
        "--conditioning",
        metavar="FILE.safetensors",
        help="in place of prompts: encoder_hidden_states, uncond_encoder_hidden_states, "
        "text_embeds, time_ids, class_labels; a row for each sample, or one for all",
    )
    sample.add_argument(
        "--lora", metavar="FOLDER", help="adapters to put on the model, with their scheduler"
    )
    sample.add_argument("--seed", type=seed, default=0, metavar="S")
    sample.add_argument("--count", type=positive, metavar="N", help="samples to make")
    sample.add_argument(
        "--noise", metavar="FILE.safetensors", help="start from its key noise, NCHW float32"
    )
    sample.add_argument(
        "--clip-sample", action=argparse.BooleanOptionalAction, help="override the checkpoint's"
    )
    sample.add_argument(
        "--final-alpha", choices=["one", "first"], help="override the checkpoint's set_alpha_to_one"
    )
    sample.add_argument(
        "--force", action="store_true", help="sample a distilled student off its own grid"
    )
    sample.add_argument(
        "--out",
        required=True,
        metavar="X.png|X.safetensors",
        help="pictures, or the key samples as the network makes them (latents), NCHW float32",
    )

    inspect = _command(
        commands,
        "inspect",
        "inspecting:inspect",
        "what a checkpoint is, and what distilling it on this machine would take",
        "Exit codes: 0 told, also of a model that is not supported (--json: supported, reasons); "
        "2 there is none, or it is damaged: files that are missing, cut off, pickles, or hold NaN.",
    )
    inspect.add_argument("model", metavar="MODEL", help="a folder, bundled:digits, or OWNER/NAME")
    inspect.add_argument(
        "--batch-size", type=positive, metavar="N", help="samples in one training step"
    )
    inspect.add_argument("--rank", type=positive, metavar="R", help="of LoRA's adapters (64)")
    inspect.add_argument(
        "--no-probe",
        dest="probe",
        action="store_false",
        help="do not time the network",
    )
    inspect.add_argument(
        "--no-weights",
        dest="weights",
        action="store_false",
        help="do not read the weights, which finds what is cut off or holds NaN",
    )

    export = _command(
        commands,
        "export",
        "exporting:export",
        "write a run's last accepted student in a form that stock diffusers opens",
    )
    export.add_argument("run", type=named, metavar="RUN")
    export.add_argument(
        "--to", required=True, metavar="DIR", help="a new folder, outside of all runs"
    )
    export.add_argument(
        "--format",
        choices=["diffusers", "unet", "lora"],
        help="a complete pipeline, the network alone, or adapters alone; by default the run's",
    )
    export.add_argument(
        "--certify",
        action="store_true",
        help="sample it in diffusers too and write the difference into its manifest "
        "(needs the interop extra)",
    )
    export.add_argument("--force", action="store_true", help="replace an earlier export at DIR")

    _command(
        commands,
        "doctor",
        "measuring:doctor",
        "what this machine is, and whether MLX is at its best on it",
    )


def _add_prompt_options(command: argparse.ArgumentParser) -> None:
    """Add the options of models that read prompts: a run's settings, in the words of `sample`."""
    command.add_argument(
        "--prompts",
        metavar="FILE",
        help="prompts to measure under, as data.prompts of a run: a text file, .csv, .jsonl or a "
        "folder of captioned images (bundled:varied); a quarter of them is measured under",
    )
    command.add_argument("--prompt-column", metavar="NAME", help="of a .csv or .jsonl")
    command.add_argument("--prompt-count", type=positive, metavar="N", help="prompts taken (all)")
    command.add_argument("--negative-prompt", metavar="TEXT", help="what guidance leads away from")
    command.add_argument(
        "--guidance",
        type=number,
        metavar="G",
        help="diffusers' guidance_scale of the original; 1 is none (7.5, SDXL 5)",
    )
    command.add_argument("--guidance-rescale", type=number, metavar="R", help="0 to 1 (0)")
    command.add_argument("--height", type=positive, metavar="PIXELS", help="of a picture")
    command.add_argument("--width", type=positive, metavar="PIXELS", help="of a picture")
    command.add_argument(
        "--mode",
        choices=["auto", "pixels", "latents"],
        help="what a model of latents is scored in, as quality.mode of a run (auto)",
    )


def _command(
    commands: Any, name: str, call: str, text: str, more: str = ""
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, epilog=more)
    parser.set_defaults(call=call)
    parser.add_argument(
        "--runs-dir",
        type=runs_folder,
        default=os.environ.get("DIFFOPT_RUNS_DIR") or "~/diffopt/runs",
        metavar="DIR",
        help="folder of runs (~/diffopt/runs)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
