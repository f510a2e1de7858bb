"""Conversion after I/O while no tree block can be had: what is zeroed instead, and what is lost."""

from __future__ import annotations

import hashlib
from functools import partial

import pytest
from fakes import make_workload
from modelled import FREE, file, geometry, results, states

from harness.running.suppositions import ANY_ORDER, BESIDE, BESIDE_BH
from harness.trace import LATE, TURNS, Extent, State, Trace
from model import Behaviour, Model, io_end
from model.placement import Placer
from workloads.content import pattern

KIB = 1024
BLOCK = 4 * KIB
KEPT = 81
"""Blocks of 16 MiB that are kept for conversions."""
ZEROES, FAILS = "conversion_zeroes_other_writes", "conversion_finds_no_tree_block"
PATHS = pytest.mark.parametrize("path", ["", ",buffered_iomap"], ids=["buffer_head", "iomap"])
SIXTEEN = "falloc a 0 64k"
KEEP = "falloc_keep a 1m 64k"


def followed(
    before: str, line: str, path: str = "", left: int = 0, quirks: str = "", supposed: str = ""
) -> Trace:
    """`line` after `before`, with three extents of one block each besides and `left` blocks that
    can be had; all others wait for a commit. `supposed` is what is supposed of all steps."""
    three = "; ".join(f"pwrite a {at}k 4k" for at in (512, 640, 768))
    fill = f"falloc f 0 {(FREE - 19 - KEPT) * 4}k; sync; unlink f"
    rest = f"pwrite b 0 {(KEPT - left) * 4}k; sync_range b 0 0"
    workload = make_workload(
        f"{three}; {before}; {fill}; {rest}; {line}", f"small4k@delalloc{path}"
    )
    places: dict[str, tuple[Extent, ...]] = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << power),)
        for name, power in (("a", 31), ("b", 35), ("f", 40))
    }
    if supposed:
        places[supposed] = ()
    model = Model(Behaviour(iomap=bool(path), quirks=frozenset(quirks.split())), geometry)
    return model.run(workload, (places,) * (len(workload.ops) + 1))


TWO = "pwrite a 0 4k tag=1; pwrite a 8k 4k tag=2; sync_range a 0 0"
AFTER = "; drop_caches; pread a 0 12k"


def md5(*parts: tuple[int, int] | None) -> str:
    """Of blocks: tag and place of what was written there, None for zeros."""
    data = [bytes(BLOCK) if part is None else pattern(part[0], part[1], BLOCK) for part in parts]
    return hashlib.md5(b"".join(data)).hexdigest()


@PATHS
def test_all_of_an_extent_within_eof_becomes_written(path: str) -> None:
    step = followed(SIXTEEN, TWO, path).steps[-1]
    assert states(step)[0] == (0, 64 * KIB, "written")
    assert file(step).blocks == 19 * 8


@PATHS
def test_with_a_tree_block_to_be_had_it_is_split(path: str) -> None:
    step = followed(SIXTEEN, TWO, path, left=1).steps[-1]
    assert states(step)[:3] == [
        (0, BLOCK, "written"), (BLOCK, BLOCK, "unwritten"), (2 * BLOCK, BLOCK, "written"),
    ]  # fmt: skip
    assert file(step).blocks == 20 * 8


@PATHS
def test_what_other_io_wrote_there_stays(path: str) -> None:
    trace = followed(SIXTEEN, TWO + AFTER, path)
    assert results(trace)[-1] == md5((1, 0), None, (2, 2 * BLOCK))
    assert not any(step.quirks for step in trace.steps)


@PATHS
def test_with_the_bug_nobody_knows_once_the_page_cache_is_dropped(path: str) -> None:
    trace = followed(SIXTEEN, TWO + "; pread a 0 12k" + AFTER, path, quirks=ZEROES)
    assert results(trace)[-3] == md5((1, 0), None, (2, 2 * BLOCK))
    assert "result" not in trace.steps[-3].unpredicted
    assert "result" in trace.steps[-1].unpredicted


@PATHS
def test_what_is_written_again_is_safe(path: str) -> None:
    again = "; pwrite a 0 4k tag=3; pwrite a 8k 100 tag=3; fsync a"
    trace = followed(SIXTEEN, TWO + again + AFTER, path, quirks=ZEROES)
    assert "result" not in trace.steps[-1].unpredicted


@PATHS
@pytest.mark.parametrize(
    ("line", "shared"),
    [
        ("pwrite a 0 12k; sync_range a 0 0", False),
        ("pwrite a 0 64k; sync_range a 0 0", False),
        ("pwrite a 0 4k; sync_range a 0 0; pwrite a 8k 4k; sync_range a 0 0", False),
        ("pwrite a 4k 4k; pwrite a 60k 4k; sync_range a 0 0", True),
    ],
)
def test_only_io_of_the_same_writeback_and_extent_is_in_danger(
    path: str, line: str, shared: bool
) -> None:
    step = [step for step in followed(SIXTEEN, line, path, quirks=ZEROES).steps if step.quirks]
    assert bool(step) is shared


@pytest.mark.parametrize(
    "line", ["finsert a 0 4k; pread a 4k 12k", "fcollapse a 64k 4k; pread a 0 12k"]
)
@pytest.mark.parametrize(("quirk", "known"), [("", True), (ZEROES, False)])
def test_a_range_that_is_shifted_leaves_the_page_cache(line: str, quirk: str, known: bool) -> None:
    """What is collapsed is behind it: only the page cache from there on goes."""
    step = followed(SIXTEEN, f"{TWO}; {line}", quirks=quirk).steps[-1]
    assert ("result" in step.unpredicted) is not (known or "fcollapse" in line)


def test_a_direct_write_finds_the_zeros_on_disk() -> None:
    step = followed(SIXTEEN, f"{TWO}; dwrite a 512 512; pread a 0 512", quirks=ZEROES).steps[-1]
    assert "result" in step.unpredicted


def test_a_fourth_extent_needs_no_tree_block() -> None:
    """The right end is split off, then the left end can't be: it is zeroed alone."""
    three = "truncate a 700k; falloc a 0 64k"
    step = followed(three, "pwrite a 4k 4k; sync_range a 0 0", left=-1).steps[-1]
    assert states(step)[:2] == [(0, 2 * BLOCK, "written"), (2 * BLOCK, 14 * BLOCK, "unwritten")]


@pytest.mark.parametrize("quirk", ["", FAILS])
def test_past_eof_on_buffer_heads_it_is_lost_and_fsync_says_nothing(quirk: str) -> None:
    late = "pwrite a 1m 4k tag=1; sync_range a 0 0; sync; pwrite a 1m 100 tag=2; fsync a; "
    trace = followed(KEEP, late + "pread a 1m 4k; drop_caches; pread a 1m 4k", quirks=quirk)
    assert results(trace)[-7:-3] == [0, 0, 100, 0]
    second = pattern(2, 1 << 20, 100) + pattern(1, 1 << 20, BLOCK)[100:]
    assert results(trace)[-3] == hashlib.md5(second).hexdigest()
    read = bytes(BLOCK) if quirk else second
    assert results(trace)[-1] == hashlib.md5(read).hexdigest()
    assert states(trace.steps[-1])[-1] == (
        (1 << 20, 64 * KIB, "unwritten") if quirk else ((1 << 20) + BLOCK, 60 * KIB, "unwritten")
    )


@pytest.mark.parametrize(("quirk", "told"), [("", 0), (FAILS, "ENOSPC")])
def test_past_eof_on_iomap_the_size_stays_behind_and_fsync_says_so_once(
    quirk: str, told: object
) -> None:
    line = "pwrite a 1m 4k; sync_range a 0 0; fsync a; fsync a"
    trace = followed(KEEP, line, ",buffered_iomap", quirks=quirk)
    assert results(trace)[-3:] == [told, 0, 0]
    assert file(trace.steps[-1]).size == (1 << 20) + BLOCK
    assert file(trace.steps[-1]).disksize == (772 * KIB if quirk else (1 << 20) + BLOCK)


def test_what_was_not_converted_is_once_there_is_space_and_it_is_written_again() -> None:
    line = "pwrite a 1m 4k tag=1; sync_range a 0 0; sync; pwrite a 1m 100 tag=2; fsync a"
    for path, kept in (("", False), (",buffered_iomap", True)):
        trace = followed(KEEP, f"{line}; drop_caches; pread a 1m 4k", path, quirks=FAILS)
        second = pattern(2, 1 << 20, 100) + pattern(1, 1 << 20, BLOCK)[100:]
        assert results(trace)[-1] == hashlib.md5(second if kept else bytes(BLOCK)).hexdigest()


def test_writeback_that_has_to_commit_converts_before_it_has_what_that_frees() -> None:
    """Two I/Os to the unwritten extent go out, then delayed blocks find no space."""
    line = "pwrite a 0 4k; pwrite a 8k 4k; pwrite a 1m 1m; fsync a"
    lines = partial(followed, SIXTEEN, line)
    assert states(lines().steps[-1])[0] == (0, 64 * KIB, "written")
    assert ZEROES in lines(quirks=ZEROES).steps[-1].quirks


@pytest.mark.parametrize(("supposed", "extents"), [("", 1), (LATE, 4)])
def test_io_that_outlasts_that_commit_is_converted_with_what_it_frees(
    supposed: str, extents: int
) -> None:
    """Seen in one run of three on Debian's 7.3.4, of a program with such a commit."""
    line = "pwrite a 0 4k; pwrite a 8k 4k; pwrite a 1m 1m; fsync a"
    step = followed(SIXTEEN, line, supposed=supposed).steps[-1]
    assert [found[0] < 64 * KIB for found in states(step)].count(True) == extents
    assert BESIDE_BH in step.because


TWO_LEFT = "truncate a 700k; falloc a 0 64k"
"""With this there are two more extents, so that the tree has room for one more."""


@pytest.mark.parametrize(
    ("supposed", "written"),
    [("", 64), (TURNS[0], 12), (TURNS[1], 12)],
    ids=["first", "second", "none"],
)
def test_which_io_ends_first_shows_where_one_split_only_is_to_be_had(
    supposed: str, written: int
) -> None:
    """Either block 0 is split off, and the rest is zeroed for block 2; or what is behind block 2 is
    split off, and what is before it is zeroed. There is no third way."""
    step = followed(TWO_LEFT, TWO, left=-1, supposed=supposed).steps[-1]
    assert states(step)[0] == (0, written * KIB, "written")
    assert ANY_ORDER in step.because


def test_what_any_order_may_lose_is_not_predicted() -> None:
    """Block 0, if that of block 2 ends first; block 2 in neither."""
    for supposed in ("", TURNS[0]):
        line = f"{TWO}; drop_caches; pread a 0 4k; pread a 8k 4k"
        steps = followed(TWO_LEFT, line, left=-1, quirks=ZEROES, supposed=supposed).steps[-2:]
        assert ["result" in step.unpredicted for step in steps] == [True, False]


def test_where_there_is_room_nobody_asks_for_the_order() -> None:
    assert ANY_ORDER not in followed(TWO_LEFT, TWO, left=4).steps[-1].because


def test_many_ios_end_in_the_order_of_their_submission_but_for_the_first() -> None:
    line = "; ".join(f"pwrite a {at}k 4k" for at in range(0, 64, 8)) + "; sync_range a 0 0"
    step = followed(TWO_LEFT, line, left=-1).steps[-1]
    assert states(step)[0] == (0, 64 * KIB, "written")


@pytest.mark.parametrize(("supposed", "first"), [("", "written"), (LATE, "unwritten")])
def test_on_iomap_a_conversion_beside_a_commit_may_have_what_that_frees(
    supposed: str, first: str
) -> None:
    """Two blocks can be had before it. The first I/O is under way when the third finds none."""
    line = "pwrite a 4k 12k; pwrite a 1m 100k; fsync a"
    step = followed(TWO_LEFT, line, ",buffered_iomap", left=1, supposed=supposed).steps[-1]
    assert states(step)[0] == (0, 64 * KIB if first == "written" else BLOCK, first)
    assert BESIDE in step.because


@pytest.mark.parametrize(("ios", "orders"), [(1, 0), (2, 2), (4, 24), (6, 24)])
def test_no_more_than_so_many_orders_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, ios: int, orders: int
) -> None:
    """Their number grows as a factorial does."""
    seen = []
    worked_out = io_end._in_order
    monkeypatch.setattr(io_end, "_in_order", lambda *each: seen.append(each) or worked_out(*each))
    writes = "; ".join(f"pwrite a {8 * at}k 4k" for at in range(ios))
    followed(SIXTEEN, f"{writes}; sync_range a 0 0")
    assert len(seen) == orders


def test_the_last_order_that_is_supposed_counts() -> None:
    placer = Placer(({TURNS[0]: (), TURNS[2]: ()}, {}), BLOCK)
    placer.begin(0)
    assert placer.turn == 3
    placer.begin(1)
    assert placer.turn == 0
