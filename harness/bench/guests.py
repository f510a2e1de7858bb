"""How fast guests are: how soon one is ready, and the rate of programs that are run on the model
and on guests, compared and kept, as a campaign does it.

Programs are the generator's random ones of a fixed seed, on the configurations that the seed
chooses. Each process has a bench (`harness.campaign.bench`) and a store of its own, and one
guest. It runs a few programs before the clock starts.
"""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from harness.bench.together import together
from harness.campaign.bench import Bench, Done
from harness.campaign.keeper import Keeper
from harness.campaign.plan import Plan, Rest, Shard
from harness.campaign.shelf import Shelf
from harness.campaign.store import FILE, Store
from harness.pairs import Pair
from harness.sides.side import Choice
from harness.verdict import Outcome
from reports.rows import Night, Row, Spent
from vm.guests import Guests
from vm.initramfs import boot_files
from vm.kernel import resolve_kernel
from vm.scratch import scratch

__all__ = ["SEED", "Make", "Ready", "Work", "measure_ready", "measure_work"]

SEED = 1
_WARM = 20
"""Programs before the clock starts; later ones than those that are measured. Meanwhile QEMU
translates what guests execute, which takes seconds of CPU time, once a guest."""
_KIND = "random"
_PLAN = Plan(SEED, (_KIND,))
_NIGHT = "bench"
_BUDGET = 1 << 30

Make = Callable[[], Pair]


class Ready(msgspec.Struct, frozen=True):
    """Seconds until guests were ready that follow one another in one process, the `first` of
    which takes the snapshot from the cache, or makes it; `no_snapshots` says why there is none.
    """

    kernel: str
    qemu: str
    accel: str
    accel_reason: str
    first: float
    others: tuple[float, ...]
    no_snapshots: str

    @property
    def usual(self) -> float:
        """The median of those after the first."""
        return float(statistics.median(self.others))


class Work(msgspec.Struct, frozen=True):
    """What `processes` guests did in `wall` seconds of the day: `programs` with `operations`,
    `steps` of which were compared; `outcomes` of all of them.

    `spent` and `storage` are seconds, summed up over the processes. `cpu` is the CPU time of
    the processes, `children` that of QEMU, e2fsck and debugfs.
    """

    processes: int
    wall: float
    programs: int
    operations: int
    steps: int
    outcomes: dict[Outcome, int]
    spent: Spent
    storage: float
    cpu: float
    children: float

    @property
    def rest(self) -> float:
        """Seconds of the processes that no clock of a part has: making programs, keeping
        artifacts, waiting for the slowest process."""
        parts: float = sum(msgspec.structs.astuple(self.spent))
        return self.wall * self.processes - parts - self.storage


# --- ready --------------------------------------------------------------------------------


def measure_ready(choice: Choice, times: int) -> Ready:
    """Start `times` guests after the first one; to be called in a new process.

    What the cache gives (kernel, initramfs) is there before the clock starts. Raises
    `MachineryError`, `UsageError`.
    """
    kernel = resolve_kernel(choice.kernel, choice.mirror, choice.refresh)
    files = boot_files(kernel, mirror=choice.mirror, refresh=choice.refresh)
    guests = Guests(kernel, choice.accel, files, always_boot=choice.always_boot)
    with closing(guests):
        took = []
        for _ in range(times + 1):
            began = time.perf_counter()
            with guests.start() as guest:
                took.append(time.perf_counter() - began)
                said = guest.identity
        return Ready(
            said.release, said.qemu, said.accel.name, said.accel.reason,
            took[0], tuple(took[1:]), guests.no_snapshots,
        )  # fmt: skip


# --- work ---------------------------------------------------------------------------------


class _Did(msgspec.Struct, frozen=True):
    """What one process did; see `Work`."""

    rows: tuple[Row, ...]
    operations: int
    storage: float
    cpu: float


def measure_work(make: Make, processes: int, programs: int) -> Work:
    """Run the first `programs` programs on `processes` guests, a part each, at once.

    `make` makes each process's pair. Raises what a campaign's bench raises.
    """
    ends = [programs * number // processes for number in range(processes + 1)]
    parts = [partial(_ready, make, ends[n], ends[n + 1], programs) for n in range(processes)]
    with together(parts) as started:
        began = time.perf_counter()
        did: list[_Did] = started.ask(True)
        wall = time.perf_counter() - began
        children: list[float] = started.ask(False)
    rows = [row for each in did for row in each.rows]
    spent = [msgspec.structs.astuple(row.spent) for row in rows]
    return Work(
        processes, wall, programs,
        operations=sum(each.operations for each in did),
        steps=sum(row.digest.steps for row in rows),
        outcomes=Counter(row.digest.outcome for row in rows),
        spent=Spent(*map(sum, zip(*spent, strict=True))),
        storage=sum(each.storage for each in did),
        cpu=sum(each.cpu for each in did),
        children=sum(children),
    )  # fmt: skip


@contextmanager
def _ready(
    make: Make, start: int, stop: int, warm: int
) -> Iterator[Callable[[bool], _Did | float]]:
    """A bench whose guest runs; True runs the programs, False ends the guest and says what
    CPU time QEMU and the other children took. Programs from `warm` on come before."""
    with scratch("bench") as folder:
        store = Store.open(folder / FILE)
        bench = Bench(_NIGHT, _PLAN, make(), "bench", folder)
        with closing(store), closing(bench):
            store.begin(Night(_NIGHT))
            keeper = Keeper(_NIGHT, store, Shelf(folder, _BUDGET))
            bench.run(Rest(_shard(warm, warm + _WARM)), lambda _done: None, lambda: False)
            before = _children_seconds()

            def answer(work: bool) -> _Did | float:
                if work:
                    return _run(bench, keeper, _shard(start, stop))
                bench.close()
                return _children_seconds() - before

            yield answer


def _children_seconds() -> float:
    """CPU time of the children of this process, those that have ended and those that live."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()  # from the third on: proc(5)
            if int(fields[1]) == os.getpid():
                ticks += int(fields[11]) + int(fields[12])
    return ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _run(bench: Bench, keeper: Keeper, shard: Shard) -> _Did:
    storage = 0.0
    rows: list[Row] = []
    cpu = time.process_time()

    def keep(done: Done) -> None:
        nonlocal storage
        began = time.perf_counter()
        keeper.take(done)
        storage += time.perf_counter() - began
        rows.append(done.row)

    bench.run(Rest(shard), keep, lambda: False)
    began = time.perf_counter()
    keeper.finish(shard.name)
    storage += time.perf_counter() - began
    cpu = time.process_time() - cpu
    programs = (program for _, program in _PLAN.batch(shard).programs())
    return _Did(tuple(rows), sum(len(program.ops) for program in programs), storage, cpu)


def _shard(start: int, stop: int) -> Shard:
    return Shard(_KIND, SEED, start, stop)
