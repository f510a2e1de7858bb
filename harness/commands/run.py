"""`ext4diff run`: one workload, shown step by step."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os.path
import sys
from pathlib import Path

import msgspec

from harness.artifacts.artifact import FOLDER, folder_name, results_folder, try_keep
from harness.errors import UsageError
from harness.lab import Lab
from harness.options import (
    add_against,
    add_guest_options,
    add_limits,
    add_record,
    choice_of,
)
from harness.pairs import MODEL, make_pair
from harness.programs import config_named, read_program
from harness.recordings.kept_traces import TraceFile
from harness.session import exit_status
from harness.sides.side import Choice
from harness.start import mount_of, require_modelled, start_from
from harness.trace import Observe
from harness.verdict import Outcome
from reports.screen import has_colour
from reports.steps import step_table
from reports.summary import Digest, digest
from reports.terminal import explain
from workloads.images import Image
from workloads.program import DEFAULT, Program, config_of
from workloads.syntax import SUFFIX, WorkloadSyntaxError, parse_line
from workloads.workload import Config, Workload

__all__ = ["add", "run", "workloads_of"]

HELP = "run one workload file, or one line of operations, and show every step"
FIRST_CONFIG = "4k@delalloc"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("workload", metavar="FILE|LINE", help="as in 'pwrite a 0 4k; fsync a'")
    parser.add_argument(
        "--on", action="append", default=[], metavar="CONFIG",
        help=f"image@mount (default: the file's own; for a line, {FIRST_CONFIG})",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="IMAGE",
        help="an ext4 image, raw or .gz, that both sides start from instead of a fresh one; "
        "of configurations only the mount options count (--on @nodelalloc)",
    )  # fmt: skip
    add_guest_options(parser.add_argument)
    add_against(parser.add_argument)
    add_limits(parser.add_argument)
    add_record(parser.add_argument)
    parser.add_argument(
        "--fail-writes-after", type=int, metavar="N", dest="writes",
        help="the disk takes N writes, the mount's included, and fails each later one; what"
        " follows is not compared, but the kernel has to live, and e2fsck to repair the image",
    )  # fmt: skip
    parser.add_argument(
        "--fail-nth", metavar="[KIND:]N", dest="nth",
        help="the N-th allocation of memory that the operations come to fails (alloc, the default),"
        " or request to the disk (request), or call of a function of the kernel (its name); the"
        " kernel is to be built with fault injection; what is compared is as above",
    )  # fmt: skip
    parser.add_argument(
        "--results", metavar="DIR", help=f"where to keep mismatches (default: {FOLDER}/TIME)"
    )


def run(options: argparse.Namespace) -> int:
    """Run it on each configuration; the status of the worst."""
    start = start_from(options.start) if options.start is not None else None
    workloads = workloads_of(options.workload, options.on, start)
    if start is not None:  # a model settles what two kernels do differently, too
        require_modelled(start, str(options.start))
    choice = _choice(options)
    pair = make_pair(options.against, choice, strict=options.strict_model)
    lab = Lab(pair, results_folder(options.results))
    recording = _recording(options.record, start)
    with contextlib.closing(lab), recording or contextlib.nullcontext():
        lab.prepare()
        for line in pair.header():
            print(line)
        if start is not None:
            print(f"both start from {options.start}, sha256 {start.sha256}")
        digests = [
            _run_one(lab, msgspec.structs.replace(workload, config=config), recording)
            for workload in workloads
            for _, config in lab.variants(workload.config)
        ]
    if recording is not None:
        print(f"\n{recording.told()}")
    return exit_status(digests)


def _choice(options: argparse.Namespace) -> Choice:
    """What the user chose. Raises `UsageError` if a failure doesn't go with the rest."""
    choice = dataclasses.replace(choice_of(options), writes=options.writes, nth=options.nth)
    failing = [
        option
        for option, value in (("--fail-writes-after", choice.writes), ("--fail-nth", choice.nth))
        if value is not None
    ]
    if not failing:
        return choice
    if len(failing) > 1:
        raise UsageError(f"give one of {' and '.join(failing)}: only the first failure is told")
    if choice.observe is Observe.END:
        raise UsageError(
            f"{failing[0]}: which step meets the failure is to be seen, so it"
            " goes with --observe steps only"
        )
    if options.against != MODEL:
        raise UsageError(f"{failing[0]}: a failure goes with --against model only")
    return choice


def _recording(record: str | None, start: Image | None) -> TraceFile | None:
    """The file that `--record` names. Raises `UsageError`."""
    if record is not None and start is not None:
        raise UsageError("--record with --from: a recording does not hold the image")
    return None if record is None else TraceFile(Path(record))


def _run_one(lab: Lab, workload: Workload, recording: TraceFile | None) -> Digest:
    compared = lab.run(workload)
    if recording is not None:
        recording.add(lab.kept(compared))
    print()
    colour = has_colour(sys.stdout)
    verdict = compared.verdict
    if compared.actual is not None:
        print("\n".join(step_table(compared, colour=colour)))
        print()
    kept_in, note = None, ""
    if verdict.outcome is Outcome.MISMATCH:
        kept_in, note = try_keep(compared, lab.pair, lab.results / folder_name(workload.name))
    print(explain(compared, colour=colour, kept_in=kept_in) + note)
    return digest(verdict, workload.name, 0.0, str(kept_in) if kept_in else None)


def _program(text: str, start: Image | None) -> Program:
    path = Path(text)
    # Unlike Path.is_file, this takes a line that is too long for a file name.
    if path.suffix == SUFFIX or path.is_absolute() or os.path.isfile(text):  # noqa: PTH113
        return read_program(path, start)
    try:
        return parse_line(text, kept=start)
    except WorkloadSyntaxError as error:
        if len(text.split()) == 1:  # no operation has no arguments but sync and a few
            raise UsageError(f"{text}: there is no such file, and as a line: {error}") from error
        raise UsageError(str(error)) from error


def workloads_of(text: str, on: list[str], start: Image | None = None) -> list[Workload]:
    """The workloads of a file or a line of operations, on the configurations `on` if given.

    With an image to `start` from, configurations only say how it is mounted. Raises
    `UsageError`.
    """
    program = _program(text, start)
    if start is not None:
        mounts = [mount_of(name, start) for name in on]
        mounts = mounts or [config.mount for config in _own_configs(program)]
        configs = [Config(start, mount) for mount in dict.fromkeys(mounts)]
    else:
        names = [name if "@" in name else f"{name}@delalloc" for name in on]
        configs = [config_named(name, program.size) for name in names] or _own_configs(program)
    return [Workload(program.name, config, program.ops, program.shows) for config in configs]


def _own_configs(program: Program) -> list[Config]:
    """A file's own configurations; a line that names none gets the first default."""
    if program.on == (DEFAULT,) and program.name == "line":
        return [config_of(FIRST_CONFIG, program.size)]
    return list(program.configs)
