"""`ext4diff replay`: run what an artifact holds again, and say whether its mismatch shows."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.artifacts.artifact import FOLDER, folder_name, results_folder, try_keep
from harness.artifacts.manifest import harness_version
from harness.artifacts.pair import differing_kernels, recorded_pair
from harness.artifacts.read import Artifact, ArtifactError, open_artifact
from harness.errors import UsageError
from harness.lab import Lab
from harness.options import add_guest_options
from harness.recording_side import first_step, how_to_go_on, record_into
from harness.replay import Sameness, compare_verdicts, mismatch_text, parting
from harness.session import exit_status
from harness.verdict import Compared
from reports.screen import has_colour
from reports.summary import digest
from reports.terminal import explain
from workloads.ops import Parallel
from workloads.workload import Workload

__all__ = ["add", "run"]

HELP = "run an artifact's workload again, and say whether its mismatch shows"
EPILOG = """\
Without --kernel it is the recorded kernel, if it is on this machine or can be fetched, and
without --accel the recorded accelerator.

exit status: 0 the mismatch does not show any more, and no other does; 1 it shows, or
another one; 2 the artifact can't be used; 3 the machinery failed; 130 interrupted
"""


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "artifact", type=Path, metavar="ARTIFACT", help="what a mismatch left: a directory, or a"
        " .tar.zst that `ext4diff pack` made of it",
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=int, default=1, metavar="N",
        help="run it N times, and count how often the mismatch shows (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--rr", type=Path, metavar="DIR",
        help="record the run, instruction by instruction, into this new directory, so that it"
        " can be debugged backwards (docs/debugging.md)",
    )  # fmt: skip
    add_guest_options(parser.add_argument)
    parser.set_defaults(accel=None)
    parser.add_argument(
        "--against", metavar="WHAT", help="hold the kernel against this (default: as recorded)"
    )
    parser.add_argument(
        "--strict-model", action="store_true",
        help="follow no known issue, even if the artifact was recorded following them",
    )  # fmt: skip
    parser.add_argument(
        "--results", metavar="DIR",
        help=f"where to keep a mismatch that is not the same (default: {FOLDER}/TIME)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Replay it; see `EPILOG` for the status."""
    if options.runs < 1:
        raise UsageError(f"--runs {options.runs}: it has to run once at least")
    if options.rr is not None and options.runs > 1:
        raise UsageError("--rr: a recording is of one run")
    results = results_folder(options.results)
    with open_artifact(options.artifact) as artifact:
        if not artifact.verdict.mismatches:
            raise ArtifactError(f"{artifact.path} holds no mismatch, so there is none to replay")
        artifact.provide_start()
        pair = recorded_pair(artifact.manifest, options)
        if options.rr is not None:
            record_into(pair, options.rr, first_step(artifact.verdict))
        lab = Lab(pair, results)
        with contextlib.closing(lab):
            lab.prepare()
            _print(lab.pair.header())
            others = differing_kernels(artifact.manifest, lab.pair)
            _print([*_notes(artifact), *others])
            status = _replay(artifact, lab, options.runs, others)
            if options.rr is not None:
                _print(how_to_go_on(options.rr))
            return status


def _notes(artifact: Artifact) -> Iterator[str]:
    """What is replayed, and what of it is not as it was."""
    manifest = artifact.manifest
    yield f"replaying {artifact.path}, recorded {manifest.created}"
    if manifest.harness != harness_version():
        yield f"recorded by ext4diff {manifest.harness}, this is {harness_version()}"
    for note in artifact.notes:
        yield f"{artifact.path}: {note}"


def _replay(artifact: Artifact, lab: Lab, runs: int, others: Sequence[str]) -> int:
    found: list[tuple[Sameness, Compared]] = []
    for number in range(1, runs + 1):
        compared = lab.run(artifact.workload)
        sameness = compare_verdicts(artifact.verdict, compared.verdict)
        found.append((sameness, compared))
        if runs > 1:
            _print([f"run {number} of {runs}: {sameness}"])
        if sameness is Sameness.UNKNOWN:
            break
    order = list(Sameness)
    sameness, compared = min(found, key=lambda each: order.index(each[0]))
    note = ""
    if sameness in (Sameness.VALUES, Sameness.CAUSE, Sameness.OTHER):
        folder = lab.results / folder_name(compared.verdict.workload.name)
        kept, note = try_keep(compared, lab.pair, folder)
        note = f"\nKept in: {kept}" if kept is not None else note
    print(f"\n{explain(compared, colour=has_colour(sys.stdout))}{note}\n")
    _print(_judged(artifact, sameness, compared, others))
    if runs > 1:
        _print([_counted(found)])
    verdicts = [each.verdict for _, each in found]
    return exit_status([digest(verdict, verdict.workload.name, 0.0) for verdict in verdicts])


def _judged(
    artifact: Artifact, sameness: Sameness, compared: Compared, others: Sequence[str]
) -> Iterator[str]:
    """The result, and what can be done if it is not the same mismatch."""
    on = "on another kernel: " if others else ""
    then, now = parting(artifact.verdict, compared.verdict)
    steps = len(artifact.workload.ops)
    if sameness is Sameness.SAME:
        yield f"{on}{sameness}: {mismatch_text(artifact.verdict.mismatches[0], steps)}"
        return
    yield f"{on}{sameness}"
    yield f"  recorded: {mismatch_text(then, steps)}"
    if compared.verdict.mismatches:
        yield f"  now:      {mismatch_text(now, steps)}"
    elif sameness is Sameness.GONE:
        yield from _why_gone(artifact, compared, others)


def _why_gone(artifact: Artifact, compared: Compared, others: Sequence[str]) -> Iterator[str]:
    verdict, manifest = compared.verdict, artifact.manifest
    if verdict.known:
        yield (
            f"  what showed is the known issue {', '.join(verdict.known)}, which the model follows:"
            " with --strict-model it is a mismatch"
        )
        return
    if others:
        yield "  this kernel may have it fixed, or never had it; --kernel chooses another one"
    if _may_vary(artifact.workload) or (manifest.flakiness and manifest.flakiness[0] == 0):
        yield "  its threads may take another turn each time: try --runs 20"
    elif not others:
        yield (
            "  the kernel is the recorded one: the model may have been put right since, or it"
            " shows in some runs only: try --runs 20"
        )


def _may_vary(workload: Workload) -> bool:
    return any(isinstance(op, Parallel) for op in workload.ops)


def _counted(found: Sequence[tuple[Sameness, Compared]]) -> str:
    counts = Counter(sameness for sameness, _ in found)
    shown = counts[Sameness.SAME]
    rest = [f"{count} x {each}" for each, count in counts.items() if each is not Sameness.SAME]
    more = f" ({', '.join(rest)})" if rest else ""
    return f"the same mismatch in {shown} of {len(found)} runs{more}"


def _print(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        print(line, flush=True)
