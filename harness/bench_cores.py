"""How fast the model is on several cores: the same workloads, shared out among processes.

A rate of the whole machine, by the time of day; `harness.bench` has the rate of one process.
Workloads are handed over before the clock starts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from harness.bench import Job, Rate, measure

__all__ = ["Cores", "cores"]


class Cores:
    """Processes with a part of the workloads each, waiting for the start."""

    def __init__(self, ends: list[Connection]) -> None:
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def measure(self, *, observed: bool) -> Rate:
        """As `harness.bench.measure`, all parts at once: `cpu` is what all processes took
        together, `wall` is from the start of the first to the end of the last."""
        began = time.perf_counter()
        for end in self._ends:
            end.send(observed)
        parts: list[Rate] = [end.recv() for end in self._ends]
        wall = time.perf_counter() - began
        return Rate(
            sum(part.steps for part in parts),
            sum(part.cpu for part in parts),
            wall,
            sum(part.wrong for part in parts),
            sum(part.refused for part in parts),
        )


@contextmanager
def cores(jobs: list[Job], processes: int) -> Iterator[Cores]:
    """At most `processes` processes, none without a workload; they are gone afterwards."""
    context = multiprocessing.get_context("forkserver")
    count = max(min(processes, len(jobs)), 1)
    ends, workers = [], []
    try:
        for number in range(count):
            here, there = context.Pipe()
            worker = context.Process(target=_work, args=(there, jobs[number::count]), daemon=True)
            worker.start()
            there.close()
            ends.append(here)
            workers.append(worker)
        for end in ends:
            end.recv()
        yield Cores(ends)
    finally:
        for end in ends:
            end.close()
        for worker in workers:
            worker.join(timeout=5)
            worker.terminate()


def _work(end: Connection, jobs: list[Job]) -> None:
    """Say that the jobs are here, then measure as often as is asked, until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        end.send(len(jobs))
        while True:
            end.send(measure(jobs, observed=end.recv()))
