"""Parts of the model by themselves: the page cache, preallocation, quota, reading ahead, sections.

As in `test_model_edges`, mutants have shown that no recorded workload holds these lines.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fakes import make_workload
from modelled import geometry, run

from harness.errors import NotModelledError
from harness.trace import APART, Extent, State
from model import (
    buffer_head,
    direct_io,
    folio_read,
    inline_data,
    inline_write,
    iomap_write,
    journal_copy,
    map_blocks,
    ordered,
    parallel,
    prealloc,
    quota,
    readahead,
    remount_options,
    revived,
    shutdown,
    splice,
    tree_bounds,
    tree_claim,
    writeback_bh,
    writeback_iomap,
)
from model import mount as mount_module
from model.behaviour import Behaviour
from model.errors import OpError
from model.eviction import clear_inode
from model.extent_status import Run
from model.indirect_pointers import DIRECT
from model.indirect_tree import IndirectTree
from model.inode import Inode
from model.journal_copy import JournalCopy
from model.mmap import filemap_fault
from model.mount import Mount
from model.observe import WHOLE_FILE_LIMIT, content_of
from model.page_cache import PageCache
from model.percpu_counter import PerCpuCounter
from model.placement import Placer
from model.quota_warnings import SOFT_BELOW
from model.run import Model
from model.shift_range import insert_range
from model.source import Source
from model.units import DELAYED, PAGE, UNWRITTEN, WRITTEN
from workloads.ops import Parallel

KIB = 1024


def mounted(config: str = "4k@delalloc", iomap: bool = False) -> Mount:
    """An empty file system."""
    made = make_workload("sync", config).config
    geometry_ = geometry(made.image)
    return Mount(made, geometry_, Behaviour(iomap=iomap), Placer(None, geometry_.block_size))


# --- the page cache -----------------------------------------------------------------------


def test_a_folio_that_ends_where_the_range_does_goes_alone() -> None:
    cache = PageCache(4 * KIB, 64 * KIB)
    cache.add(0, 4)
    behind = cache.add(16, 0)
    cache.truncate(0, 64 * KIB)
    assert list(cache) == [behind]


def test_blocks_that_leave_a_folio_are_delayed_no_more() -> None:
    cache = PageCache(KIB, 64 * KIB)
    folio = cache.add(0, 0)
    folio.buffers, folio.mapped, folio.delay = True, 0b1111, 0b1111
    cache.truncate(KIB, 3 * KIB)
    assert (folio.mapped, folio.delay) == (0b1001, 0b1001)


def test_only_the_block_of_a_byte_counts_as_dirty() -> None:
    cache = PageCache(KIB, 64 * KIB)
    folio = cache.add(0, 0)
    cache.mark_dirty(folio, 0b10)
    assert [cache.holds_dirty(pos) for pos in (0, KIB - 1, KIB, 2 * KIB - 1, 2 * KIB)] == [
        False, False, True, True, False,
    ]  # fmt: skip


# --- preallocation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_kib", "block", "start", "piece"),
    [
        (16, 4 * KIB, 0, (0, 4)), (17, 4 * KIB, 0, (0, 8)), (1024, 4 * KIB, 0, (0, 256)),
        (1025, 4 * KIB, 0, (0, 512)), (4 * KIB, 4 * KIB, 600, (512, 512)),
        (4 * KIB + 1, 4 * KIB, 600, (0, 1024)), (8 * KIB, 4 * KIB, 600, (0, 1024)),
        (8 * KIB + 1, 4 * KIB, 600, (0, 2048)), (20 * KIB, KIB, 5000, (4096, 2048)),
        (20 * KIB, 2 * KIB, 5000, (4096, 2048)),
    ],
)  # fmt: skip
def test_the_piece_that_a_file_will_fill(
    size_kib: int, block: int, start: int, piece: tuple[int, int]
) -> None:
    """ext4_mb_predict_file_size: by the size up to 1 MiB, then windows, which small blocks
    keep small."""
    assert prealloc._predicted(size_kib * KIB, start, start + 10, block) == piece


def test_what_a_piece_has_left_before_a_request_is_no_part_of_the_next_piece() -> None:
    inode = Inode(mounted().sb, "a")
    inode.size = 64 * KIB
    inode.es.set(Run(0, 4, WRITTEN, 100))
    inode.prealloc._pieces = [prealloc._Piece(4, 8), prealloc._Piece(12, 14)]
    assert inode.prealloc._normalize(inode, 8, 9, 8) == (8, 12)


def test_a_piece_that_the_device_cut_is_as_long_as_what_it_gave() -> None:
    """The request got 10 blocks of 16; what is left of the piece was never set aside."""
    inode = Inode(mounted().sb, "a")
    inode.size, inode.writers = 8 << 20, 1
    assert inode.prealloc.request(inode, 32, 16, True) == 16
    inode.prealloc.cut(32, 48, 42)
    (piece,) = inode.prealloc._pieces
    assert (piece.start, piece.end, piece.free) == (0, 42, 32)
    assert inode.prealloc.request(inode, 42, 4, False) == 4


def test_single_blocks_come_from_a_piece_until_it_is_used_up() -> None:
    inode = Inode(mounted().sb, "a")
    inode.size = 8 << 20
    inode.prealloc._pieces.append(prealloc._Piece(0, 20))
    assert inode.prealloc.request_singly(inode, 4, 10) == 6
    assert [piece.free for piece in inode.prealloc._pieces] == [14]
    assert inode.prealloc.request_singly(inode, 10, 40) == 10
    assert [piece.free for piece in inode.prealloc._pieces] == [4]
    inode.prealloc._pieces[0].free = 3
    assert inode.prealloc.request_singly(inode, 0, 10) == 3
    assert inode.prealloc._pieces == []
    inode.prealloc._pieces.append(prealloc._Piece(20, 40))
    assert inode.prealloc.request_singly(inode, 20, 40) == 20
    assert inode.prealloc._pieces == []


# --- quota --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "used"),
    [
        ("quota4k@delalloc,usrquota", 4 * KIB + 16 * KIB),
        ("quotabig16k@delalloc,usrquota", 16 * KIB + 16 * KIB),
    ],
)
def test_root_has_its_directory_and_lost_and_found(config: str, used: int) -> None:
    assert mounted(config).sb.quota.usage(0) == used
    assert mounted(config).sb.quota.usage(1000) == 0


def test_small_blocks_cut_lost_and_found_at_twelve() -> None:
    """mke2fs stops where the first indirect block would be needed."""
    sb = mounted().sb
    sb.block_size = KIB
    assert sb.quota.usage(0) == KIB + 12 * KIB


def test_the_doubt_about_a_tree_grows_with_the_file() -> None:
    inode: Any = SimpleNamespace(
        tree_unknown="why", allocated=4, sb=SimpleNamespace(ratio=1, block_size=4 * KIB)
    )
    assert quota._unknown_tree(inode) == 0
    inode.allocated = 5
    assert quota._unknown_tree(inode) == 5
    inode.allocated = 340
    assert quota._unknown_tree(inode) == 2 + 5
    inode.tree_unknown = None
    assert quota._unknown_tree(inode) == 0


def test_usage_that_was_nothing_comes_below_no_limit() -> None:
    warnings = mounted("quota4k@delalloc,usrquota").sb.quota.warnings
    warnings.quota.limits[1000] = 100 * KIB
    warnings._below(1000, 0, 0)
    assert warnings.said == []
    warnings._below(1000, 4096, 4096)
    assert warnings.said == [f"uid 1000: {SOFT_BELOW}"]


# --- reading ahead ------------------------------------------------------------------------


def big(pages: int = 4096) -> Inode:
    inode = Inode(mounted().sb, "a")
    inode.size = pages * PAGE
    return inode


def test_after_a_hundred_misses_nothing_is_read_around_a_fault() -> None:
    inode = big()
    inode.readahead.misses = 99
    readahead.fault_readahead(inode, 3000)
    assert len(inode.cache) > 1
    inode = big()
    inode.readahead.misses = 100
    readahead.fault_readahead(inode, 3000)
    assert len(inode.cache) == 1


def test_a_read_takes_31_folios_at_a_time() -> None:
    inode = big()
    inode.cache.add_read(0, 40, readahead.NEVER)
    assert len(readahead._batch(inode.cache, 0, 40)) == 31


def test_what_is_read_up_to_the_end_gets_no_mark() -> None:
    inode = big(4)
    readahead.read_pages(inode, 0, 4 * PAGE)
    assert [folio.marked for folio in inode.cache] == [False] * 4


def test_a_page_that_no_window_brings_comes_alone() -> None:
    inode = big()
    inode.readahead.misses = 1000
    readahead.fault_readahead(inode, 64)
    assert [(folio.index, folio.pages) for folio in inode.cache] == [(64, 1)]


@pytest.mark.parametrize(
    ("start", "end", "whole"),
    [
        (KIB, 2 * KIB, True), (KIB, 3 * KIB, False), (KIB, PAGE, False), (0, PAGE, False),
        (PAGE - KIB + 1, PAGE, False), (0, KIB, True),
    ],
)  # fmt: skip
def test_part_of_a_folio_can_be_read(start: int, end: int, whole: bool) -> None:
    """Blocks 0, 1 and 3 are uptodate. A range that leaves out less than a block at either end is
    for the whole folio."""
    cache = PageCache(KIB, 64 * KIB)
    folio = cache.add(0, 0)
    folio.buffers, folio.uptodate = True, 0b0011
    assert folio_read.is_partially_uptodate(cache, folio, start, end) is whole
    folio.uptodate = 0b1110
    assert folio_read.is_partially_uptodate(cache, folio, 2 * KIB, PAGE)
    assert not folio_read.is_partially_uptodate(cache, folio, 1, PAGE)


# --- sections -----------------------------------------------------------------------------


def section(text: str) -> Parallel:
    (op,) = make_workload(f"parallel; {text}; end").ops
    assert isinstance(op, Parallel)
    return op


def test_a_store_races_with_what_touches_the_same_bytes_only() -> None:
    beside = section("mwrite a 0 4k; and; pwrite a 4k 4k")
    assert list(parallel._raced(beside)) == []
    over = section("mwrite a 0 4k; and; pwrite a 4095 4k")
    assert list(parallel._raced(over)) == [("a", 4095, 4096)]


def test_a_read_is_no_prediction_if_any_other_thread_changes_the_file() -> None:
    open_ = dict(parallel._unpredicted(section("pread a 0 4k; and; pwrite b 0 4k; pwrite a 0 4k")))
    assert set(open_) == {"events", "result.0.0"}
    known = dict(parallel._unpredicted(section("pread a 0 4k; and; pwrite b 0 4k")))
    assert set(known) == {"events"}


def test_an_insert_at_the_start_shifts_too() -> None:
    mount = mounted()
    shifts = list(parallel._shifts(mount, [*section("finsert a 0 8k; and; sync").threads[0]]))
    assert shifts == [("a", (0, 0, 2))]


# --- files without extents, and inline data -----------------------------------------------


def test_pointers_that_are_read_from_disk_are_what_was_read() -> None:
    asked: list[int] = []

    def below(word: int) -> list[int]:
        asked.append(word)
        return [0, 7, 0]

    tree = IndirectTree.grown(4096, [5, 0, 6, *[0] * 9, 9, 0, 0], below)
    assert asked == [9]
    assert tree.ranges() == [(0, 1), (2, 1), (DIRECT + 1, 1)]
    assert tree.blocks() == 1


def test_inline_data_that_finds_no_block_stays_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise OpError("ENOSPC")

    monkeypatch.setattr(inline_data, "map_blocks", refused)
    inode = Inode(mounted("inline@delalloc").sb, "a")
    inode.inline, inode.inline_size = True, 60
    with pytest.raises(OpError):
        inline_data.convert_inline_data(inode)
    assert (inode.inline, inode.may_inline) == (True, True)


# --- without what is seen -----------------------------------------------------------------


@pytest.mark.parametrize("line", ["pwrite a 0 64k; fsync a; fzero a 8k 32k; pread a 0 64k"])
def test_results_are_the_same_if_nothing_is_observed(line: str) -> None:
    workload = make_workload(line)
    model = Model(Behaviour(iomap=False), geometry)
    seen, blind = model.run(workload), model.run(workload, observed=False)
    assert [step.result for step in blind.steps] == [step.result for step in seen.steps]
    assert blind.final is not None and seen.final is not None
    assert blind.final.content is not None and seen.final.content is not None
    assert blind.final.content["a"].sha256 == seen.final.content["a"].sha256


def test_an_image_in_a_file_needs_someone_to_open_it() -> None:
    workload = make_workload("sync")
    image = workload.config.image.__class__("from-x", 64 << 20, ("-b", "4096", "-O", "x"), "ab")
    config = workload.config.__class__(image, "delalloc")
    with pytest.raises(NotModelledError, match="not at hand"):
        Model(Behaviour(), geometry).run(workload.__class__("p", config, workload.ops))


def test_the_disk_is_known_once_all_trees_are() -> None:
    assert run("pwrite a 0 4k").steps[-1].observation.bfree is not None


def test_a_read_of_more_than_is_read_ahead_is_marked_in_its_middle() -> None:
    inode = big()
    inode.readahead.pages = 64
    readahead._sync(inode, 0, 100)
    ahead = inode.readahead
    assert (ahead.start, ahead.size, ahead.lead) == (0, 64, 32)
    marked = [folio.index for folio in inode.cache if folio.marked]
    assert marked == [32]


def test_pages_before_count_up_to_a_gap_the_start_or_a_limit() -> None:
    inode = big()
    inode.cache.add_read(0, 4, readahead.NEVER)
    inode.cache.add_read(6, 10, readahead.NEVER)
    before = readahead._cached_before
    assert [before(inode.cache, *at) for at in ((4, 100), (10, 100), (10, 2), (5, 9), (0, 9))] == [
        4, 4, 2, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "most", "size"),
    [(1, 2048, 4), (5, 2048, 32), (64, 2048, 256), (65, 2048, 256), (512, 2048, 1024),
     (513, 2048, 2048)],
)  # fmt: skip
def test_a_first_window(count: int, most: int, size: int) -> None:
    """get_init_ra_size: the next power of two, times four, times two, or all."""
    assert readahead._first_size(count, most) == size


@pytest.mark.parametrize(
    ("size", "most", "following"), [(100, 2048, 400), (128, 2048, 256), (1000, 2048, 2000),
                                    (1024, 2048, 2048), (1025, 2048, 2048), (1, 24, 2)],
)  # fmt: skip
def test_the_window_after_one(size: int, most: int, following: int) -> None:
    """get_next_ra_size."""
    assert readahead._next_size(size, most) == following


def test_folios_are_no_larger_than_the_window() -> None:
    inode = big()
    ahead = inode.readahead
    ahead.start, ahead.size, ahead.lead, ahead.order = 64, 3, 1, 4
    readahead._submit(inode, 64)
    assert ahead.order == 1
    assert [(folio.index, folio.pages) for folio in inode.cache] == [(64, 2), (66, 1)]


# --- what a commit has written ------------------------------------------------------------


def test_each_written_block_has_its_place() -> None:
    runs = (Run(4, 6, WRITTEN, 100), Run(6, 8, UNWRITTEN, 102), Run(9, 10, WRITTEN))
    assert shutdown._written(runs) == {4: 100, 5: 101, 9: None}


def test_of_a_folio_only_written_blocks_are_written_without_allocation() -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.es.set(Run(16, 18, WRITTEN, 100))
    inode.es.set(Run(18, 20, UNWRITTEN, 102))
    folio = inode.cache.add(4, 0)
    inode.cache.mark_dirty(folio, folio.all)
    assert ordered._written_bits(inode, folio) == 0b0011


def test_nothing_waits_for_a_commit_after_a_recovery() -> None:
    workload = make_workload("pwrite a 0 64k; sync; unlink a; shutdown 2; remount")
    mount = Model(Behaviour(iomap=False), geometry).finish(workload)
    assert mount.sb.free_pending == 0


@pytest.mark.parametrize(("mount", "waits"), [("delalloc", 1), ("data=writeback", 0)])
def test_freed_data_blocks_wait_for_a_commit_unless_it_orders_nothing(
    mount: str, waits: int
) -> None:
    sb = mounted(f"4k@{mount}").sb
    sb.data_waits([Run(0, 4, WRITTEN, 100), Run(8, 9, WRITTEN)])
    assert sb.waiting == [(100, 104)] * waits
    assert sb.is_waiting(103) is bool(waits)


def test_a_refused_tree_block_gives_back_all() -> None:
    inode = Inode(mounted().sb, "a")
    inode.prealloc._pieces.append(prealloc._Piece(0, 20))
    tree_claim._give_back(inode, 3)
    assert inode.prealloc._pieces == []
    assert inode.sb.free_pending == 3


def test_the_most_tree_blocks_has_five_levels() -> None:
    assert tree_bounds._sparse(10000, 10000, 84) == 9917 + 9834 + 9751 + 9668 + 9585
    assert tree_bounds._sparse(4, 4, 84) == 0
    assert tree_bounds._sparse(5, 5, 84) == 1


# --- others -------------------------------------------------------------------------------


def test_a_cut_source_is_as_readable_as_before() -> None:
    source = Source(b"abcd", 2)
    assert [source.cut(count).readable for count in (1, 2, 3)] == [1, 2, 2]


def test_commit_is_an_option_of_its_own() -> None:
    assert run("pwrite a 0 1; remount_opts commit=5").steps[-1].result == 0


def test_pages_are_copied_onto_the_same_file_as_earlier_ones_left_them() -> None:
    inode = Inode(mounted().sb, "a")
    inode.content.write(0, b"".join(bytes([65 + page]) * PAGE for page in range(3)))
    data, exact = splice._onto_itself(inode, 0, PAGE, 3 * PAGE)
    assert exact
    assert data == b"A" * 3 * PAGE
    data, exact = splice._onto_itself(inode, 2 * PAGE, 100, 100)
    assert data == b"C" * 100
    data, exact = splice._onto_itself(inode, PAGE, PAGE + 100, 100)
    assert not exact


def test_a_stuck_buffer_is_one_block_of_its_folio() -> None:
    inode = Inode(mounted("1k@delalloc").sb, "a")
    folio = inode.cache.add(4, 0)
    folio.mapped = folio.revived = 0b0100
    assert [revived.is_stuck(inode, block) for block in (16, 17, 18, 19, 99)] == [
        False, False, True, False, False,
    ]  # fmt: skip


# --- inodes -------------------------------------------------------------------------------


def test_a_commit_writes_from_the_first_zeroed_byte_to_the_last() -> None:
    inode = Inode(mounted().sb, "a")
    inode.order(5000, 6000)
    inode.order(100, 200)
    inode.order(5500, 9000)
    assert inode.ordered == (100, 9000)


def test_freed_tree_blocks_wait_for_a_commit() -> None:
    inode = Inode(mounted().sb, "a")
    free = inode.sb.free.sum()
    inode.tree_blocks = 3
    inode.tree_changed()
    assert (inode.tree_blocks, inode.sb.free_pending, inode.sb.free.sum()) == (0, 3, free + 3)
    inode.tree_blocks, inode.sb.free_pending = 3, 0
    inode.tree = SimpleNamespace(blocks=lambda: 1, freed=2)  # type: ignore[assignment]
    inode.tree_changed()
    assert (inode.tree_blocks, inode.sb.free_pending, inode.sb.free.sum()) == (1, 2, free + 5)


def test_what_no_folio_holds_any_more_shows_as_it_is_on_disk() -> None:
    """Blocks 1, 2 and 5 of 1 KiB; the first page is still there, the second is not."""
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.size = 8 * KIB
    inode.content.write(0, b"x" * 8 * KIB)
    inode.cache.add(0, 0)
    inode.unsaved = [(1, 3), (5, 6)]
    inode.drop_unsaved()
    assert inode.unsaved == [(1, 3)]
    assert inode.content.read(0, 5 * KIB) == b"x" * 5 * KIB
    assert inode.content.read(5 * KIB, 2 * KIB) == bytes(KIB) + b"x" * KIB


@pytest.mark.parametrize(
    ("cached", "kept", "lost"),
    [
        ([], [], [(2, 14)]),
        ([(0, 1)], [(2, 8)], [(8, 14)]),
        ([(1, 1)], [(4, 12)], [(2, 4), (12, 14)]),
        ([(0, 0), (1, 0)], [(2, 4), (4, 8)], [(8, 14)]),
    ],
)
def test_a_range_of_which_some_folios_are_gone_shows_there_only(
    cached: list[tuple[int, int]], kept: list[tuple[int, int]], lost: list[tuple[int, int]]
) -> None:
    """Blocks 2 to 13 of 1 KiB, four a page."""
    inode = Inode(mounted("1k@delalloc").sb, "a")
    inode.size = 16 * KIB
    inode.content.write(0, b"x" * 16 * KIB)
    for page, order in cached:
        inode.cache.add(page, order)
    inode.unsaved = [(2, 14)]
    inode.drop_unsaved()
    assert inode.unsaved == kept
    data = bytearray(b"x" * 16 * KIB)
    for low, high in lost:
        data[low * KIB : high * KIB] = bytes((high - low) * KIB)
    assert inode.content.read(0, 16 * KIB) == bytes(data)


def test_an_inode_that_comes_back_reads_what_was_on_disk() -> None:
    inode = Inode(mounted().sb, "a")
    inode.content.write(0, b"x" * 100)
    inode.size, inode.disksize = 100, 60
    clear_inode(inode)
    assert inode.size == 60
    assert inode.content.read(0, 100) == b"x" * 60 + bytes(40)


def test_a_fault_reads_the_folio_that_is_there() -> None:
    inode = big()
    folio = inode.cache.add(64, 0)
    assert filemap_fault(inode, 64) is folio
    assert folio.full


# --- space and quota ----------------------------------------------------------------------


def test_a_charge_that_finds_nothing_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object) -> int:
        raise OpError("ENOSPC")

    monkeypatch.setattr(map_blocks, "obtainable", refused)
    for config, told in (("quota4k@delalloc,usrquota", [(5, 5)]), ("4k@delalloc", [])):
        inode = Inode(mounted(config).sb, "a")
        freed: list[tuple[int, int]] = []
        monkeypatch.setattr(
            inode.sb.quota.warnings, "freed", lambda _inode, *n, freed=freed: freed.append(n)
        )
        inode.sb.dirty.add(5)
        with pytest.raises(OpError):
            map_blocks._obtainable(inode, 5, delayed=False)
        assert (inode.sb.dirty.sum(), freed) == (0, told)


def test_a_section_is_refused_from_a_margin_on() -> None:
    """Of each call as many clusters as it writes, two for its ends and eight for its tree, three
    times over."""
    mount = mounted()
    sb, calls = mount.sb, section("pwrite a 0 64k; and; pwrite b 0 4k")
    wanted = (16 + 2 + 8) + (1 + 2 + 8)
    enough = 3 * wanted + sb.watermark + sb.r_blocks + sb.resv
    sb.free = PerCpuCounter(enough)
    parallel._refuse_short_space(mount, calls)
    sb.free = PerCpuCounter(enough - 1)
    with pytest.raises(NotModelledError):
        parallel._refuse_short_space(mount, calls)


# --- where blocks are ---------------------------------------------------------------------


def test_only_later_calls_of_a_section_are_still_to_shift() -> None:
    mount, seen = mounted(), list[list[tuple[str, Any]]]()
    mount.sb.placer.moves = lambda shifts: seen.append(list(shifts))  # type: ignore[method-assign]
    calls = section("finsert a 0 4k; and; finsert b 0 8k")
    parallel.run_section(mount, calls, lambda _mount, _call: 0)
    assert seen == [[("b", (0, 0, 2))], [], []]


def test_the_last_shift_is_undone_first() -> None:
    placer = Placer(None, 4096)
    placer.moved("a", 1, 0, 2)
    placer.moved("a", 5, 3, -3)
    assert placer._shifts == {"a": [(5, 3, -3), (1, 0, 2)]}


# --- writeback ----------------------------------------------------------------------------


def test_pieces_that_follow_each_other_are_one() -> None:
    done: list[tuple[int, int]] = []
    for piece in ((2, 4), (4, 6), (8, 9), (9, 9), (12, 12)):
        writeback_iomap._gather(done, piece)
    assert done == [(2, 6), (8, 9)]


@pytest.mark.parametrize(
    ("run_", "after", "follows"),
    [
        (Run(0, 4, WRITTEN, 100), Run(4, 6, WRITTEN, 104), True),
        (Run(0, 4, WRITTEN, 100), Run(4, 6, WRITTEN, 105), False),
        (Run(0, 4, WRITTEN, 100), Run(4, 6, UNWRITTEN, 104), False),
        (Run(0, 4, WRITTEN), Run(4, 6, WRITTEN, 4), False),
        (Run(0, 4, WRITTEN, 100), Run(4, 6, WRITTEN), False),
    ],
)
def test_one_run_follows_another_on_the_device(run_: Run, after: Run, follows: bool) -> None:
    assert writeback_iomap._follows(run_, after) is follows


def test_what_was_written_is_saved_block_by_block() -> None:
    inode = Inode(mounted(iomap=True).sb, "a")
    inode.size = 64 * KIB
    inode.unsaved = [(0, 4), (9, 10)]
    writeback_iomap._end_io(inode, [(1, 3)], inode.size)
    assert inode.unsaved == [(0, 1), (3, 4), (9, 10)]


def test_a_block_that_is_read_is_written_and_before_the_end() -> None:
    inode = Inode(mounted("1k@delalloc", iomap=True).sb, "a")
    inode.size = 7 * KIB
    inode.es.set(Run(4, 6, WRITTEN, 100))
    inode.es.set(Run(7, 8, WRITTEN, 102))
    folio = inode.cache.add(1, 0)
    assert iomap_write._blocks_read(inode, folio, 0b1111) == 0b0011
    assert iomap_write._blocks_read(inode, folio, 0b1010) == 0b0010


# --- copies that fall short ---------------------------------------------------------------


def test_after_a_copy_that_fell_short_chunks_are_half_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 2 MiB 1.5 MiB could be copied, and none was taken: 1 MiB goes next."""
    inode, wants = mounted().file("a"), list[tuple[int, int]]()

    def chunk(_inode: object, pos: int, want: int, source: Source, done: int) -> tuple[int, int]:
        wants.append((pos, want))
        copied = min(want, source.readable - done)
        return copied, 0 if copied < want else copied

    monkeypatch.setattr(buffer_head, "_one_chunk", chunk)
    data = bytes(2 * KIB * KIB)
    assert buffer_head.generic_perform_write(inode, 0, Source(data, 1536 * KIB)) == 1536 * KIB
    mib = KIB * KIB
    assert wants == [(0, 2 * mib), (0, mib), (mib, mib), (mib, mib // 2), (3 * mib // 2, mib // 2)]


# --- inserting, and inline data that moved ------------------------------------------------


def test_what_was_stored_past_the_end_does_not_move_with_an_insert() -> None:
    inode = mounted().file("a")
    inode.size = inode.disksize = 5000
    inode.content.write(0, b"x" * 5010)
    insert_range(inode, 0, 4096)
    assert inode.content.read(9000, 106) == b"x" * 96 + bytes(10)


def test_a_block_that_the_journal_has_is_found_where_it_lies_now() -> None:
    inode = mounted("inline@delalloc").file("a")
    inode.es.set(Run(2, 4, WRITTEN, 50))
    inode.es.set(Run(8, 10, WRITTEN, 53))
    freed = [JournalCopy(pblk, b"", None, 1) for pblk in (50, 51, 52, 53, 54, 55, None)]
    owners = [journal_copy._owner(copy, [inode]) for copy in freed]
    assert owners == [(inode, 2), (inode, 3), None, (inode, 8), (inode, 9), None, None]
    assert journal_copy._owner(JournalCopy(99, b"", inode, 1, lblk=7), [inode]) == (inode, 7)


def test_a_first_write_that_does_not_fit_the_inode_has_a_page_of_its_own() -> None:
    inode = mounted("inline@delalloc").file("a")
    inline_write._convert(inode, delayed=True)
    assert [(folio.index, folio.pages) for folio in inode.cache] == [(0, 1)]
    assert not inode.may_inline


def test_direct_io_maps_4096_blocks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(
        direct_io, "map_blocks", lambda _inode, _at, count, **_: counts.append(count)
    )
    for end in (4095, 4096, 4097, 9000):
        direct_io._map_for_dio(mounted().file("a"), 0, end)
    assert counts == [4095, 4096, 4096, 4096]


# --- the iomap path -----------------------------------------------------------------------

IOMAP = "4k@delalloc,buffered_iomap"


def test_a_short_write_gives_back_no_more_than_it_reserved() -> None:
    """It wanted blocks 0 to 2 and wrote block 0; block 6 is another write's."""
    inode = mounted(IOMAP, iomap=True).file("a")
    inode.size = 7 * PAGE
    inode.es.set(Run(0, 7, DELAYED))
    inode.reserved = 7
    folio = inode.cache.add(6, 0)
    folio.uptodate = folio.all
    inode.cache.mark_dirty(folio, folio.all)
    iomap_write.da_write_end(inode, 0, 3 * PAGE, PAGE)
    assert [(run.start, run.end) for run in inode.es] == [(0, 1), (3, 7)]


@pytest.mark.parametrize(("config", "state"), [("2k", True), ("4k", False), ("1k", True)])
def test_a_mapped_folio_has_state_for_each_block_if_it_has_several(
    config: str, state: bool
) -> None:
    inode = mounted(f"{config}@delalloc,buffered_iomap", iomap=True).file("a")
    inode.size = PAGE
    folio = inode.cache.add(0, 0)
    iomap_write.iomap_page_mkwrite(inode, folio)
    assert folio.state is state
    assert folio.dirty == folio.all


# --- what nobody sees ---------------------------------------------------------------------


@pytest.mark.parametrize(("pending", "hidden"), [(0, False), (20, True)])
def test_pieces_are_hidden_once_half_of_what_can_be_had_is_gone(pending: int, hidden: bool) -> None:
    sb = mounted().sb
    sb.free, sb.most_free, sb.free_pending = PerCpuCounter(60), 100, pending
    map_blocks._note_hidden_pieces(sb)
    assert (sb.pieces_hidden is not None) is hidden


@pytest.mark.parametrize(
    ("free", "length", "open_"), [(49, 1, False), (49, 2, True), (50, 2, False)]
)
def test_pieces_are_unknown_of_more_than_one_block(free: int, length: int, open_: bool) -> None:
    inode = mounted().file("a")
    inode.sb.free, inode.sb.most_free = PerCpuCounter(free), 100
    map_blocks._place(inode, 0, length, WRITTEN)
    assert (inode.sb.pieces_unknown is not None) is open_


def test_the_flusher_thread_leaves_inline_data_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(mount_module, "cyclic_writepages", lambda inode: written.append(inode.name))
    mount = mounted("inline@delalloc")
    mount.file("a").inline = True
    mount.file("b")
    mount.file("c").iomap = True
    mount.flusher_pass()
    assert written == ["b"]


def test_extents_that_follow_on_the_device_across_holes_are_one_place() -> None:
    extents = tuple(
        Extent(page * PAGE, PAGE, State.WRITTEN, (100 + page) * PAGE) for page in (0, 2, 4, 5)
    )
    last = Extent(9 * PAGE, PAGE, State.WRITTEN, 400 * PAGE)
    placer = Placer(({"a": (*extents, last)},), PAGE)
    placer.begin(0)
    assert placer.lookup("a", 0, None) == (100, 6)
    assert placer.lookup("a", 4, None) == (104, 2)
    assert placer.lookup("a", 9, None) == (400, 1 << 31)
    whole = Placer(({"a": extents},), PAGE)
    whole.begin(0)
    assert whole.lookup("a", 2, None) == (102, 1 << 31)


def test_a_folio_that_is_not_uptodate_is_read_when_those_before_it_were_taken() -> None:
    inode = big()
    first, second = (inode.cache.add(index, 0) for index in (0, 1))
    first.uptodate = 1
    assert readahead._get_pages(inode, 0, 2) == [first]
    assert second.uptodate == 0
    assert readahead._get_pages(inode, 1, 2) == [second]
    assert second.uptodate == 1


@pytest.mark.parametrize(("block", "busy"), [(5, None), (4, True), (6, True)])
def test_a_fault_waits_for_the_disk_if_its_page_is_there(block: int, busy: bool | None) -> None:
    inode = big()
    inode.es.set(Run(block, block + 1, WRITTEN, 100))
    inode.sb.flusher_busy = True
    readahead.fault_readahead(inode, 5)
    assert inode.sb.flusher_busy is busy


def test_a_page_that_is_read_alone_is_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "_sync", lambda *_: None)
    inode = big()
    (folio,) = readahead._get_pages(inode, 4, 5)
    assert (folio.index, folio.pages) == (4, 1)


@pytest.mark.parametrize(("config", "iomap", "kept"), [("4k@delalloc", False, 0), (IOMAP, True, 1)])
def test_what_a_dropped_folio_had_revived_is_kept_where_it_was_converted(
    config: str, iomap: bool, kept: int
) -> None:
    inode = mounted(config, iomap=iomap).file("a")
    inode.es.set(Run(0, 1, WRITTEN, 100))
    inode.content.write(0, b"x" * PAGE)
    folio = inode.cache.add(0, 0)
    folio.revived = 1
    revived._forget(inode, folio)
    assert inode.content.read(0, PAGE) == (b"x" if kept else b"\0") * PAGE


def test_of_options_that_exclude_each_other_the_last_counts() -> None:
    words = ["delalloc", "dioread_lock", "nodelalloc", "commit=5", "dioread_nolock"]
    assert sorted(remount_options._lasting(words)) == ["commit=5", "dioread_nolock", "nodelalloc"]


def test_the_first_five_pieces_of_each_attempt_lie_apart() -> None:
    placer = Placer(({APART: ()},), PAGE)
    placer.begin(0)
    assert [placer._lies_apart(block) for block in range(0, 14, 2)] == [True] * 5 + [False] * 2
    assert [placer._lies_apart(block) for block in (12, 0, 0, 2)] == [False, True, True, True]


def test_a_recovery_ends_what_waited_for_a_commit() -> None:
    mount = mounted()
    mount.durable = shutdown.Durable(mount)
    mount.durable.commit()
    mount.sb.free_pending = 5
    mount.sb.waiting = [(1, 2)]
    mount.durable.recover()
    assert (mount.sb.free_pending, mount.sb.waiting) == (0, [])


def test_what_is_left_for_delayed_blocks_is_counted_in_clusters() -> None:
    """One cluster is free: blocks 6 and 7 get it, those from 8 on do not."""
    inode = mounted("bigalloc16k@delalloc").file("a")
    sb = inode.sb
    sb.behaviour = msgspec.structs.replace(
        sb.behaviour, quirks=frozenset({"reserved_blocks_run_out"})
    )
    sb.free = PerCpuCounter(1)
    run_ = tree_claim.take_reserved(inode, Run(6, 14, DELAYED, 100), 3)
    assert (run_.start, run_.end) == (6, 8)


@pytest.mark.parametrize(("reached", "next_"), [(4096, 4096), (None, 0)])
def test_a_cyclic_writeback_ends_where_its_second_part_did(
    reached: int | None, next_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[int, int | None]] = []

    def write(_inode: object, start: int, end: int | None) -> int | None:
        passes.append((start, end))
        return reached

    monkeypatch.setattr(writeback_bh, "_write_range", write)
    inode = mounted().file("a")
    inode.cache.mark_dirty(inode.cache.add(0, 0), 1)
    inode.writeback_start = 8 * PAGE
    writeback_bh.cyclic_writepages(inode)
    assert passes == [(8 * PAGE, None), (0, 8 * PAGE)]
    assert inode.writeback_start == next_


def test_a_file_that_nobody_opened_has_no_writers() -> None:
    assert Inode(mounted().sb, "a").writers == 0
    assert mounted().file("a").writers == 1


# --- mounts -------------------------------------------------------------------------------


def test_a_file_that_is_opened_again_has_read_nothing_ahead() -> None:
    mount = mounted()
    ahead = mount.file("a").readahead
    ahead.start, ahead.size, ahead.previous = 5, 4, 100
    mount.close("a")
    again = mount.file("a").readahead
    assert (again.start, again.size, again.previous, again.pages) == (0, 0, -1, ahead.pages)


def test_what_was_not_saved_is_forgotten_with_the_mount() -> None:
    mount = mounted()
    inode = mount.file("a")
    inode.size = inode.disksize = PAGE
    inode.content.write(0, b"x" * PAGE)
    inode.unsaved = [(0, 1)]
    mount.remount()
    assert inode.unsaved == []
    assert inode.content.read(0, PAGE) == bytes(PAGE)


def test_a_file_of_more_than_256_mib_has_no_digest_as_a_whole() -> None:
    inode = mounted().file("a")
    inode.size = (256 << 20) + 1
    inode.content.write(0, b"x")
    content = content_of(inode)
    assert content.sha256 is None
    assert set(content.blocks or {}) == {0}
    assert WHOLE_FILE_LIMIT == 256 << 20


def test_only_what_was_freed_where_a_block_lies_now_was_elsewhere() -> None:
    sb = mounted().sb
    sb.waiting = [(10, 14), (20, 24)]
    sb.was_elsewhere(12)
    assert [pblk for pblk in (9, 10, 13, 14, 20, 23) if sb.is_waiting(pblk)] == [20, 23]
