"""How fast the model is: steps a second on recorded programs, and how the cost of one
operation grows with the file.

All runs are in this process and only after everything is read and decoded. The clock is the
process's CPU time, beside it the time of day: on a busy machine only the first repeats.
Which known issues a workload shows is found out before, off the clock.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path

import msgspec

from harness.comparison.compare import compare
from harness.errors import NotModelledError
from harness.known import KNOWN_ISSUES
from harness.recordings.recheck import check_case, jobs_of, places
from harness.trace import Extent, Placement, State, Trace, placement_of
from model import Behaviour, Model
from workloads.images import IMAGES, Geometry, Image
from workloads.ops import AnyOp, Fsync, Write
from workloads.workload import Config, Workload

__all__ = ["Cost", "Job", "Rate", "growth", "measure", "read"]

BLOCK = 4096


class Rate(msgspec.Struct, frozen=True):
    """`steps` in `cpu` seconds of CPU time and `wall` seconds of the day; `wrong` of the
    workloads did not show what was recorded, `refused` are not modelled and not in `steps`."""

    steps: int
    cpu: float
    wall: float
    wrong: int
    refused: int = 0

    @property
    def per_second(self) -> float:
        """Steps in a second of CPU time."""
        return self.steps / self.cpu if self.cpu else 0.0


class Cost(msgspec.Struct, frozen=True):
    """CPU seconds of one write and its fsync, on average while a file grows to `extents`
    extents."""

    extents: int
    seconds: float


class _Always(msgspec.Struct, frozen=True):
    """The same geometry, whatever the image."""

    geometry: Geometry

    def __call__(self, _image: Image) -> Geometry:
        return self.geometry


class Job(msgspec.Struct, frozen=True):
    """A recorded workload, its placement, and the model of the kernel behind it.

    From step `unsteady` on two recordings of the workload differ; one past the end if none do.
    """

    recorded: Trace
    placement: Placement
    model: Model
    unsteady: int


def read(results: Path, limit: int | None = None) -> list[Job]:
    """The first `limit` workloads of a result file, decoded. Raises `UsageError`.

    Which known issues the model follows in each is settled here as `check-recording` does
    it, so that measuring runs the model once for each workload.
    """
    jobs: list[Job] = []
    for recorded in jobs_of(results)[:limit]:
        case = recorded.case()
        trace, shown = case.trace, check_case(case, recorded.unsteady).known
        quirks = frozenset(i.quirk for i in KNOWN_ISSUES if i.quirk and i.name in shown)
        model = Model(case.kernel.behaviour(quirks), _Always(case.geometry))
        end = len(trace.steps) if recorded.unsteady is None else recorded.unsteady
        jobs.append(Job(trace, placement_of(trace), model, end))
    return jobs


def measure(jobs: list[Job], *, observed: bool) -> Rate:
    """Run and compare each workload: with every observation, or results and contents only.

    What was read stays out of the garbage collector's sight meanwhile: it is no garbage, and
    looking through it is no work of the model.
    """
    judge = _all_agrees if observed else _results_agree
    steps = wrong = refused = 0
    gc.collect()
    gc.freeze()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        for job in jobs:
            try:
                wrong += not judge(job)
                steps += len(job.recorded.steps)
            except NotModelledError:
                refused += 1
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        gc.unfreeze()
    return Rate(steps, cpu, wall, wrong, refused)


def _all_agrees(job: Job) -> bool:
    mine = job.model.run(job.recorded.workload, job.placement)
    differ = places(compare(mine, job.recorded), len(job.recorded.steps))
    return all(step >= job.unsteady for step in differ)


def _results_agree(job: Job) -> bool:
    mine = job.model.run(job.recorded.workload, job.placement, observed=False)
    steady = job.recorded.steps[: job.unsteady]
    same = all(
        step.result == seen.result or "result" in step.unpredicted
        for step, seen in zip(mine.steps, steady, strict=False)
    )
    whole = len(steady) == len(mine.steps)
    return same and (not whole or _same_contents(mine, job.recorded))


def _same_contents(mine: Trace, recorded: Trace) -> bool:
    """Whether all files are there with the same content, as far as that is defined."""
    assert mine.final is not None
    assert recorded.final is not None
    want, seen = mine.final.content or {}, recorded.final.content or {}
    return want.keys() == seen.keys() and all(
        bool(file.undefined) or file.sha256 == seen[name].sha256 for name, file in want.items()
    )


# --- growth -------------------------------------------------------------------------------


def growth(extents: int) -> Cost:
    """What writing one block and fsync(2) cost while a file grows to `extents` extents, each
    of one block behind a hole, and scattered on the device; without observing, but with the
    extent tree."""
    program: list[AnyOp] = []
    for number in range(extents):
        program += [Write(file="a", off=number * 2 * BLOCK, len=BLOCK, tag=1), Fsync(file="a")]
    workload = Workload("growth", Config(IMAGES["4k"], "delalloc"), tuple(program))
    places = tuple(
        Extent(number * 2 * BLOCK, BLOCK, State.WRITTEN, number * 3 * BLOCK)
        for number in range(extents)
    )
    geometry = Geometry(
        blocks=5 * extents + 100_000, free_blocks=4 * extents + 50_000, reserved_blocks=0,
        block_size=BLOCK, cluster_size=BLOCK,
    )  # fmt: skip
    model = Model(Behaviour(iomap=False), _Always(geometry))
    began = time.process_time()
    model.play(workload, ({"a": places},) * (len(program) + 1), observed=False)
    return Cost(extents, (time.process_time() - began) / extents)
