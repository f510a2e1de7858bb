"""Low space asks for writeback, unless the flusher thread counts as busy."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import FREE, file, geometry, states

from harness.errors import NotModelledError
from harness.running.suppositions import BEHIND
from harness.trace import AGAIN, LATE, EventKind, Extent, State, Step
from model import Behaviour, Model
from model.extent_status import Run
from model.inode import Inode
from model.mount import Mount
from model.percpu_counter import PerCpuCounter
from model.placement import Placer
from model.units import EOF_BLOCK, UNWRITTEN

LAST = "pwrite a 4190208 4k; fsync a; remount; "
"""The block before 4 MiB is on disk and not in the page cache."""


def last_step(before: str, line: str, *, preempted: bool = True, path: str = "") -> Step:
    """After `line`, before which 1580 blocks are free, 800 of them dirty: more than half, so
    that the next write asks for writeback."""
    fill = f"falloc f 0 {(FREE - 1580) * 4}k; pwrite a 0 3199k; "
    workload = make_workload(before + fill + line, f"small4k@delalloc{path}")
    places = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << power),)
        for name, power in (("a", 31), ("f", 35))
    }
    behaviour = Behaviour(iomap=bool(path), waker_preempted=preempted)
    trace = Model(behaviour, geometry).run(workload, (places,) * (len(workload.ops) + 1))
    return trace.steps[-1]


def allocated(step: Step) -> int:
    """Blocks that writeback took."""
    return sum(event.count for event in step.events or () if event.kind is EventKind.UPDATE)


@pytest.mark.parametrize(("preempted", "written"), [(True, 800), (False, 1312)])
def test_a_second_chunk_of_a_write_finds_the_flusher_busy(preempted: bool, written: int) -> None:
    """2 MiB and 100 bytes are two chunks; before the second 780 blocks are free, 512 dirty."""
    assert allocated(last_step("", "pwrite a 4m 2097252", preempted=preempted)) == written


def test_the_next_operation_finds_it_idle() -> None:
    assert allocated(last_step("", "pwrite a 4m 2097252; pwrite a 8m 100")) == 513


@pytest.mark.parametrize(("preempted", "result"), [(True, 128 * 4096), (False, "ENOSPC")])
def test_what_was_written_is_converted_once_the_write_has_ended(
    preempted: bool, result: object
) -> None:
    """977 blocks are free, 768 of them dirty: they are written back, and the write allocates at
    once. Its 128 blocks, all but the 81 that are kept, join what is unwritten still, so that
    they need no fifth extent, nor a block for the tree."""
    fill = f"pwrite a 0 4k; pwrite a 8k 4k; sync; falloc f 0 {(FREE - 2 - 977) * 4}k"
    line = f"{fill}; pwrite a 2m 1m; pwrite a 4m 2m; pwrite a 6m 512k"
    workload = make_workload(line, "small4k@delalloc")
    ranges = ((0, 4096), (8192, 4096), (2 << 20, 1 << 20), (4 << 20, 1 << 30))
    places = {
        "a": tuple(
            Extent(start, length, State.WRITTEN, (1 << 31) + (at << 25))
            for at, (start, length) in enumerate(ranges)
        ),
        "f": (Extent(0, 1 << 30, State.WRITTEN, 1 << 35),),
    }
    behaviour = Behaviour(iomap=False, waker_preempted=preempted)
    trace = Model(behaviour, geometry).run(workload, (places,) * (len(workload.ops) + 1))
    assert trace.steps[-1].result == result


def test_the_size_on_disk_is_that_of_the_io_not_of_the_write_that_asked_for_it() -> None:
    step = last_step("", "pwrite a 4m 4k", path=",buffered_iomap")
    assert (file(step).disksize, file(step).size) == (3199 << 10, 4100 << 10)


def test_what_depends_on_the_time_of_a_read_is_refused() -> None:
    """The first of three chunks begins inside a block: a hole, or one that has to be read."""
    line = "pwrite a 4194204 2097352"
    assert allocated(last_step("", line)) == 800
    with pytest.raises(NotModelledError, match="a matter of time"):
        last_step(LAST, line)


@pytest.mark.parametrize(
    ("places", "delayed"), [({}, []), ({LATE: ()}, [(81 * 4096, 431 * 4096, "delayed")])]
)
def test_the_rest_of_a_folio_waits_where_the_part_before_it_is_under_io_still(
    places: dict[str, tuple[Extent, ...]], delayed: list[tuple[int, int, str]]
) -> None:
    """2 MiB, one folio, of which 81 blocks can be had before a commit. Both as on Debian's
    7.3.4, the second once in ten times."""
    fill = f"falloc f 0 {(FREE - 81) * 4}k; fpunch f 0 2736k; pwrite a 0 2052k"
    workload = make_workload(f"size: 16m; {fill}; fsync a", "small4k@delalloc")
    ends = ((0, 81 * 4096), (81 * 4096, 1 << 30))
    seen = tuple(Extent(*end, State.WRITTEN, 1 << 31 + at) for at, end in enumerate(ends))
    far = {"a": seen, "f": (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),), **places}
    trace = Model(Behaviour(iomap=False), geometry).run(workload, (far,) * (len(workload.ops) + 1))
    found = [extent for extent in states(trace.steps[-2]) if extent[2] == "delayed"]
    assert found == delayed
    assert file(trace.steps[-1]).reserved == 0  # it waited, and fsync(2) finds it


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), [(0, 512, "written"), (512, 31, "unwritten")]),
        ((AGAIN,), [(0, 512, "written"), (512, 31, "unwritten")]),
        ((LATE,), [(0, 80, "written"), (80, 432, "delayed"), (512, 31, "unwritten")]),
        (
            (LATE, AGAIN),
            [
                (0, 80, "written"),
                (80, 432, "delayed"),
                (512, 16, "written"),
                (528, 15, "unwritten"),
            ],
        ),
    ],
)
def test_behind_what_was_passed_over_the_flusher_may_be_idle_again(
    words: tuple[str, ...], expected: list[tuple[int, int, str]]
) -> None:
    """Three chunks: 2 MiB, 64 and 60 KiB. Where the first one is under I/O still it is passed over,
    and the second one may be written when the third asks. As on 7.3.4 with the iomap series, the
    last way once, on a host at load 25."""
    fill = f"falloc f 0 {(FREE - 80) * 4}k; fpunch f 0 2896k; pwrite a 0 2172k"
    workload = make_workload(f"size: 16m; {fill}; fsync a", "quotabig16k@delalloc,usrquota")
    ends = ((0, 80, 4016), (80, 512, 1624), (512, 543, 1112))
    seen = tuple(
        Extent(start << 12, (end - start) << 12, State.WRITTEN, place << 12)
        for start, end, place in ends
    )
    far = {"a": seen, "f": (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),)}
    placement = (far, far, {**far, **dict.fromkeys(words, ())}, far, far)
    trace = Model(Behaviour(iomap=False), geometry).run(workload, placement)
    found = [(start >> 12, size >> 12, state) for start, size, state in states(trace.steps[2])]
    assert found == expected
    assert states(trace.steps[3]) == [(0, 543 << 12, "written")]  # nothing is lost


def test_a_piece_that_is_given_back_for_want_of_a_tree_block_moves_the_counter() -> None:
    """As on Debian's 7.3.4: 18 blocks are taken and given back before the commit, so that 142 are
    in what a cheap read sees at the end, and not 124, which would be below the watermark."""
    line = (
        f"size: 16m; falloc a 0 32k; falloc f 0 {(FREE - 8 - 81) * 4}k; fpunch f 0 568k; "
        "pwrite a 0 426k; fsync a; pwrite a 428k 1518"
    )
    ends = ((0, 8, 1289), (8, 47, 4015), (47, 68, 4075), (68, 104, 1297), (104, 107, 4072))
    seen = tuple(
        Extent(start * 4096, (end - start) * 4096, State.WRITTEN, at * 4096)
        for start, end, at in ends
    )
    places = {"a": seen, "f": (Extent(0, 1 << 30, State.WRITTEN, 1 << 35),)}
    workload = make_workload(line, "4k@delalloc")
    trace = Model(Behaviour(iomap=False), geometry).run(workload, (places,) * 7)
    counts = [event.count for event in trace.steps[4].events or ()]
    assert (counts, trace.steps[4].observation.bfree) == ([39, 17, 4, 36], 123)
    assert states(trace.steps[-1])[-1] == (428 << 10, 4096, "delayed")


@pytest.mark.parametrize(("first", "seen"), [(16, -16), (40, 0)])
@pytest.mark.parametrize("config", ["bigalloc64k@delalloc", "4k@delalloc"])
def test_extents_are_freed_one_by_one_the_last_first(config: str, first: int, seen: int) -> None:
    """What a cheap read of the free clusters misses: the first one, of 16 clusters, comes behind
    one of 83, which was folded in. So a decision on low space went the other way on 7.3.4."""
    workload = make_workload("sync", config)
    shape = geometry(workload.config.image)
    sb = Mount(workload.config, shape, Behaviour(iomap=False), Placer(None, shape.block_size)).sb
    inode = Inode(sb, "a")
    for start, clusters in ((0, first), (100, 83)):
        inode.insert_mapped(
            Run(start * sb.ratio, (start + clusters) * sb.ratio, UNWRITTEN), claim=False
        )
    sb.free = PerCpuCounter(1000)
    inode.remove_mapped(0, EOF_BLOCK)
    assert (sb.free.sum(), sb.free.approx() - sb.free.sum()) == (1083 + first, seen)


@pytest.mark.parametrize(("words", "state"), [((), "written"), ((LATE,), "unwritten")])
def test_a_crash_shows_whether_a_commit_in_writeback_has_the_conversion_before_it(
    words: tuple[str, ...], state: str
) -> None:
    """80 blocks can be had before a commit. Both as on 7.3.4."""
    fill = f"falloc f 0 {(FREE - 81) * 4}k; fpunch f 0 4m; pwrite a 0 1m"
    workload = make_workload(f"size: 16m; {fill}; sync_range a 0 0; shutdown 2; remount",
                             "small4k@delalloc")  # fmt: skip
    far = {
        "a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),),
        "f": (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),),
        **dict.fromkeys(words, ()),
    }
    trace = Model(Behaviour(iomap=False), geometry).run(workload, (far,) * (len(workload.ops) + 1))
    assert BEHIND in trace.steps[3].because
    assert {extent[2] for extent in states(trace.steps[-1])} == {state}
