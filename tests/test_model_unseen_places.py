"""Blocks that an operation allocates and frees, or moves, before anybody sees where they lay."""

from __future__ import annotations

from fakes import make_workload
from modelled import file, geometry

from harness.trace import (
    APART,
    Extent,
    FileObservation,
    Final,
    Observation,
    State,
    Step,
    Trace,
    placement_of,
)
from model import Behaviour, Model
from model.placement import Placer

PAGE = 4096
CONFIG = "inline@nodelalloc"


def _at(*places: tuple[int, int, int]) -> tuple[Extent, ...]:
    """Written extents by first block, number of blocks and place, all in blocks."""
    return tuple(
        Extent(start * PAGE, count * PAGE, State.WRITTEN, place * PAGE)
        for start, count, place in places
    )


def _file(extents: tuple[Extent, ...]) -> FileObservation:
    return FileObservation(4096, extents=extents)


def _last(line: str, config: str, *steps: tuple[Extent, ...]) -> Step:
    """The last step of a line whose file lies as `steps` say."""
    placement = (*({"a": extents} for extents in steps), {"a": steps[-1]})
    return Model(Behaviour(), geometry).run(make_workload(line, config), placement).steps[-1]


def _placer(*places: tuple[int, int, int], apart: bool = False) -> Placer:
    placer = Placer(({"a": _at(*places), **({APART: ()} if apart else {})},), PAGE)
    placer.begin(0)
    return placer


def test_a_block_that_is_gone_lay_before_those_that_came_with_it() -> None:
    placer = _placer((2, 2, 57))
    assert placer.lookup("a", 0, None, 4) == (55, 2 + (1 << 31))
    assert placer.unseen
    assert placer.lookup("a", 0, 900, 4) == (55, 2 + (1 << 31))


def test_a_block_that_is_gone_has_nothing_to_do_with_what_was_not_asked_for() -> None:
    placer = _placer((2, 2, 57))
    assert placer.lookup("a", 0, 900, 2) == (900, 1 << 31)


def test_a_block_that_a_shift_frees_lay_before_what_comes_in_its_place_or_apart() -> None:
    for apart in (False, True):
        placer = _placer((0, 4, 57), apart=apart)
        placer.moved("a", 0, 2, -2)
        found = placer.lookup("a", 1, 900, 1)
        assert placer.unseen
        assert found is not None
        assert (found[0] == 56) is not apart
        assert placer.lookup("a", 2, 900, 1) == (57, 1 << 31 if not apart else 4)
        assert not placer.unseen


def test_a_block_that_is_gone_lay_before_those_that_are_seen_behind_a_gap() -> None:
    """What the shift puts in its place is no block of the file; nor is what was there before."""
    placer = _placer((10, 2, 57))
    placer.moved("a", 0, 2, -2)
    assert placer.lookup("a", 1, None, 16) == (57 - 11, 11 + (1 << 31))


def test_what_is_before_a_shift_was_where_it_is() -> None:
    placer = _placer((1, 1, 57))
    placer.moved("a", 4, 2, -2)
    assert placer.lookup("a", 0, None, 3) == (56, 1 + 5)


def test_a_file_that_is_replaced_does_not_lie_where_the_other_one_does() -> None:
    """Closing writes back the file that goes, which had been truncated, in one piece; the other
    has its name at the end of the step. As on Debian's 7.3.4."""
    line = "pwrite a 0 4k; truncate a 0; pwrite a 0 256k; pwrite b 0 32k; rename b a"
    left = _at((0, 4, 57), (4, 4, 90))
    placement = tuple({"a": places} for places in ((), (), (), (), left, left))
    trace = Model(Behaviour(), geometry).run(make_workload(line), placement)
    events = [(e.file, e.count) for e in trace.steps[4].events or () if e.claim]
    assert sorted(events) == [("a", 64), ("b", 4), ("b", 4)]


def test_where_blocks_came_to_later_says_nothing_of_those_that_were_freed() -> None:
    placer = _placer((0, 1, 50), (2, 2, 57))
    placer.gone_from = 1
    assert placer.lookup("a", 0, None, 1) == (50, 1)
    assert placer.lookup("a", 1, 900, 4) == (900, 1 << 31)
    assert placer.unseen


def test_a_block_that_is_supposed_to_lie_apart_does_so_alone() -> None:
    found = _placer((2, 2, 57), apart=True).lookup("a", 0, None, 4)
    assert found is not None
    assert found[0] > 1 << 61
    assert found[1] == 2


def test_the_block_that_inline_data_moves_to_is_seen_where_a_shift_has_put_it() -> None:
    """Data leaves the inode for block 0, which the insertion makes block 1."""
    line = "pwrite a 0 1; finsert a 0 4k; append a 4k; pwrite a 0 4k; pwrite a 12k 8k"
    last = _last(
        line, CONFIG, (), _at((1, 1, 56)), _at((1, 2, 56)), _at((0, 1, 58), (1, 2, 56)),
        _at((0, 1, 58), (1, 2, 56), (3, 1, 59), (4, 1, 61)),
    )  # fmt: skip
    assert file(last).blocks == 40


def test_blocks_that_a_collapse_frees_lay_before_those_behind_unless_a_file_has_these() -> None:
    """Blocks 1 and 2 are allocated and freed in the last step. Before block 3 the file has block 0
    on the device, so they lay elsewhere and are an extent of their own: with the one that the
    collapse splits there are five, and the tree block stays. As on Debian's 7.3.4."""
    line = "falloc a 0 8k; pwrite a 8k 112k; finsert a 4k 8k; pwrite a 0 16k; pwrite a 224k 68k"
    there = _at((0, 1, 100), (3, 1, 101), (4, 28, 102))
    first = _at((0, 2, 100))
    left = _at((0, 24, 106), (48, 17, 200))
    last = _last(
        f"{line}; fcollapse a 0 32k", "4k@delalloc", first, first, there, there, there, left
    )
    assert file(last).blocks == (24 + 17 + 1) * 8


def test_a_shift_that_is_refused_moves_inline_data_all_the_same() -> None:
    """Nothing is inserted at EOF; the data has block 0 then."""
    last = _last("pwrite a 0 1; finsert a 4k 4k; pwrite a 8k 4k", CONFIG,
                 (), _at((0, 1, 56)), _at((0, 1, 56), (2, 1, 58)))  # fmt: skip
    assert (last.result, file(last).blocks) == (4096, 16)


def test_what_is_left_of_blocks_allocated_at_once_lies_where_it_is_seen() -> None:
    """A punch writes back what left the inode, three blocks, and frees the first of them. The
    others and what follows them are one extent, so that the tree stays in the inode."""
    line = "pwrite a 0 1; pwrite a 0 12k; fpunch a 0 4k; pwrite_odsync a 4k 12k; fzero a 0 8k"
    four = _at((0, 1, 60), (1, 3, 57))
    last = _last(
        f"{line}; fzero a 16k 1", "inline@delalloc", (), (), _at((1, 2, 57)), _at((1, 3, 57)),
        four, (*four, *_at((4, 1, 61))),
    )  # fmt: skip
    assert file(last).blocks == 40


def test_a_block_that_a_short_copy_left_lies_where_it_is_seen() -> None:
    """Of a folio that is uptodate as a whole what was copied counts, also past EOF: block 5 stays,
    and is not beside block 4. With it the file has five extents, as on Debian's 7.3.4."""
    line = "pwrite a 0 8k; truncate a 5k; fsync a; pwrite_fault a 2k 6k fault=4k; fsync a; "
    ends = ((0, 5, 8705), (5, 1, 8713), (10, 1, 8718), (20, 1, 3109), (30, 1, 3119))
    seen = tuple(
        Extent(start << 10, count << 10, State.WRITTEN, place << 10) for start, count, place in ends
    )
    before = (Extent(0, 8 << 10, State.WRITTEN, 8705 << 10),)
    after = (seen[:1], seen[:1], seen[:2], seen[:2], seen[:3], seen[:4], seen)
    end = "pwrite a 10k 1k; pwrite a 20k 1k; pwrite a 30k 1k"
    last = _last(line + end, "1k@nodelalloc", before, *after)
    assert (file(last).blocks, file(last).size) == (20, 31 << 10)


def test_blocks_that_are_delayed_by_then_say_nothing_of_where_others_lay() -> None:
    """As on 7.3.4: the punch has all seven blocks written, then frees the last one."""
    delayed = Extent(7 * PAGE, PAGE, State.DELAYED)
    placer = Placer(({"a": (*_at((0, 6, 2072)), delayed, *_at((8, 2, 2080)))},), PAGE)
    placer.begin(0)
    assert placer.lookup("a", 0, None, 7) == (2072, 1 << 31)
    assert placer.lookup("a", 7, None, 2) == (2079, 1 + (1 << 31))
    line = "pwrite a 0 128; pwrite_fault a 0 64k fault=28k; fpunch a 24k 26007"
    places = ((), (), (*_at((0, 6, 2072)), delayed))
    step = _last(line, "inline@delalloc", *places)
    assert [event.count for event in step.events or ()] == [7]


def test_a_block_of_a_cluster_with_a_mapped_one_is_beside_that() -> None:
    """Whatever is before it in the file, seen or not: else the tree would grow or shrink."""
    seen = _at((0, 1, 64), (25, 1, 129))
    line = "pwrite a 0 4k; fsync a; falloc a 100k 4k; pwrite a 4k 92k; pwrite a 96k 4k; fsync a"
    placement = ({"a": seen},) * 5 + ({},)
    trace = Model(Behaviour(), geometry).play(
        make_workload(line, "bigalloc16k@delalloc"), placement
    )[1]
    last = trace.files["a"].es.lookup(24)
    assert last.pblk is not None
    assert last.pblk + 24 - last.start == 128


def test_what_a_shutdown_wrote_is_where_the_next_mount_shows_it() -> None:
    workload = make_workload("pwrite a 0 4k; shutdown 0; pread a 0 4k", "4k@delalloc")
    seen = Observation(files={"a": _file(_at((0, 1, 77)))})
    steps = (
        Step(4096, (), Observation(files={"a": _file(())})),
        Step(0, (), Observation(error="EIO")),
        Step("EIO", (), Observation(error="EIO")),
    )
    trace = Trace(workload, "kernel", Observation(), steps, Final(seen))
    assert [places.get("a") for places in placement_of(trace) if places is not None] == [
        (), _at((0, 1, 77)), _at((0, 1, 77)), _at((0, 1, 77)),
    ]  # fmt: skip
