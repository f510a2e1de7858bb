"""Lines of the model that no recorded workload holds, as mutants have shown; see
`test_model_parts`."""

from __future__ import annotations

import pytest
from test_model_parts import mounted

from harness.trace import LATE, Extent, State
from model import (
    io_end,
    map_blocks,
    quota_warnings,
    run,
    tree_claim,
    writeback_bh,
    writeback_iomap,
)
from model.after_shutdown import not_predicted
from model.extent_status import Run
from model.extent_tree import ExtentTree, ExtentTreeError
from model.inode import Inode
from model.on_disk import show_again
from model.page_cache import PageCache
from model.placement import Placer
from model.superblock import max_extent_file_bytes
from model.units import UNWRITTEN, WRITTEN
from workloads.ops import Read, SyncRange, SyncWrite


def test_what_a_missing_file_answers_after_a_shutdown_is_known() -> None:
    mount = mounted()
    mount.sb.shut_down = True
    assert not_predicted(mount, SyncRange("a", 0, 4096)) == ""


def test_only_an_unwritten_block_is_converted_at_the_end_of_io() -> None:
    tree = ExtentTree(4096)
    tree.insert(20, 1, 1000, False)
    for lblk in (5, 20):
        with pytest.raises(ExtentTreeError, match=f"block {lblk} is not unwritten"):
            tree.end_io(lblk, 1, 100)


def test_what_has_been_saved_leaves_no_empty_piece() -> None:
    inode = Inode(mounted().sb, "a")
    inode.unsaved = [(0, 4), (6, 9)]
    inode.saved(0, 7)
    assert inode.unsaved == [(7, 9)]


def test_what_is_unwritten_on_either_side_may_be_split() -> None:
    inode = Inode(mounted().sb, "a")
    inode.es.set(Run(0, 4, UNWRITTEN, 100))
    inode.es.set(Run(12, 14, UNWRITTEN, 300))
    found = [io_end._splits_nothing(inode, *blocks) for blocks in ((4, 8), (5, 8), (8, 12), (0, 4))]
    assert found == [False, True, False, True]


def test_the_bytes_of_ordered_blocks_are_theirs() -> None:
    inode = Inode(mounted().sb, "a")
    map_blocks._order(inode, Run(3, 5, WRITTEN, 100), submitted=False)
    assert inode.ordered == (3 * 4096, 5 * 4096)


def test_blocks_that_follow_the_first_one_are_mapped_with_it_wherever_they_begin() -> None:
    mount = mounted("4k@nodelalloc")
    places = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    mount.sb.placer = Placer((places,), 4096)
    mount.sb.placer.begin(0)
    inode = mount.files["a"] = Inode(mount.sb, "a")
    inode.size = 1 << 20
    assert map_blocks.map_singly(inode, 4, 8, unwritten=False) == 8


def test_what_first_made_warnings_unknown_stays_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = mounted("quota4k@delalloc,usrquota")
    inode, warnings = Inode(mount.sb, "a"), mount.sb.quota.warnings
    monkeypatch.setattr(warnings, "freed", lambda *_: warnings.said.append((0, 0)))
    warnings.freed_pieces(inode, [1], unsure=True)
    assert warnings.unknown == quota_warnings.PASSING
    warnings.unknown = "an earlier reason"
    warnings.freed_pieces(inode, [1], unsure=True)
    assert warnings.unknown == "an earlier reason"


def test_a_call_that_commits_has_changed_its_file_before(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = mounted()
    inode = mount.files["a"] = Inode(mount.sb, "a")
    noted: list[bool] = []
    monkeypatch.setitem(run.HANDLERS, SyncWrite, lambda *_: noted.append(inode.unsynced))
    run._call(mount, SyncWrite(file="a", off=0, len=1, tag=1))
    assert noted == [True]


def test_what_is_read_of_a_missing_file_is_known() -> None:
    assert run._undefined_read(mounted(), Read("a", 0, 10)) == ""


@pytest.mark.parametrize(("block", "most"), [(1024, 2147483647 * 1024), (4096, 536870911 * 4096)])
def test_without_huge_file_sectors_are_32_bits(block: int, most: int) -> None:
    assert max_extent_file_bytes(block, huge_file=False) == most


# --- the end of I/O -----------------------------------------------------------------------


def test_what_an_io_could_not_convert_and_all_behind_it_stay_unwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inode, stay = Inode(mounted().sb, "a"), list[list[tuple[int, int]]]()
    monkeypatch.setattr(writeback_bh, "may_be_lost", lambda *_: [])
    monkeypatch.setattr(writeback_bh, "take_turns", lambda _inode, ios, _ends: ios)
    monkeypatch.setattr(writeback_bh, "convert_written", lambda _inode, _low, high: min(high, 5))
    monkeypatch.setattr(writeback_bh, "_stay_unwritten", lambda _inode, blocks: stay.append(blocks))
    writeback_bh._end_io(inode, [[(0, 2), (4, 6), (8, 9)]])
    assert stay == [[(5, 6), (8, 9)]]


@pytest.mark.parametrize(("before", "told"), [(None, "ENOSPC"), ("EIO", "EIO")])
def test_the_first_error_of_writeback_is_the_one_that_is_told(
    monkeypatch: pytest.MonkeyPatch, before: str | None, told: str
) -> None:
    inode = Inode(mounted().sb, "a")
    inode.writeback_error = before
    monkeypatch.setattr(writeback_iomap, "convert_written", lambda *_: 2)
    writeback_iomap._finish_ioend(inode, Run(0, 4, UNWRITTEN, 100), 4 * 4096)
    assert (inode.writeback_error, inode.unsaved) == (told, [(2, 4)])


def test_only_mapped_blocks_of_the_range_stay_dirty() -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.size = 4096
    folio = inode.cache.add(0, 0)
    folio.mapped = 0b0011
    writeback_bh._stay_dirty(inode, 1, 3)
    assert (folio.dirty, folio.delay) == (0b0010, 0b0010)


def test_what_waits_for_a_commit_is_not_there_for_conversions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inode, asked = Inode(mounted().sb, "a"), list[int]()
    inode.sb.space_unknown, inode.sb.free_pending = "for a test", 3

    def asks(_sb: object, count: int, **_: object) -> bool:
        asked.append(count)
        return True

    monkeypatch.setattr(tree_claim, "has_free_clusters", asks)
    assert tree_claim.conversion_room(inode) is None
    assert asked == [tree_claim.PLENTY + 3]


@pytest.mark.parametrize("late", [False, True])
def test_before_a_commit_all_but_the_last_io_is_under_way(
    monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """Whether they end late makes no difference where no conversion can lack a tree block."""
    inode, sent = Inode(mounted().sb, "a"), list[object]()
    inode.sb.placer = Placer(({LATE: ()} if late else {},), 4096)
    inode.sb.placer.begin(0)
    inode.es.set(Run(0, 2, UNWRITTEN, 100))
    inode.es.set(Run(4, 6, UNWRITTEN, 200))
    monkeypatch.setattr(writeback_iomap, "conversion_room", lambda _inode: None)
    monkeypatch.setattr(type(inode.sb), "after_io", lambda _sb, end: sent.append(end))
    done = [(0, 2), (4, 6)]
    writeback_iomap._submit_all_but_last(inode, done)
    assert (done, len(sent)) == ([(4, 6)], 1)
    nothing: list[tuple[int, int]] = []
    writeback_iomap._submit_all_but_last(inode, nothing)
    assert (nothing, len(sent)) == ([], 1)


@pytest.mark.parametrize("start", [0, 1024, 4096, 5120])
def test_what_stays_on_disk_shows_again_where_it_was(start: int) -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.size = 8192
    disk = b"".join(bytes([at]) * 1024 for at in range(1, 9))
    show_again(inode, start, [(0, disk[:4096]), (4096, disk[4096:])])
    assert inode.content.read(0, 8192) == bytes(start) + disk[start:]


# --- folios that workers hold -------------------------------------------------------------


def test_a_worker_lets_go_of_one_file_before_it_holds_a_folio_of_another() -> None:
    mount = mounted()
    one, other = PageCache(4096, 1 << 20), PageCache(4096, 1 << 20)
    mount.sb.worker_holds(one, one.add(0, 1))
    mount.sb.worker_holds(other, folio := other.add(0, 1))
    assert (one.pinned, other.pinned) == (None, folio)


def test_workers_let_go_of_nothing_that_a_task_holds() -> None:
    """As a write does that tries again (`buffer_head.write_begin`)."""
    mount, cache = mounted(), PageCache(4096, 1 << 20)
    mount.sb.worker_holds(cache, cache.add(0, 1))
    mount.sb.let_go()
    cache.pinned = folio = cache.add(2, 1)
    mount.sb.let_go()
    assert cache.pinned is folio
