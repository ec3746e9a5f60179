"""`diffopt export`: a run's student in a form that stock diffusers opens, proven on request."""

import argparse

from engine.commands.output import say, say_json
from engine.export import CertifyError, certify, export_student
from engine.export.from_run import student_of_run
from engine.export.target import export_target, refuse_original, refuse_place
from engine.run import find_run

EXIT_DIFFERS = 1


def export(options: argparse.Namespace) -> int:
    """Write the last accepted student of a run to a folder.

    Returns EXIT_DIFFERS where diffusers was asked and samples something else; the export stands.
    """
    folder = find_run(options.runs_dir, options.run)
    target = export_target(options.to, folder.path, options.runs_dir, is_forced=options.force)
    found = student_of_run(folder)
    refuse_original(options.to, target, found.original.checkpoint.path)
    what = options.format or found.config.export.format

    def refuse() -> None:
        refuse_place(options.to, target, folder.path, options.runs_dir, is_forced=options.force)

    export_student(found.student, found.original, target, found.facts, what, check=refuse)
    verdict, is_same = "not certified", None
    if options.certify:
        try:
            proof = certify(target, found.original.checkpoint.path)
            is_same = proof["is_same"]
            same = "samples the same" if is_same else "does NOT sample the same"
            verdict = f"diffusers {proof['diffusers']} {same}: error {proof['relative_error']:.1e}"
        except CertifyError as error:
            verdict = str(error)
    files = [path for path in target.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    code = EXIT_DIFFERS if is_same is False else 0
    if options.json:
        say_json(
            {
                "run": folder.name,
                "path": str(target),
                "format": what,
                "steps": found.student.steps,
                "timesteps": list(found.student.grid.timesteps),
                "size_bytes": size,
                "certified": verdict,
                "is_same": is_same,  # null: it was not held against diffusers
            }
        )
        return code
    say(f"{folder.name}: the {found.student.steps}-step student as {what} in {target}")
    say(f"{len(files)} files, {size / 1e6:.1f} MB; {verdict}")
    say(f"how to sample it: {target / 'README.md'}")
    return code
