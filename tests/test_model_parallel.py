"""The model takes a parallel section's calls in one order, and says what it then can't know."""

from __future__ import annotations

import msgspec
import pytest
from fakes import make_workload
from modelled import file, geometry, placed, results, states

from harness.errors import NotModelledError
from harness.trace import Extent, Ran, State, Trace
from model import Behaviour, Model
from workloads.ops import Parallel
from workloads.workload import Workload


def ordered(line: str, *order: int) -> Workload:
    workload = make_workload(line)
    ops = tuple(
        msgspec.structs.replace(op, order=order) if isinstance(op, Parallel) else op
        for op in workload.ops
    )
    return msgspec.structs.replace(workload, ops=ops)


def run(line: str, *order: int) -> Trace:
    return Model(Behaviour(iomap=False), geometry).run(ordered(line, *order))


def test_the_order_decides_and_the_section_ends_written_back() -> None:
    line = "parallel; pwrite a 0 8k; and; truncate a 4k; fsync a; end"
    sizes = {}
    for order in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        step = run(line, *order).steps[0]
        sizes[order] = file(step).size
        assert file(step).reserved == 0
        assert step.observation.delalloc == 0
    assert sizes == {(0, 1, 1): 4096, (1, 0, 1): 8192, (1, 1, 0): 8192}


def test_the_flusher_thread_that_the_section_wakes_takes_the_folio_past_eof() -> None:
    """The failed write has left a dirty page behind EOF, which sync(2)'s own writeback leaves, and
    the flusher thread cleans, so that nobody writes it when fallocate has made it unwritten. Seen
    12 times of 12 on the buffer_head path of 7.3.4 with the series."""
    line = "parallel; pwrite a 0 4k; pwrite_fault a 8k 5874 fault=4k; and; pwrite b 0 4k; end"
    trace = run(f"{line}; falloc a 4k 21160; fsync a")
    blocks = {start >> 12: state for start, _, state in states(trace.steps[-1])}
    assert blocks == {0: "written", 1: "unwritten", 2: "written", 3: "unwritten"}


def test_results_stand_by_thread_whatever_the_order() -> None:
    line = "pwrite a 0 4k; parallel; pwrite_fault a 0 8k fault=4k; and; fcollapse a 1 1; end"
    for order in ((0, 1), (1, 0)):
        trace = run(line, *order)
        assert trace.steps[1].threads == ((Ran(4096),), (Ran("EINVAL"),))
        assert results(trace)[1] == 0


def test_without_an_order_one_thread_follows_the_other() -> None:
    line = "parallel; pwrite a 0 4k; and; truncate a 100; end"
    assert file(run(line).steps[0]).size == 100


def test_events_and_racing_reads_are_no_prediction() -> None:
    step = run("parallel; pwrite a 0 4k; and; pread a 0 4k; pread b 0 1; end", 0, 1, 1).steps[0]
    assert step.events is None
    unknown = {name for name in step.unpredicted if name.startswith(("events", "result"))}
    assert unknown == {"events", "result.1.0"}


def test_bytes_that_are_stored_and_written_at_once_are_not_known() -> None:
    line = "pwrite a 0 8k; parallel; mwrite a 100 50; and; pwrite a 120 4k; end"
    final = run(line, 0, 1).final
    assert final is not None
    assert final.content is not None
    assert final.content["a"].undefined == ((120, 30),)
    apart = run("pwrite a 0 8k; parallel; mwrite a 100 50; and; pwrite a 150 4k; end", 0, 1).final
    assert apart is not None
    assert apart.content is not None
    assert apart.content["a"].undefined == ()


def test_two_cpus_move_the_low_space_watermark() -> None:
    """EXT4_FREECLUSTERS_WATERMARK grows with the possible CPUs: 4 * 32 * 2 = 256 clusters."""
    one = "pwrite a 0 4k; "
    fill = f"falloc b 0 {(14000 - 220) * 4}k; "
    section = "parallel; fsync a; and; fsync b; end"
    alone, beside = (
        placed(make_workload(line, "small4k@delalloc"))
        for line in (fill + one, fill + one + section)
    )
    assert file(alone.steps[1]).reserved == 1
    assert file(beside.steps[1]).reserved == 0


def test_threads_that_may_share_the_last_space_are_refused_by_name() -> None:
    fill = f"falloc b 0 {(14000 - 400) * 4}k; "
    with pytest.raises(NotModelledError, match="share the last free space"):
        run(fill + "parallel; pwrite a 0 400k; and; pwrite c 0 400k; end")


@pytest.mark.parametrize(
    ("shift", "order", "after"),
    [
        ("finsert", (0, 1), {0: 100, 2: 200, 3: 300, 4: 400}),
        ("finsert", (1, 0), {0: 100, 2: 200, 3: 300, 5: 400}),
        ("fcollapse", (0, 1), {0: 100, 1: 300, 4: 400}),
        ("fcollapse", (1, 0), {0: 100, 1: 300, 3: 400}),
    ],
)
def test_blocks_are_looked_up_where_the_calls_behind_leave_them(
    shift: str, order: tuple[int, int], after: dict[int, int]
) -> None:
    """A block is placed as the kernel shows it after the section, whether it was allocated
    before the shift, and moved, or after it."""
    section = f"parallel; {shift} a 4k 4k; and; pwrite_osync a 16k 4k; end"
    workload = ordered(f"pwrite a 0 12k; fsync a; {section}; sync", *order)
    before = {0: 100, 1: 200, 2: 300}
    places = tuple({"a": extents(at)} for at in ({}, before, after, after, after))
    mount = Model(Behaviour(iomap=False), geometry).finish(workload, places)
    assert {run.start: run.pblk for run in mount.files["a"].es} == after


@pytest.mark.parametrize(
    ("length", "calls", "after"),
    [
        ("8k", "finsert a 0 12k; fpunch a 12k 4k", {4: 501}),
        ("12k", "fcollapse a 0 4k; fpunch a 0 4k", {1: 502}),
        ("12k", "finsert a 4k 12k; fpunch a 0 4k", {4: 501, 5: 502}),
    ],
)
def test_blocks_that_nobody_saw_lie_before_those_that_came_with_them_and_moved(
    length: str, calls: str, after: dict[int, int]
) -> None:
    """Seen on 7.3.4, the first one: two blocks are allocated, moved, and the first one is freed.
    The model took the other one for elsewhere, and what is written behind it later joins it."""
    workload = ordered(f"pwrite a 0 {length}; parallel; {calls}; and; pread a 0 0; end", 0, 0, 1)
    places = tuple({"a": extents(at)} for at in ({}, after))
    mount = Model(Behaviour(iomap=False), geometry).finish(workload, places)
    blocks = {
        run.start + at: run for run in mount.files["a"].es for at in range(run.end - run.start)
    }
    assert {at: (run.pblk or 0) + at - run.start for at, run in blocks.items()} == after


def extents(places: dict[int, int]) -> tuple[Extent, ...]:
    """Written blocks of 4 KiB at these places."""
    return tuple(
        Extent(block * 4096, 4096, State.WRITTEN, place * 4096) for block, place in places.items()
    )


@pytest.mark.parametrize(
    ("before", "error"),
    [
        ("setflags a 0x20; close a", "EPERM"),
        ("close a; remount_opts ro", "EROFS"),
        ("close a; shutdown 2", "EIO"),
        ("setflags a 0x20", None),
    ],
)
def test_no_call_is_made_if_a_file_cannot_be_opened(before: str, error: str | None) -> None:
    """The files are opened before the threads begin, those of other calls first."""
    line = f"pwrite a 0 4k; fsync a; {before}; parallel; pread b 0 1; and; pwrite a 0 1; end"
    step = run(line).steps[-1]
    assert step.result == (error or 0)
    assert bool(step.threads) is (error is None)
    assert ("b" in step.observation.files) is (error in (None, "EPERM"))
