"""What `ext4diff bench --guests` prints: the machine, how soon a guest is ready, and rates."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness.bench.guests import SEED, Ready, Work, measure_ready, measure_work
from harness.bench.together import together
from harness.pairs import Pair
from harness.sides.side import Choice
from harness.trace import Observe
from harness.verdict import Outcome
from reports import words

__all__ = ["machine_line", "ready_lines", "report", "work_lines"]

_CPU = "model name"


_OBSERVED = {
    Observe.STEPS: "everything observed and compared",
    Observe.END: "observed at the end of each program (--observe end)",
}


def report(
    choice: Choice, make: Callable[[Choice], Pair], most: int, programs: int, times: int
) -> Iterator[str]:
    """Measure guests of `choice`: `times` restores, then `programs` programs on one guest and on
    `most` together, whose pairs `make` makes, in each way to observe. Raises `Ext4diffError`."""
    yield machine_line()
    with together([partial(_ready, choice, times)]) as process:
        (found,) = process.ask(None)
    yield from ready_lines(found)
    for observe, how in _OBSERVED.items():
        pair = partial(make, dataclasses.replace(choice, observe=observe))
        yield f"random programs 0 to {programs - 1} of seed {SEED}, {how}"
        for count in dict.fromkeys((1, most)):
            yield from work_lines(measure_work(pair, count, programs))


@contextmanager
def _ready(choice: Choice, times: int) -> Iterator[Callable[[None], Ready]]:
    yield lambda _question: measure_ready(choice, times)


def machine_line() -> str:
    """The machine, and how much else it has to do."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith(_CPU)), "")
    return (
        f"{cpu or platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, Linux"
        f" {platform.release()}, Python {platform.python_version()},"
        f" load average {os.getloadavg()[0]:.1f} before"
    )


def ready_lines(ready: Ready) -> Iterator[str]:
    """How soon guests were ready."""
    yield f"kernel {ready.kernel}, QEMU {ready.qemu}, {ready.accel} ({ready.accel_reason})"
    if ready.no_snapshots:
        yield f"  no snapshots, each guest boots: {ready.no_snapshots}"
    yield (
        f"  a guest is ready in {ready.usual:.2f} s (median of {len(ready.others)},"
        f" {min(ready.others):.2f} to {max(ready.others):.2f}); the first of a process in"
        f" {ready.first:.2f} s"
    )


def work_lines(work: Work) -> Iterator[str]:
    """The rates of some guests, what was not measured, and where the time went."""
    yield words.times(work.processes, "guest")
    yield (
        f"  {work.steps / work.wall:,.0f} steps/s, {work.programs / work.wall:.1f} programs/s:"
        f" {work.steps} steps of {work.programs} programs with {work.operations} operations in"
        f" {work.wall:.2f} s of the day"
    )
    cpu = work.cpu + work.children
    yield (
        f"  {work.steps / cpu:,.0f} steps in a second of CPU time: {work.cpu:.2f} s of the host"
        f" side, {work.children:.2f} s of QEMU, e2fsck and debugfs"
    )
    spent, whole = work.spent, work.wall * work.processes
    host = {
        "model": spent.model, "comparison": spent.compare, "images": spent.image,
        "storage": work.storage,
    }  # fmt: skip
    told = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in host.items())
    yield f"  host side {sum(host.values()) / whole:.1%} of the time ({told})"
    yield (
        f"  the guest at work {spent.run / whole:.1%}, coming up {spent.boot / whole:.1%},"
        f" no clock {work.rest / whole:.1%} (programs, artifacts, waiting for the other)"
    )
    outcomes = {name: count for name, count in work.outcomes.items() if count}
    yield "  " + ", ".join(f"{outcomes[name]} {name}" for name in Outcome if name in outcomes)
