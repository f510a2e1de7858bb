"""`ext4diff check-recording`: the model against recordings of real kernels, without a guest."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from harness.errors import AGREE, MISMATCH, UsageError
from harness.known import KNOWN_ISSUES
from harness.known_issue import parse_release
from harness.pairs import AGAINST_PATH
from harness.recordings.catalogued import uncatalogued
from harness.recordings.paths import paired, settled
from harness.recordings.pool import each
from harness.recordings.recheck import (
    Checked,
    Job,
    Tally,
    jobs_of,
    judge_named,
    like,
    tells_release,
    unrecorded,
)
from harness.recordings.recording import SUFFIX, workloads_of
from harness.session import exit_status
from harness.verdict import Compared, Where
from reports.screen import has_colour
from reports.summary import digest, summarise
from reports.terminal import explain
from reports.words import place_text, times, value_text

__all__ = ["add", "run"]

HELP = "check the model against recordings of real kernels, without a guest"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE.jsonl.xz|FOLDER", help="a folder: all in it"
    )
    parser.add_argument(
        "--workloads", type=Path, metavar="FILE", help="workload list (default: beside the results)"
    )
    parser.add_argument("--release", metavar="X.Y.Z", help="the kernel (default: by the file name)")
    parser.add_argument(
        "--as", dest="like", metavar="bh|iomap73|...",
        help="what else is known of the kernel is that of recordings of this name",
    )  # fmt: skip
    parser.add_argument(
        "--partial", action="store_true", help="listed workloads may lack, the recording is a part"
    )
    parser.add_argument(
        "--against",
        choices=sorted(AGAINST_PATH),
        metavar="path:buffer_head|path:iomap",
        help="hold the other path against this one, where FILEs have a program on both",
    )
    parser.add_argument(
        "--catalogue", action="store_true",
        help="each FILE is to have all workloads of the catalogue, as they are now",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the counts to this file")
    parser.add_argument("-j", "--processes", type=int, metavar="N", help="default: one a CPU")
    parser.add_argument(
        "--explain", metavar="NAME", help="explain this one workload in full (NAME or NAME@CONFIG)"
    )
    parser.add_argument(
        "--strict-model", action="store_true",
        help="with --explain: where a known issue shows, that is a mismatch",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Check each file, or explain a workload; 1 if a step is neither agreed nor known."""
    files = _each_once(file for path in options.files for file in _files(path))
    if options.release is not None and parse_release(options.release) is None:
        raise UsageError(f"--release {options.release}: a release begins with two numbers: 7.3.4")
    if options.strict_model and options.explain is None:
        raise UsageError("--strict-model is for --explain NAME")
    if options.catalogue and (options.explain or options.against):
        raise UsageError("--catalogue goes neither with --explain nor with --against")
    if options.against is not None:
        return _paths(options, files)
    if options.explain is not None:
        return _explain(options, files)
    return _check(options, files)


def _check(options: argparse.Namespace, files: list[Path]) -> int:
    """Check each file. Raises `UsageError`, if one is incomplete only after all were checked."""
    total = Tally()
    not_compared: Counter[Where] = Counter()
    incomplete: list[str] = []
    for path in files:
        tally = Tally()
        started = time.monotonic()
        jobs = _jobs(options, path)
        for checked in each(Job.check, jobs, options.processes):
            tally += checked.tally
            not_compared.update(checked.not_compared)
            _tell(checked)
        if not tally.workloads:
            raise UsageError(f"{path}: it holds no workload")
        for line in _doubts(options, path, jobs, incomplete):
            print(f"  {line}")
        print(f"{path.name}: {_words(tally)}; {time.monotonic() - started:.0f} s", flush=True)
        total += tally
    if len(files) > 1:
        print(f"all: {_words(total)}")
    for (field, reason), count in sorted(not_compared.items()):
        print(f"  not compared: {field}, {count} times: {reason}")
    if options.json is not None:
        _write(options.json, total)
    if total.mismatched or total.skipped:
        return MISMATCH
    if incomplete:
        raise UsageError(
            f"{', '.join(incomplete)}: not all workloads are there; record the others,"
            " or say --partial if a list is meant to be recorded in part"
        )
    return AGREE


def _doubts(
    options: argparse.Namespace, path: Path, jobs: list[Job], incomplete: list[str]
) -> Iterator[str]:
    """What the user has to know of the recording `path`, whose workloads are `jobs`: that its
    kernel is not told, or that it is `incomplete`, where its name goes then."""
    if options.release is None and options.like is None and not tells_release(path):
        yield (
            f"the name {path.name} does not tell the kernel: no known issue is followed;"
            " --release X.Y.Z names it, or --as bh (bh73, iomap, iomap73)"
        )
    missing = [] if options.partial else unrecorded(path, options.workloads, jobs)
    others = uncatalogued(jobs) if options.catalogue else []
    if missing or others:
        incomplete.append(path.name)
    yield from others
    if missing:
        listed = (options.workloads or workloads_of(path)).name
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield f"incomplete: {missing[0]}{more} of {listed} were not recorded"


def _jobs(options: argparse.Namespace, path: Path) -> list[Job]:
    """The workloads of the recording `path`. Raises `UsageError`."""
    kernel = None if options.like is None else like(options.like)
    return jobs_of(path, options.workloads, options.release, kernel)


def _explain(options: argparse.Namespace, files: list[Path]) -> int:
    """Explain one workload of each of the recordings that have it. Raises `UsageError`."""
    issues = () if options.strict_model else KNOWN_ISSUES
    found = [
        (path, compared)
        for path in files
        for compared in judge_named(_jobs(options, path), options.explain, issues)
    ]
    if not found:
        where = ", ".join(path.name for path in files)
        raise UsageError(f"no workload {options.explain} was recorded in {where}")
    return _tell_found([(path.name, compared) for path, compared in found])


def _tell_found(found: list[tuple[str, Compared]]) -> int:
    """Explain what was found of one workload, each under a title; the exit status."""
    colour = has_colour(sys.stdout)
    for title, compared in found:
        print(f"{title}\n{explain(compared, colour=colour)}\n")
    return MISMATCH if any(compared.verdict.mismatches for _, compared in found) else AGREE


def _paths(options: argparse.Namespace, files: list[Path]) -> int:
    """Path against path. Raises `UsageError` if nothing was recorded on both."""
    if options.json is not None:
        raise UsageError("--json counts the model's steps; leave it out with --against")
    jobs = (job for path in files for job in _jobs(options, path))
    pairs, alone = paired(jobs, AGAINST_PATH[options.against])
    if options.explain is not None:
        pairs = [p for p in pairs if options.explain in (p.name, p.name.partition("@")[0])]
    if not pairs:
        raise UsageError(f"no program was recorded on both paths; {alone} on one of them only")
    if options.explain is not None:
        issues = () if options.strict_model else KNOWN_ISSUES
        return _tell_found([(pair.name, pair.settle(issues)) for pair in pairs])
    verdicts = settled(pairs, options.processes)
    digests = [digest(verdict, verdict.workload.name, 0.0) for verdict in verdicts]
    for line in summarise(digests):
        print(line)
    print(f"{times(alone, 'recording')} without a counterpart on the other path")
    return exit_status(digests)


def _files(path: Path) -> list[Path]:
    """`path`, or the recordings in it. Raises `UsageError` if there are none."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise UsageError(f"{path} holds no recording (*{SUFFIX})")
    return found


def _each_once(files: Iterable[Path]) -> list[Path]:
    """`files`. Raises `UsageError` if one is given twice: its steps would count twice."""
    found: dict[Path, Path] = {}
    for file in files:
        before = found.setdefault(file.resolve(), file)
        if before is not file:
            also = "" if before == file else f", also as {before}"
            raise UsageError(f"{file} is given twice{also}; name it once")
    return list(found.values())


def _tell(checked: Checked) -> None:
    """A workload's own line, if something in it is wrong."""
    if checked.refused is not None:
        print(f"  {checked.name}: not modelled: {checked.refused}")
    for mismatch in checked.headline:
        place = place_text(mismatch.place, checked.tally.steps)
        where = f"{mismatch.file} " if mismatch.file else ""
        expected, actual = value_text(mismatch.expected), value_text(mismatch.actual)
        print(f"  {checked.name} {place} ({mismatch.op}): {where}{mismatch.field}:")
        print(f"    model  {expected}")
        print(f"    kernel {actual}")
    sys.stdout.flush()


def _words(tally: Tally) -> str:
    return (
        f"{tally.workloads} workloads, {tally.steps} steps: {tally.agreed} agreed,"
        f" {tally.known} known, {tally.mismatched} mismatched, {tally.skipped} skipped"
    )


def _write(path: Path, total: Tally) -> None:
    try:
        path.write_bytes(msgspec.json.encode(total) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}") from error
