"""How fast the model is on several cores: the same workloads, shared out among processes.

A rate of the whole machine, by the time of day; `harness.bench.recordings` has that of one process.
Workloads are handed over before the clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from harness.bench.recordings import Job, Rate, measure
from harness.bench.together import Together, together

__all__ = ["Cores", "cores"]


class Cores:
    """Processes with a part of the workloads each, waiting for the start."""

    def __init__(self, processes: Together) -> None:
        self._processes = processes

    def __len__(self) -> int:
        return len(self._processes)

    def measure(self, *, observed: bool) -> Rate:
        """As `recordings.measure`, all parts at once: `cpu` is what all processes took
        together, `wall` is from the start of the first to the end of the last."""
        began = time.perf_counter()
        parts: list[Rate] = self._processes.ask(observed)
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
    count = max(min(processes, len(jobs)), 1)
    with together([partial(_ready, jobs[number::count]) for number in range(count)]) as started:
        yield Cores(started)


@contextmanager
def _ready(jobs: list[Job]) -> Iterator[Callable[[bool], Rate]]:
    yield lambda observed: measure(jobs, observed=observed)
