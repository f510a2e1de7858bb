"""`ext4diff minimize`: the shortest and simplest workload that still shows the same mismatch."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import sys
from pathlib import Path

import msgspec

import model
from harness.artifacts.artifact import FOLDER, Origin, program_of, try_keep
from harness.artifacts.pair import differing_kernels, recorded_pair
from harness.artifacts.read import is_kept
from harness.commands.run import workloads_of
from harness.errors import AGREE, INTERRUPTED, MACHINERY, MachineryError, UsageError
from harness.lab import Lab
from harness.minimize.budget import Budget
from harness.minimize.minimizer import Minimized, Minimizer
from harness.minimize.oracle import Shown
from harness.minimize.refusal import refusal_of
from harness.minimize.task import Task, artifact_task, mismatching, workload_task
from harness.options import add_against, add_guest_options, choice_of
from harness.pairs import MODEL, Pair, make_pair
from harness.start import require_modelled, start_from
from reports.words import times
from vm.live_line import LiveLine
from workloads.program import Note
from workloads.syntax import format_line, format_program
from workloads.workload import Workload

__all__ = ["add", "run"]

HELP = "make a workload that mismatches as short and simple as it can be"
SECONDS = 300.0
RUNS = 3
EPILOG = """\
An artifact is run as it was recorded: kernel, accelerator, --against and --strict-model.

exit status: 0 there is a result, also one that the budget did not let be finished; 2 the
mismatch does not show, or the command is wrong; 3 the machinery failed; 130 interrupted
"""


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "source", metavar="ARTIFACT|FILE|LINE",
        help="what a mismatch left behind, or a workload as for run",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=float, default=SECONDS, metavar="SECONDS",
        help="how long to search, the guest's start not counted (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--budget-runs", type=int, metavar="N", help="search with at most N runs of the guest"
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS, metavar="N",
        help="run the first and the last N times, and count how often the mismatch shows"
        " (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--on", action="append", default=[], metavar="CONFIG",
        help="image@mount of a workload (default: as for run; the first that mismatches)",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="IMAGE",
        help="an ext4 image that a workload starts from, as for run",
    )  # fmt: skip
    add_guest_options(parser.add_argument)
    add_against(parser.add_argument)
    parser.set_defaults(accel=None, against=None)  # an artifact says which
    parser.add_argument(
        "--results", metavar="DIR",
        help=f"where to keep the result (default: beside the artifact, or {FOLDER})",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Minimize; 0 if there is a result, also one that the budget did not let be finished."""
    _check(options)
    progress = LiveLine()
    with contextlib.ExitStack() as stack:
        task = _task(options, stack)
        pair = _pair(options, task)
        lab = Lab(pair, task.folder)
        stack.enter_context(contextlib.closing(lab))
        lab.prepare()
        others = differing_kernels(task.manifest, pair) if task.manifest is not None else []
        for line in (*pair.header(), *task.notes, *others):
            progress.tell(line)
        return _minimize(options, task, lab, progress)


def _check(options: argparse.Namespace) -> None:
    """Raise `UsageError` for numbers that leave nothing to do."""
    if not options.budget > 0:
        raise UsageError(
            f"--budget {options.budget:g}: there is no time to try anything; give seconds, or"
            f" leave it out for {SECONDS:g}"
        )
    if options.budget_runs is not None and options.budget_runs < 1:
        raise UsageError(f"--budget-runs {options.budget_runs}: nothing can be tried without a run")
    if options.runs < 1:
        raise UsageError(f"--runs {options.runs}: it has to run once at least")


def _task(options: argparse.Namespace, stack: contextlib.ExitStack) -> Task:
    if is_kept(options.source):
        if options.on or options.start is not None:
            raise UsageError(
                f"--on and --from are for workloads; {options.source} says itself where it ran"
            )
        return stack.enter_context(artifact_task(options.source, options.results))
    start = start_from(options.start) if options.start is not None else None
    if start is not None:
        require_modelled(start, str(options.start))
    workloads = workloads_of(options.source, options.on, start)
    return workload_task(workloads, options.source, options.results)


def _pair(options: argparse.Namespace, task: Task) -> Pair:
    """The sides that the user chose; of what was left out, those that the artifact names."""
    if task.manifest is not None:
        return recorded_pair(task.manifest, options)
    choice = dataclasses.replace(choice_of(options), accel=options.accel or "auto")
    return make_pair(options.against or MODEL, choice, strict=options.strict_model)


def _minimize(options: argparse.Namespace, task: Task, lab: Lab, progress: LiveLine) -> int:
    pair = lab.pair
    workload = mismatching(task, lab)
    result = task.result(workload)
    files = [result.with_name(result.name + suffix) for suffix in (".answers", ".ops")]
    minimizer = Minimizer(
        lab.run, workload, task.target,
        question=_question(pair), known=files[0], best=files[1],
        budget=Budget(options.budget, options.budget_runs, lambda: pair.starting),
        repeat=options.runs, progress=progress,
        refusal=lambda shown: refusal_of(pair, shown),
    )  # fmt: skip
    try:
        found = minimizer.minimize()
    except (KeyboardInterrupt, MachineryError) as error:
        best = minimizer.so_far()
        if best is None:
            raise
        cut = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        _print(best, task, "not finished: it may get smaller")
        progress.tell(f"{cut}; the best so far is in {files[1]}, the same command goes on from it")
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else MACHINERY
    unfinished = f"the budget ({found.spent}) is spent: it may get smaller" if found.spent else ""
    progress.tell(minimizer.counts())
    _print(found, task, unfinished)
    _keep(found, task, pair, result, progress)
    if unfinished:
        progress.tell(f"{unfinished}; the same command with a larger budget goes on from here")
    return AGREE


def _question(pair: Pair) -> str:
    """What answers depend on beside candidates and mismatch: the sides, and our own rules."""
    told = hashlib.sha256(msgspec.json.encode([pair.identity(), pair.against, pair.strict]))
    for path in sorted(Path(model.__file__).parent.rglob("*.py")):
        told.update(path.read_bytes())
    return told.hexdigest()[:16]


# --- what people read -------------------------------------------------------------------


def _print(found: Minimized, task: Task, unfinished: str) -> None:
    """The program as text, with what became of it in comments."""
    said = [f"minimized from {task.source}: {_sizes(found.first)}; now {_sizes(found.best)}"]
    said.append(f"the mismatch showed in {_times(found.shown_first)} of the first")
    if found.shown_best is not None:
        said[-1] += f", {_times(found.shown_best)} of this"
    if unfinished:
        said.append(unfinished)
    program = program_of(found.best)
    notes = tuple(Note(-1, line) for line in said)
    sys.stdout.write(format_program(msgspec.structs.replace(program, notes=notes)))
    sys.stdout.flush()


def _sizes(workload: Workload) -> str:
    size = len(format_line(program_of(workload)))
    operations = times(len(workload.ops), "operation")
    return f"{operations} ({size} characters) on {workload.config.name}"


def _times(shown: Shown) -> str:
    return f"{shown[0]} of {shown[1]} runs"


def _keep(found: Minimized, task: Task, pair: Pair, result: Path, progress: LiveLine) -> None:
    """Keep the run that shows the mismatch as an artifact."""
    if found.compared is None:
        progress.tell("none of the last runs shows it any more, so no artifact is written")
        return
    origin = Origin(f"{task.source}, {_sizes(found.first)}", found.shown_best)
    kept, note = try_keep(found.compared, pair, result, origin)
    progress.tell(f"Kept in: {kept}" if kept else note.strip())
