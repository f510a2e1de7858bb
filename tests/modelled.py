"""The model on a line of operations, and held against a recording of a real kernel."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fakes import make_workload

from harness.comparison.compare import compare
from harness.recordings.recording import geometry_of, raw_lines, recorded_by, trace_of
from harness.trace import Extent, FileObservation, Placement, State, Step, Trace, placement_of
from model import Behaviour, Model
from workloads.images import Geometry, Image
from workloads.workload import Workload

RECORDINGS = Path(__file__).parent / "recordings"
FREE = 14000


def geometry(image: Image) -> Geometry:
    """An image with `FREE` blocks free and nothing kept for root."""
    return Geometry(
        blocks=image.size // image.block_size,
        free_blocks=FREE,
        reserved_blocks=0,
        block_size=image.block_size,
        cluster_size=image.cluster_size,
    )


def run(
    line: str, config: str = "4k@delalloc", *, iomap: bool = False, **switches: object
) -> Trace:
    """The model's trace of a line of operations, each file's blocks placed nowhere."""
    behaviour = Behaviour(iomap=iomap, **switches)  # type: ignore[arg-type]
    return Model(behaviour, geometry).run(make_workload(line, config))


def placed(
    workload: Workload, extents: dict[str, tuple[Extent, ...]] | None = None, iomap: bool = False
) -> Trace:
    """The model's trace with the blocks of files where `extents` says; without it those of
    `a` and `b` are contiguous, each file's apart from the other's."""
    far: dict[str, tuple[Extent, ...]] = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << power),)
        for name, power in (("a", 31), ("b", 35))
    }
    placement = tuple(extents or far for _ in range(len(workload.ops) + 1))
    return Model(Behaviour(iomap=iomap), geometry).run(workload, placement)


def in_one_piece(workload: Workload, **powers: int) -> Placement:
    """A placement with each file in one piece from block 2 to that power of 4096 bytes on."""
    places = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 4096 << power),) for name, power in powers.items()
    }
    return (places,) * (len(workload.ops) + 1)


def results(trace: Trace) -> list[object]:
    """What each operation returned."""
    return [step.result for step in trace.steps]


def file(step: Step, name: str = "a") -> FileObservation:
    """What was seen of one file after `step`."""
    return step.observation.files[name]


def states(step: Step, name: str = "a") -> list[tuple[int, int, str]]:
    """Start, length and state of each extent."""
    extents = file(step, name).extents or ()
    return [(extent.start, extent.length, str(extent.state)) for extent in extents]


@cache
def chosen(name: str, part: str) -> list[Trace]:
    """The traces of recording `name` whose workload's name contains `part`."""
    kernel, _, kind = name.partition("-")
    listed = f"{'bh' if kernel == 'bh73' else kernel}-{kind}.workloads.json.xz"
    found = [
        trace_of(line, workload, name, recorded_by(name).release)
        for _, line, workload in raw_lines(RECORDINGS / f"{name}.jsonl.xz", RECORDINGS / listed)
        if part in workload["name"]
    ]
    assert found, f"{name} holds nothing like {part}"
    return found


def disagreements(trace: Trace, behaviour: Behaviour) -> list[str]:
    """Where the model, told where the kernel put the blocks, parts from `trace`."""
    model = Model(behaviour, lambda _: geometry_of(trace))
    mine = model.run(trace.workload, placement_of(trace))
    return [
        f"{trace.workload.name} step {found.place} {found.op}: {found.file} {found.field}"
        f" model {found.expected} kernel {found.actual}"
        for found in compare(mine, trace).mismatches
    ]
