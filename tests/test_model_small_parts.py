"""Lines of the model that no recorded workload holds, as mutants have shown; see
`test_model_parts`."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from modelled import run as run_line
from modelled import states
from test_model_parts import mounted

from harness.trace import AGAIN, LATE, PIECEMEAL, Extent, State
from model import (
    Behaviour,
    balloc,
    buffer_head,
    io_end,
    journal_credits,
    map_blocks,
    placement,
    quota_warnings,
    readahead,
    run,
    tree_claim,
    writeback_bh,
    writeback_iomap,
)
from model.access import check_access
from model.after_shutdown import not_predicted
from model.errors import OpError
from model.eviction import drop_caches
from model.extent_status import Run
from model.extent_tree import ExtentTree, ExtentTreeError
from model.folio_read import read_folio
from model.inode import Inode
from model.journal_copy import (
    OUTLIVES,
    UNDONE,
    JournalCopies,
    JournalCopy,
    _is_new,
    _may_differ_on_disk,
    _put_on_disk,
    _waits,
)
from model.on_disk import block_on_disk, show_again
from model.page_cache import PageCache
from model.placement import Placer
from model.splice import splice
from model.superblock import max_extent_file_bytes
from model.truncate import setattr_size
from model.units import DELAYED, EOF_BLOCK, UNWRITTEN, WRITTEN
from workloads.ops import Fsync, Read, SyncRange


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


def test_only_a_page_that_is_cached_is_read_from_the_cache() -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.cache.add(1, 0).uptodate = 0b0001
    assert [inode.is_cached(block) for block in (0, 3, 4, 5, 8)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_what_lies_past_eof_on_disk_is_no_data_of_the_file() -> None:
    """It differs from the zeros there, which is no known bug that shows."""
    inode = Inode(mounted().sb, "a")
    inode.size = 4096
    assert inode.reads_as(4096, b"x" * 4096)
    assert not inode.reads_as(0, b"x" * 4096)


def test_a_file_that_was_only_opened_can_leave_memory_and_is_read_when_it_is_opened_again() -> None:
    """Nobody observes it in between. Then fsync(2) waits for the transaction that runs."""
    mount = mounted()
    mount.sb.traced = False
    inode = mount.file("a")
    mount.close("a")
    mount.sb.end_transaction()
    mount.file("b").change_data()
    drop_caches(mount)
    assert (inode.left_memory, inode.waits_for_commit(datasync=True)) == (True, False)
    check_access(mount, Fsync("a"))
    assert (inode.left_memory, inode.waits_for_commit(datasync=True)) == (False, True)


def test_a_file_whose_data_is_changed_is_in_the_transaction_that_another_one_waits_for() -> None:
    mount = mounted()
    mount.sb.traced = False
    inode, other = mount.file("a"), mount.file("b")
    for change, waits in ((lambda: None, False), (other.change_data, True)):
        mount.close("a")
        mount.commit()
        change()
        drop_caches(mount)
        check_access(mount, Fsync("a"))
        assert inode.waits_for_commit(datasync=True) is waits


def test_what_is_unwritten_on_either_side_may_be_split() -> None:
    inode = Inode(mounted().sb, "a")
    inode.es.set(Run(0, 4, UNWRITTEN, 100))
    inode.es.set(Run(12, 14, UNWRITTEN, 300))
    found = [io_end._splits_nothing(inode, *blocks) for blocks in ((4, 8), (5, 8), (8, 12), (0, 4))]
    assert found == [False, True, False, True]


def test_only_buffers_that_were_mapped_keep_their_mark_of_an_unwritten_block() -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    folio = inode.cache.add(1, 0)
    folio.mapped = 0b0110
    map_blocks._leave_marks(inode, 4, 6)
    assert folio.unwritten == 0b0010


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


def test_clusters_of_two_blocks_are_mapped_one_by_one_too() -> None:
    mount = mounted("4k@nodelalloc")
    mount.sb.ratio = 2
    places = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    mount.sb.placer = Placer((places,), 4096)
    mount.sb.placer.begin(0)
    inode = mount.files["a"] = Inode(mount.sb, "a")
    inode.size = 1 << 20
    assert map_blocks.map_singly(inode, 4, 8, unwritten=False) == 5


def test_what_a_quota_allows_is_counted_from_where_the_first_cluster_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mount = mounted("bigalloc16k@delalloc")
    monkeypatch.setattr(mount.sb.quota, "allocate", lambda _inode, want: want - 1)
    assert map_blocks._charge(Inode(mount.sb, "a"), 1, 11, False, False) == (2 * 4 - 1, True)


def test_what_the_kernel_may_have_forgotten_it_has_forgotten_once_space_is_freed() -> None:
    warnings = mounted("quota4k@delalloc,usrquota").sb.quota.warnings
    for forgets, unknown in ((True, None), (False, quota_warnings.FORGOTTEN)):
        warnings.refused(7)
        warnings.dropped({"a"})
        if forgets:
            warnings.forget(7)
        warnings.refused(7)
        assert warnings.unknown == unknown


def test_what_first_made_warnings_unknown_stays_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = mounted("quota4k@delalloc,usrquota")
    inode, warnings = Inode(mount.sb, "a"), mount.sb.quota.warnings
    monkeypatch.setattr(warnings, "freed", lambda *_: warnings.said.append((0, 0)))
    warnings.freed_pieces(inode, [1], unsure=True)
    assert warnings.unknown == quota_warnings.PASSING
    warnings.unknown = "an earlier reason"
    warnings.freed_pieces(inode, [1], unsure=True)
    mount.sb.placer = Placer(({PIECEMEAL: ()},), 4096)
    mount.sb.placer.begin(0)
    monkeypatch.setattr(warnings, "_may_stop_below", lambda *_: True)
    warnings.freed_pieces(inode, [1])
    assert warnings.unknown == "an earlier reason"


@pytest.mark.parametrize(
    ("hard", "clusters", "may"),
    [(2, 1, False), (2, 2, True), (2, 3, True), (1, 2, False), (0, 2, False)],
)
def test_pieces_may_leave_part_of_what_the_limit_was_reached_with(
    hard: int, clusters: int, *, may: bool
) -> None:
    """`hard` and `clusters` are blocks, all that the owner had."""
    mount = mounted("quota4k@delalloc,usrquota")
    inode = mount.files["a"] = Inode(mount.sb, "a")
    inode.uid, mount.sb.quota.limits = 7, {7: hard * 4096}
    assert mount.sb.quota.warnings._may_stop_below(inode, clusters) is may
    inode.allocated = 1
    assert not mount.sb.quota.warnings._may_stop_below(inode, clusters)


def test_what_is_read_of_a_missing_file_is_known() -> None:
    assert run._undefined_read(mounted(), Read("a", 0, 10)) == ""


@pytest.mark.parametrize(("block", "most"), [(1024, 2147483647 * 1024), (4096, 536870911 * 4096)])
def test_without_huge_file_sectors_are_32_bits(block: int, most: int) -> None:
    assert max_extent_file_bytes(block, huge_file=False) == most


@pytest.mark.parametrize("config", ["inline@delalloc", "inline@nodelalloc"])
def test_a_single_byte_moves_out_of_the_inode_too(config: str) -> None:
    trace = run_line("pwrite a 0 1; pwrite a 8k 100; fsync a", config)
    assert states(trace.steps[-1]) == [(0, 4096, "written"), (8192, 4096, "written")]


def test_blocks_beside_a_files_own_are_not_taken() -> None:
    sb = mounted().sb
    inode = sb.quota.files["a"] = Inode(sb, "a")
    inode.es.set(Run(0, 4, WRITTEN, 100))
    ranges = ((96, 4), (97, 4), (103, 1), (104, 1))
    assert [map_blocks._is_taken(sb, *each) for each in ranges] == [False, True, True, False]


@pytest.mark.parametrize(("blocks", "own"), [(16, False), (17, True)])
def test_files_above_16_blocks_have_space_of_their_own_set_aside(blocks: int, *, own: bool) -> None:
    inode = Inode(mounted().sb, "a")
    inode.size, inode.writers = blocks * 4096, 1
    assert inode.prealloc._is_stream(inode, blocks) is own


# --- where blocks are ---------------------------------------------------------------------


def test_after_a_rename_the_new_file_of_that_name_is_looked_up_under_it() -> None:
    placer = Placer(({"b": (Extent(0, 8192, State.WRITTEN, 1 << 31),)},), 4096)
    placer.begin(0)
    placer.renamed("a", "b")
    assert placer.lookup("b", 0, None)[0] != (1 << 31) // 4096
    placer.replaced("b")
    assert placer.lookup("b", 0, None)[0] == (1 << 31) // 4096


@pytest.mark.parametrize(("end", "gone"), [(8 << 10, None), ((8 << 10) + 1, 2)])
def test_only_what_is_past_eof_is_trimmed_where_a_copy_is_rejected(
    monkeypatch: pytest.MonkeyPatch, end: int, gone: int | None
) -> None:
    inode, seen = Inode(mounted().sb, "a"), list[int | None]()
    inode.size = 8 << 10
    placer = inode.sb.placer
    monkeypatch.setattr(
        buffer_head, "block_write_begin", lambda *_: seen.append(placer.gone_from) or 0
    )
    buffer_head._begin_in_vain(inode, inode.cache.add(1, 1), 4 << 10, end, False)
    assert (seen, placer.gone_from) == ([gone], None)


def test_places_that_are_adjacent_to_nothing_are_not_to_each_other() -> None:
    placer = Placer(None, 4096)
    assert placer.elsewhere()[0] != placer.elsewhere()[0]


def test_a_block_that_a_first_shift_moves_into_a_second_ones_range_goes() -> None:
    shifts = ((0, 0, 4), (5, 2, -2))
    assert [placement._goes(lblk, shifts) for lblk in range(5)] == [False, True, True, False, False]


# --- copies in the journal ----------------------------------------------------------------


def a_copy(inode: Inode | None = None, transaction: int = 0, **more: int) -> JournalCopy:
    return JournalCopy(100, bytes(4096), inode, transaction, **more)


def test_a_journal_holds_what_a_quarter_of_it_or_twelve_commits_have_not_passed() -> None:
    assert [a_copy(logged=blocks).is_sure for blocks in (255, 256)] == [True, False]
    assert [a_copy(commits=count).is_sure for count in (11, 12)] == [True, False]


def test_copies_of_which_nobody_saw_the_place_are_apart() -> None:
    mount = mounted()
    mount.sb.behaviour = Behaviour(quirks=frozenset({UNDONE}))
    copies = JournalCopies(mount.files)
    for pblk in (None, None, 100, 100):
        copies.add(mount.file("a"), pblk, b"")
    assert [copy.pblk for copy in copies._copies] == [None, None, 100]


@pytest.mark.parametrize("quirks", [{UNDONE}, {UNDONE, OUTLIVES}])
def test_the_copy_of_a_file_stays_its_own_until_its_block_is_freed(quirks: set[str]) -> None:
    mount = mounted()
    mount.sb.behaviour = Behaviour(quirks=frozenset(quirks))
    copies, inode = JournalCopies(mount.files), mount.file("a")
    copies.add(inode, 100, b"")
    copies.freed(mount.file("b"), 0, 1)
    copies.freed(inode, 1, 2)
    assert [copy.inode for copy in copies._copies] == [inode]
    copies.freed(inode, 0, 1)
    assert [copy.inode for copy in copies._copies] == ([None] if OUTLIVES in quirks else [])


def test_what_the_running_transaction_has_logged_waits_for_its_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mount = mounted()
    inode, written = mount.file("a"), list[int]()
    inode.es.set(Run(0, 1, WRITTEN, 100))
    inode.cache.mark_dirty(inode.cache.add(0, 0), 1)
    copies = JournalCopies(mount.files)
    copies._copies = [a_copy(inode, transaction) for transaction in (4, 5)]
    monkeypatch.setattr(copies, "_write", lambda due: written.extend(c.transaction for c in due))
    copies.write_before_data(5)
    assert written == [4]


@pytest.mark.parametrize(("dirty", "waits"), [(True, True), (False, False)])
def test_only_dirty_data_waits_for_a_commit(*, dirty: bool, waits: bool) -> None:
    inode = Inode(mounted().sb, "a")
    folio = inode.cache.add(0, 0)
    if dirty:
        inode.cache.mark_dirty(folio, 1)
    assert _waits(a_copy(inode), inode, 0) is waits


def test_each_block_of_a_folio_is_mapped_or_not() -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.es.set(Run(4, 8, UNWRITTEN, 100))
    inode.cache.add(1, 0).mapped = 0b0110
    assert [_is_new(inode, lblk) for lblk in range(4, 8)] == [True, False, False, True]


def test_what_was_known_of_a_block_on_disk_is_known_no_more() -> None:
    inode = Inode(mounted().sb, "a")
    inode.differs_on_disk(1, b"", "an earlier bug")
    _may_differ_on_disk(inode, 1, UNDONE)
    assert (inode.unsaved, inode.on_disk) == ([], {})


def test_a_block_that_reads_as_its_copy_is_on_disk_as_it_is_cached() -> None:
    mount = mounted()
    mount.sb.behaviour = Behaviour(quirks=frozenset({UNDONE}))
    inode, data = Inode(mount.sb, "a"), b"x" * 4096
    inode.size = 12288
    inode.content.write(8192, data)
    inode.cache.add(2, 0).uptodate = 1
    inode.differs_on_disk(2, b"", "an earlier bug")
    _put_on_disk(inode, 2, data, UNDONE, sure=True)
    assert (inode.unsaved, inode.on_disk) == ([], {})


def test_what_a_copy_wrote_is_what_is_on_disk_from_then_on() -> None:
    mount = mounted()
    mount.sb.behaviour = Behaviour(quirks=frozenset({UNDONE}))
    inode, data = Inode(mount.sb, "a"), b"x" * 4096
    inode.size = 12288
    inode.cache.add(2, 0).uptodate = 1
    inode.differs_on_disk(2, b"", "an earlier bug")
    _put_on_disk(inode, 2, data, UNDONE, sure=True)
    assert (inode.unsaved, inode.on_disk) == ([(2, 3)], {2: (data, UNDONE)})


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


@pytest.mark.parametrize(("ios", "open_"), [([[(0, 4)]], False), ([[(0, 2)], [(2, 4)]], True)])
def test_which_io_ended_last_is_open_if_there_were_several(
    ios: list[list[tuple[int, int]]], *, open_: bool
) -> None:
    inode = Inode(mounted().sb, "a")
    inode.tree.insert(0, 4, 100, True)
    inode.es.set(Run(0, 4, UNWRITTEN, 100))
    inode.cache.add(0, 2)
    writeback_bh._end_io(inode, ios)
    assert inode.cache.pinned is inode.cache.get(0)
    assert (inode.cache.on_doubt is not None) is open_


def test_the_last_error_of_writeback_is_the_one_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inode = Inode(mounted().sb, "a")
    inode.errors.failed("EIO")
    monkeypatch.setattr(writeback_iomap, "convert_written", lambda *_: 2)
    writeback_iomap._finish_ioend(inode, Run(0, 4, UNWRITTEN, 100), 4 * 4096)
    assert (inode.errors.untold(""), inode.unsaved) == ("ENOSPC", [(2, 4)])


@pytest.mark.parametrize(
    ("start", "end", "next_one"), [(0, None, 12288), (4096, None, 0), (0, 8192, 0)]
)
def test_only_writeback_of_the_whole_file_moves_where_the_next_begins(
    monkeypatch: pytest.MonkeyPatch, start: int, end: int | None, next_one: int
) -> None:
    inode = Inode(mounted().sb, "a")
    monkeypatch.setattr(writeback_bh, "_write_range", lambda *_: 12288)
    writeback_bh.writepages(inode, start, end)
    assert inode.writeback_start == next_one


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


def test_a_block_that_was_never_saved_is_on_disk_as_nobody_knows() -> None:
    inode, data = Inode(mounted().sb, "a"), b"x" * 4096
    inode.es.set(Run(0, 2, WRITTEN, 100))
    inode.content.write(0, data * 2)
    inode.unsaved = [(1, 2)]
    assert [block_on_disk(inode, lblk) for lblk in (0, 1)] == [(data, None), (None, None)]


@pytest.mark.parametrize("start", [0, 1024, 4096, 5120])
def test_what_stays_on_disk_shows_again_where_it_was(start: int) -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.size = 8192
    disk = b"".join(bytes([at]) * 1024 for at in range(1, 9))
    show_again(inode, start, [(0, disk[:4096]), (4096, disk[4096:])])
    assert inode.content.read(0, 8192) == bytes(start) + disk[start:]


def test_a_folio_that_was_forgotten_stays_without_buffers() -> None:
    cache = PageCache(1024, 1 << 20)
    folio = cache.add(0, 0)
    folio.buffers, folio.uptodate, folio.mapped = True, 0b1111, 0b0011
    cache.mark_dirty(folio, 0b0001)
    cache.forget(folio)
    assert (list(cache), list(cache.dirty)) == ([folio], [])
    assert (folio.buffers, folio.uptodate, folio.mapped, folio.dirty) == (False, 0, 0, 0)


def test_a_window_that_ends_at_eof_marks_no_page() -> None:
    inode = Inode(mounted().sb, "a")
    inode.size = 8 * 4096
    readahead._single_pages(inode, 0, 32, 16)
    assert [folio.marked for folio in inode.cache] == [False] * 8
    inode.size = 64 * 4096
    readahead._single_pages(inode, 8, 32, 16)
    assert [folio.index for folio in inode.cache if folio.marked] == [24]


def test_the_tree_may_need_more_credits_for_two_extents_than_for_one() -> None:
    """Three blocks a level and two nodes, in place of two blocks a level and the leaf."""
    sb = mounted("1k@delalloc").sb
    sb.max_folio = 1024
    one = journal_credits._conversion_credits(sb)
    sb.max_folio = 2048
    assert journal_credits._conversion_credits(sb) - one == (3 * 5 + 2) - (2 * 5 + 1)


def test_without_low_space_nothing_is_passed_over_for_io_that_ends_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inode = Inode(mounted().sb, "a")
    inode.sb.placer = Placer(({LATE: ()},), 4096)
    inode.sb.placer.begin(0)
    monkeypatch.setattr(writeback_bh, "commit_for_writeback", lambda _sb: None)
    done = writeback_bh._Mapped(0)
    assert writeback_bh._commit(inode, 2, 4, done) == 2
    inode.sb.io_waits = True
    assert writeback_bh._commit(inode, 2, 4, done) == 4
    assert done.skipped == [(2, 4)]


def test_io_waits_for_a_commit_that_a_crash_shows_and_for_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inode, waits = Inode(mounted().sb, "a"), list[bool]()
    monkeypatch.setattr(writeback_bh, "commit_for_writeback", lambda sb: waits.append(sb.io_waits))
    for inode.sb.crashes in (False, True):
        assert writeback_bh._commit(inode, 2, None, writeback_bh._Mapped(0)) == 2
        assert not inode.sb.io_waits
    assert waits == [False, True]


def test_a_folio_that_could_not_be_read_has_state_for_each_block() -> None:
    """Of the last page that a file can have (iomap_read_folio)."""
    mount = mounted("1k@delalloc,buffered_iomap", iomap=True)
    mount.sb.behaviour = Behaviour(quirks=frozenset({"last_page_read_in_part"}))
    inode = Inode(mount.sb, "a")
    folio = inode.cache.add(EOF_BLOCK // 4, 0)
    with pytest.raises(OpError, match="EIO"):
        read_folio(inode, folio)
    assert (folio.state, folio.uptodate) == (True, 0b0111)


def test_what_is_undefined_stays_so_when_it_is_spliced_onto_itself() -> None:
    inode = Inode(mounted().sb, "a")
    inode.size = 16 << 10
    inode.content.lose(0, 4096)
    assert splice(inode, 0, inode, 4096, 12 << 10) == 12 << 10
    assert inode.content.undefined(inode.size) == ((0, 16 << 10),)


@pytest.mark.parametrize("bits", [0b0110, 0b1001])
def test_the_journal_has_blocks_of_the_file_and_not_of_the_folio(bits: int) -> None:
    inode = Inode(mounted("1k@data=journal").sb, "a")
    inode.log(inode.cache.add(1, 0), bits)
    assert inode.journalled == {4 + bit for bit in range(4) if bits >> bit & 1}


def test_only_blocks_of_a_folio_that_is_discarded_are_lost() -> None:
    inode = Inode(mounted().sb, "a")
    inode.size = 10 * 4096
    inode.es.set(Run(2, 3, DELAYED))
    folio = inode.cache.add(2, 0)
    inode.cache.mark_dirty(folio, 1)
    writeback_iomap._discard_folio(inode, folio)
    assert inode.unsaved == [(2, 3)]


def test_only_a_flusher_that_has_passed_over_something_may_be_idle_again() -> None:
    sb = mounted().sb
    sb.placer = Placer(({AGAIN: ()},), 4096)
    sb.placer.begin(0)
    sb.flusher_busy = True
    assert balloc._flusher_is_busy(sb)
    sb.passed_over = [PageCache(4096, 4096).add(0, 0)]
    assert [balloc._flusher_is_busy(sb) for _ in range(2)] == [False, True]


def test_a_truncation_to_the_same_size_changes_the_inode() -> None:
    inode = Inode(mounted().sb, "a")
    inode.sb.end_transaction()
    setattr_size(inode, 0)
    assert (inode.changed_in, inode.unsynced) == (inode.sb.transaction, True)


def test_jbd2_may_commit_by_itself_from_a_third_of_the_journal_on_less_what_an_operation_asks() -> (
    None
):
    """The journal has 1024 blocks, and an operation asks for 128 at most."""
    sb = mounted("small4k@data=journal").sb
    found = []
    for sb.journalled in (213, 214):
        found.append(sb.is_too_large)
    assert found == [False, True]


def test_sixteen_group_descriptors_are_in_a_block_of_1_kib() -> None:
    sb, found = mounted("1k@delalloc").sb, list[int]()
    for groups in (15, 16, 17):
        sb.geometry = msgspec.structs.replace(sb.geometry, blocks=groups * 8192)
        found.append(journal_credits._conversion_credits(sb))
    assert [after - before for before, after in itertools.pairwise(found)] == [1, 2]


def test_a_mount_counts_what_is_free_anew() -> None:
    mount = mounted()
    mount.sb.free.add(-3)
    assert mount.sb.free.approx() == mount.sb.free.sum() + 3
    mount.remount()
    assert mount.sb.free.approx() == mount.sb.free.sum()


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
