"""`ext4diff bench`: how fast the model is, on recorded programs, and how long images take."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from harness.bench import generate as bench_generate
from harness.bench.cores import cores
from harness.bench.guests_report import report
from harness.bench.images import measure_images
from harness.bench.recordings import Job, Rate, growth, measure, read
from harness.errors import AGREE, UsageError
from harness.options import add_guest_options, choice_of, pin_kernels
from harness.pairs import MODEL, make_pair

__all__ = ["add", "run"]

WHAT = {True: "everything compared", False: "results and contents"}
"""What is measured, by whether everything is observed."""
HELP = "measure the model on recordings: steps a second, the cost of a step as a file grows; images"


def add(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.jsonl.xz")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only the first N workloads of each file"
    )
    parser.add_argument(
        "--images", action="store_true", help="measure images too (alone without a FILE)"
    )
    parser.add_argument(
        "--generate", type=int, default=0, metavar="N", help="measure generators on N programs each"
    )
    parser.add_argument(
        "--guests", type=int, nargs="?", const=2, default=0, metavar="N",
        help="measure guests: how soon one is ready, what one does, and N together (2)",
    )  # fmt: skip
    parser.add_argument(
        "--programs", type=int, default=100, metavar="N",
        help="random programs that guests run (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=int, default=3, metavar="N",
        help="measure so often and show the median (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
        help="measure N processes together too (default: one a core; 1: do not)",
    )  # fmt: skip
    parser.add_argument(
        "--extents", type=int, default=10_000, metavar="N", help="grow a file so far (%(default)s)"
    )
    add_guest_options(parser.add_argument)
    parser.set_defaults(against=MODEL)


def run(options: argparse.Namespace) -> int:
    """Measure in one process, and recordings on all cores too; says how many workloads did
    not show what was recorded."""
    if not (options.files or options.images or options.generate > 0 or options.guests):
        raise UsageError(
            "bench: name recordings to measure, or give --images, --generate N or --guests"
        )
    if options.guests < 0 or options.programs < 1:
        raise UsageError("bench: --guests and --programs are 1 or more")
    if options.files:
        _model(options)
    if options.images:
        for took in measure_images():
            words = f"{took.cpu:.1f} ms of CPU time ({took.wall:.1f} ms of the day)"
            print(f"{took.what}: {words}", flush=True)
    for speed in bench_generate.measure(options.generate) if options.generate > 0 else ():
        print(
            f"{speed.kind}: {speed.per_second:,.0f} programs/s: {speed.programs} programs of"
            f" {speed.operations} operations in {speed.cpu:.2f} s of CPU time, their text in"
            f" {speed.text:.2f} s more",
            flush=True,
        )
    if options.guests:
        _guests(options)
    return AGREE


def _guests(options: argparse.Namespace) -> None:
    pin_kernels(options)
    choice, starts = choice_of(options), max(options.repeat, 1) * 3
    make = partial(make_pair, options.against)
    for line in report(choice, make, options.guests, options.programs, starts):
        print(line, flush=True)


def _model(options: argparse.Namespace) -> None:
    for path in options.files:
        jobs = read(path, options.limit)
        print(f"{path.name}: {len(jobs)} workloads")
        for observed, what in WHAT.items():
            rates = [measure(jobs, observed=observed) for _ in range(max(options.repeat, 1))]
            middle = sorted(rates, key=lambda rate: rate.cpu)[len(rates) // 2]
            print(f"  {what:<21}{_words(middle)}", flush=True)
        if options.jobs > 1 and len(jobs) > 1:
            _together(jobs, options)
    for extents in (max(options.extents // 10, 1), options.extents):
        cost = growth(extents)
        print(f"one write and fsync, up to {cost.extents} extents: {cost.seconds * 1e6:.0f} us")


def _together(jobs: list[Job], options: argparse.Namespace) -> None:
    with cores(jobs, options.jobs) as together:
        print(f"  {len(together)} processes together, by the time of day")
        for observed, what in WHAT.items():
            rates = [together.measure(observed=observed) for _ in range(max(options.repeat, 1))]
            middle = sorted(rates, key=lambda rate: rate.wall)[len(rates) // 2]
            print(
                f"    {what:<21}{middle.steps / middle.wall:,.0f} steps/s:"
                f" {middle.steps} steps in {middle.wall:.2f} s{_exceptions(middle)}",
                flush=True,
            )


def _words(rate: Rate) -> str:
    return (
        f"{rate.per_second:,.0f} steps/s: {rate.steps} steps in {rate.cpu:.2f} s of CPU time"
        f" ({rate.wall:.2f} s of the day){_exceptions(rate)}"
    )


def _exceptions(rate: Rate) -> str:
    """What did not show the recording, and what was not measured."""
    wrong = f"; {rate.wrong} workloads differ from the recording" if rate.wrong else ""
    refused = f"; {rate.refused} workloads are not modelled, not counted" if rate.refused else ""
    return wrong + refused
