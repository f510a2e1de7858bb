"""Edges of the model's own parts that no workload tells from their neighbours.

Mutants have shown that nothing held them: what no kernel shows in a recorded workload is held
here, in a line each.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from modelled import results, run

from harness.errors import NotModelledError
from model import balloc
from model.content import Content
from model.errors import TreesCount
from model.extent_nodes import ROOT_ENTRIES, Branch, Index, Leaf, Slot
from model.extent_status import ExtentStatus, Run
from model.extent_tree import ExtentTree
from model.percpu_counter import PerCpuCounter
from model.units import DELAYED, EOF_BLOCK, HOLE, WRITTEN


def content(*pieces: tuple[int, bytes], lost: tuple[tuple[int, int], ...] = ()) -> Content:
    made = Content()
    for pos, data in pieces:
        made.write(pos, data)
    for low, high in lost:
        made.lose(low, high)
    return made


# --- content ------------------------------------------------------------------------------


def test_what_is_written_over_is_known_again_to_the_byte() -> None:
    made = content(lost=((10, 20), (30, 40)))
    made.write(10, b"x" * 10)
    assert made.lost == [(30, 40)]
    made.write(35, b"x" * 10)
    assert made.undefined(100) == ((30, 5),)


def test_of_what_is_lost_only_the_first_bytes_count() -> None:
    made = content(lost=((10, 20), (50, 60)))
    assert made.undefined(100) == ((10, 10), (50, 10))
    assert made.undefined(50) == ((10, 10),)
    assert made.undefined(15) == ((10, 5),)


def test_a_copy_loses_what_the_first_lost_and_no_more() -> None:
    first = content((0, b"abc"), lost=((5, 9),))
    twin = first.copy()
    first.lose(20, 30)
    assert twin.undefined(100) == ((5, 4),)
    assert twin.read(0, 3) == b"abc"


@pytest.mark.parametrize(("target", "lost"), [(0, ((0, 10),)), (30, ((30, 10),))])
def test_lost_bytes_move_with_the_others(target: int, lost: tuple[tuple[int, int], ...]) -> None:
    made = content((20, b"a" * 20), lost=((5, 30),))
    made.move(20, target, 40)
    assert tuple(part for part in made.undefined(100) if part[0] >= target) == lost


def test_digests_are_of_as_many_bytes_as_were_asked_for() -> None:
    made = content((0, b"a" * 5000))
    for size in (4096, 5000, 6000, 4096):
        data = (b"a" * 5000).ljust(6000, b"\0")[:size]
        assert made.sha256(size) == hashlib.sha256(data).hexdigest()
        assert set(made.checksums(size)) == ({0} if size == 4096 else {0, 1})


def test_zero_to_no_end_leaves_nothing() -> None:
    made = content((0, b"abc"), (1 << 40, b"def"))
    made.zero(2)
    assert made.read(0, 4) == b"ab\0\0"
    assert made.read(1 << 40, 3) == bytes(3)


# --- extent status ------------------------------------------------------------------------


def test_holes_reach_from_one_extent_to_the_next() -> None:
    status = ExtentStatus(1)
    assert status.lookup(7) == Run(0, EOF_BLOCK, HOLE)
    status.set(Run(4, 6, DELAYED))
    assert status.lookup(0) == Run(0, 4, HOLE)
    assert status.lookup(6) == Run(6, EOF_BLOCK, HOLE)


def test_pieces_cover_the_range_and_nothing_else() -> None:
    status = ExtentStatus(1)
    status.set(Run(4, 6, DELAYED))
    assert status.pieces(4, 6) == [Run(4, 6, DELAYED)]
    assert status.pieces(2, 8) == [Run(2, 4, HOLE), Run(4, 6, DELAYED), Run(6, 8, HOLE)]
    assert status.pieces(6, 6) == []


def test_a_cut_run_knows_where_its_blocks_are() -> None:
    run_ = Run(4, 10, WRITTEN, 100)
    assert run_.cut(4, 10) == run_.cut(0, 20) == run_
    assert run_.cut(6, 8) == Run(6, 8, WRITTEN, 102)


# --- vectors ------------------------------------------------------------------------------

MANY = ",".join(["1"] * 1024)


@pytest.mark.parametrize(
    ("begin", "usual"), [("pwrite a 0 4k; sync", 1024), ("pwrite a 0 4k; sync; shutdown 2", "EIO")]
)
def test_a_vector_has_1024_segments_at_most(begin: str, usual: object) -> None:
    assert results(run(f"{begin}; pwritev a 0 {MANY}"))[-1] == usual
    assert results(run(f"{begin}; pwritev a 0 {MANY},1"))[-1] == "EINVAL"


# --- space --------------------------------------------------------------------------------


def superblock(free: int = 0, **fields: object) -> Any:
    """What the questions about space look at."""
    counter = SimpleNamespace(sum=lambda: free, approx=lambda: free)
    quota = SimpleNamespace(files={})
    return SimpleNamespace(
        **{"most_free": 100, "free": counter, "ratio": 1, "quota": quota, **fields}
    )


def test_an_answer_is_certain_if_tree_blocks_do_not_change_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(balloc, "_tree_doubt", lambda _sb: (3, 5))
    assert balloc._certain(superblock(), lambda more: more >= -10)
    assert not balloc._certain(superblock(), lambda more: more >= 10)
    for limit in (-4, 1, 3):
        with pytest.raises(NotModelledError):
            balloc._certain(superblock(), lambda more, limit=limit: more >= limit)


def test_without_files_there_is_no_doubt_about_trees() -> None:
    assert balloc._tree_doubt(superblock()) == (0, 0)


def test_a_doubt_about_trees_shifts_what_a_cheap_read_sees_by_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        balloc, "_certain", lambda _sb, ask: [ask(more) for more in (-5, 0, 3)] and False
    )
    balloc._is_low(superblock(100, space_unknown="why"), lambda free: bool(seen.append(free)))
    assert seen == [100 - 5 - 32, 100, 100 + 3 + 32]


def test_another_try_is_worth_it_if_one_cluster_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(balloc, "has_free_clusters", lambda _sb, count: asked.append(count) or True)
    assert balloc.should_retry_alloc(superblock(journal=True, free_pending=0), 3)
    assert not balloc.should_retry_alloc(superblock(journal=True, free_pending=0), 4)
    assert asked == [1]


def test_writeback_commits_only_if_anything_is_free() -> None:
    for free, pending, wanted in ((0, 3, False), (1, 0, False), (1, 3, True)):
        sb = superblock(free, free_pending=pending)
        assert balloc.commit_may_free_some(sb) is wanted


def test_space_is_plentiful_if_both_counters_may_be_off_by_a_batch() -> None:
    sb = superblock(1000, space_unknown=None, without_trees=False, r_blocks=30, resv=20)
    sb.dirty = SimpleNamespace(sum=lambda: 50)
    most = 1000 - 50 - 30 - 20 - 2 * 32
    assert [balloc.is_plentiful(sb, count) for count in (most, most + 1)] == [True, False]


def test_a_conversion_may_take_what_is_kept_but_no_more_than_there_is() -> None:
    sb = superblock(
        10, space_unknown=None, without_trees=False, r_blocks=30, resv=20, watermark=128, root=False
    )
    sb.dirty = PerCpuCounter(4)
    for use_reserved, most in ((False, -1), (True, 6)):
        has = [balloc.has_free_clusters(sb, count, use_reserved) for count in range(8)]
        assert has == [count <= most for count in range(8)]


def test_what_nobody_counts_is_a_tree_block_for_each_block_that_is_taken_at_each_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five levels; and files that have more trees than that have not got them yet."""
    monkeypatch.setattr(balloc, "_most_tree_blocks", lambda _sb: 1 << 30)
    sb = superblock(1000, most_free=1010, r_blocks=30, resv=20, watermark=128)
    sb.dirty = SimpleNamespace(sum=lambda: 50)
    most = 1000 - 2 * 50 - 30 - 20 - 128 - 4 * 32 - 5 * 10
    balloc.need_plenty(sb, most)
    with pytest.raises(TreesCount):
        balloc.need_plenty(sb, most + 1)


def test_a_counter_is_folded_in_at_a_batch_exactly() -> None:
    counter = PerCpuCounter(10)
    counter.add_ones(31)
    assert (counter.total, counter.local) == (10, 31)
    counter.add_ones(1)
    assert (counter.total, counter.local) == (42, 0)
    counter.add(-31)
    assert (counter.total, counter.local) == (42, -31)
    counter.add(-1)
    assert (counter.total, counter.local) == (10, 0)


@pytest.mark.parametrize(("total", "seen"), [(-1, 0), (0, 0), (1, 1), (2, 2)])
def test_a_cheap_read_is_never_below_nothing(total: int, seen: int) -> None:
    assert PerCpuCounter(total).approx() == seen


# --- extent trees -------------------------------------------------------------------------


def test_a_tree_that_is_read_from_disk_is_what_was_read() -> None:
    slots = [Slot(number * 2, 1, 100 + number * 2, unwritten=False) for number in range(6)]
    leaves = [Leaf(slots[:3], 340), Leaf(slots[3:], 340)]
    root = Branch([Index(0, leaves[0]), Index(6, leaves[1])], ROOT_ENTRIES)
    tree = ExtentTree.grown(4096, root)
    assert [extent.lblk for extent in tree.extents()] == [0, 2, 4, 6, 8, 10]
    assert (tree.depth(), tree.blocks()) == (1, 2)


def test_a_shift_by_nothing_or_of_nothing_does_nothing() -> None:
    tree = ExtentTree(4096)
    tree.shift(0, 5)
    tree.shift(7, -5)
    tree.insert(0, 10, 100, unwritten=False)
    tree.shift(5, 0)
    assert [(extent.lblk, extent.length) for extent in tree.extents()] == [(0, 10)]


@pytest.mark.parametrize("preempted", [True, False])
def test_io_that_low_space_starts_waits_only_while_the_flusher_thread_does(preempted: bool) -> None:
    during: list[bool] = []
    sb = superblock(
        10, dirty=SimpleNamespace(approx=lambda: 6), watermark=0, space_unknown=None,
        without_trees=False, flusher_busy=False, io_waits=False, rule=lambda _text: None,
        behaviour=SimpleNamespace(waker_preempted=preempted),
    )  # fmt: skip
    sb.writeback_all = lambda: during.append(sb.io_waits)
    assert not balloc.nonda_switch(sb)
    assert during == [preempted]
    assert (sb.io_waits, sb.flusher_busy) == (False, preempted)
