"""Intended differences: what two paths, or two releases, of ext4 do differently, and why.

When two kernels, or the two paths of one, are compared (`--against`), much differs that
should. Each entry of `INTENDED` describes one such difference: between what it lies, in
which steps and fields it shows, what the two values look like there, and which rules the
model applied. What no entry describes is a mismatch (`harness.settle`).

Values are always in the order of the entry: buffer_head before iomap, the older release
before the newer one, whichever of them is the expecting side.
"""

from __future__ import annotations

from harness.intended import Difference, Rules, Sign
from harness.shapes import (
    anything,
    at_end,
    both,
    deeper_tree,
    done_otherwise,
    fewer_reserves,
    gives_back,
    gives_up,
    hard_limit_passed_otherwise,
    in_fewer_pieces,
    in_more_pieces,
    in_other_order,
    left_dirty,
    less_data,
    less_done,
    less_on_disk,
    more_data,
    more_done,
    moved,
    never,
    one_round_more,
    other_hard_limit_warnings,
    other_space_before,
    reached_by_one,
    refused,
    reserves_another_part,
    reserves_in_vain,
    small_blocks,
    smaller,
    unknown_option,
    updates_more,
    uses_another_part,
    without,
)
from harness.trace import State
from workloads.ops import (
    Append,
    Collapse,
    CopyRange,
    DioWrite,
    DsyncWrite,
    Insert,
    MmapIn,
    MmapWrite,
    MsyncWrite,
    Op,
    Pwritev,
    Read,
    Remount,
    RemountOpts,
    RlimitWrite,
    Seek,
    Sendfile,
    Splice,
    Sync,
    SyncRange,
    SyncWrite,
    UserWrite,
    Write,
    WriteFault,
)

__all__ = ["CONTENT", "INTENDED"]

WRITES: tuple[type[Op], ...] = (
    Append, CopyRange, DsyncWrite, Pwritev, RlimitWrite, Sendfile, Splice, SyncWrite,
    UserWrite, Write, WriteFault,
)  # fmt: skip
STORES: tuple[type[Op], ...] = (MmapIn, MmapWrite, MsyncWrite)
FLUSHES: tuple[type[Op], ...] = (
    Collapse, DioWrite, DsyncWrite, Insert, MsyncWrite, SyncRange, SyncWrite,
)  # fmt: skip
"""What writes back a part of a file, and so whole folios."""

SPACE = frozenset({
    "extents", "blocks", "disk_blocks", "disk_blocks on disk", "reserved", "delalloc", "bfree",
    "bavail", "events",
})  # fmt: skip
"""Fields that say which blocks there are and in which state, but nothing of sizes or data."""
CONTENT = frozenset({"content", "content sha256", "dropped", "dropped sha256"})
"""Fields that say which data there is, but not how much."""
DATA = SPACE | CONTENT | {"result", "size", "disksize", "content size", "dropped size"}
"""Fields that say also how far a write came."""
D, U, W = State.DELAYED, State.UNWRITTEN, State.WRITTEN

NEW = "reserve in one step: ext4_da_map_blocks"
FOLIO = "map whole folio: iomap_page_mkwrite"
PUNCH = "punch stale range: ext4_iomap_buffered_da_write_end"
ALLOCATE = "allocate unwritten: ext4_iomap_get_blocks"
LOW = ("low-space switch: ext4_nonda_switch", "low-space writeback: ext4_nonda_switch")
WRITEBACK = "allocate delayed extent: ext4_iomap_map_one_extent"
BUSY = "direct write meets dirty pages: kiocb_invalidate_pages"
REFUSED = "direct write not aligned: iomap_dio_bio_iter"
EOF = "write zeroed EOF block: ext4_block_zero_eof"
ANEW = "zero clean delayed block: iomap_zero_iter"
ZERO = "zero range: ext4_zero_range"
ZEROOUT = "zeroout: ext4_ext_convert_to_initialized"
CLEAN = "zero clean unwritten block: iomap_zero_iter"
ZEROED = "zero EOF block: ext4_block_zero_eof"
CUT = "truncate down: ext4_truncate"
CYCLIC = "cyclic writeback: ext4_do_writepages"
IN_VAIN = "nothing to zero: ext4_load_tail_bh"
SMALL_FOLIO = "folio within its mapping: iomap_get_folio"
DROPS = (CUT, ZERO, "punch: ext4_punch_hole")
SHUT = "shut down: ext4_force_shutdown"
ORDERED = "write ordered data: jbd2_submit_inode_data"
FAULT = "fault: iomap_write_iter"
IOEND = "convert: ext4_iomap_finish_ioend"
NO_SPACE = (
    "claim/no-space: ext4_claim_free_clusters",
    "allocate/no-space: ext4_mb_new_blocks",
    "reserve/quota: ext4_da_reserve_space",
    "allocate/quota: ext4_mb_new_blocks",
)
KEPT = "short copy keeps new blocks: folio_zero_new_buffers"
SPLIT = ("tree block refused: ext4_ext_new_meta_block", "quota warning: prepare_warning")
TRIM = (
    "trim past EOF: ext4_truncate_failed_write",
    "write_end/short-copy past EOF: ext4_write_end",
)


def _rules(first: tuple[str, ...] = (), second: tuple[str, ...] = ()) -> Rules:
    return frozenset(first), frozenset(second)


def _other_folios(rules: Rules) -> tuple[Sign, ...]:
    """How it shows that folios are of other sizes since `rules` were applied: writeback of a
    part of the file, and a store, reach whole folios."""
    written_back = reached_by_one((W, D), (W, U), (D, W), (U, W))
    stored = reached_by_one((D, None), (U, None), (W, None), (None, D), (None, U), also=(W, U))
    return (
        Sign("extents", written_back, FLUSHES, rules, earlier=True),
        Sign("events", uses_another_part, FLUSHES, rules, earlier=True),
        Sign("extents", stored, STORES, rules, earlier=True),
        Sign("events", reserves_another_part, STORES, rules, earlier=True),
    )


INTENDED: tuple[Difference, ...] = (
    Difference(
        name="reserved-in-one-step",
        situation="a write, or a store through a mapping, into more than one block of a hole",
        first="each block is reserved by itself",
        second="the whole range of the hole is reserved at once",
        why="ext4_da_map_blocks() gets the length of the call, not of one block",
        source="iomap series, ext4_iomap_map_blocks",
        signs=(Sign("events", fewer_reserves, (*WRITES, *STORES), _rules(second=(NEW, FOLIO))),),
    ),
    Difference(
        name="short-write-gives-back",
        situation="with delalloc, a write into a hole copies less than it mapped, or nothing",
        first="what was reserved for the rest stays delayed until truncate or eviction, or is"
        " written as zeroes",
        second="what was reserved for the rest is given back before write(2) returns",
        why="the mapping is known to be new, and iomap_end punches what was not written of it",
        source="iomap series, ext4_iomap_buffered_da_write_end",
        signs=(
            Sign("extents", moved((D, None)), WRITES, _rules(second=(PUNCH,))),
            Sign("events", gives_back, WRITES, _rules(second=(PUNCH,))),
            # The second's mapping ended before the hole that the first had reserved.
            Sign("extents", moved((D, None)), WRITES, _rules((KEPT,), (FAULT,))),
            Sign("events", reserves_in_vain, WRITES, _rules((KEPT,), (FAULT,))),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="short-write-zeroes-the-rest",
        situation="a write into unwritten blocks copies less than it mapped, then writeback",
        first="the rest of what was mapped is zeroed, and written back too",
        second="only what was copied is written back; the rest stays unwritten",
        why="the copy that stops short dirties no block behind it",
        source="iomap_write_end; folio_zero_new_buffers",
        signs=(
            Sign("extents", moved((W, U)), rules=_rules(first=(KEPT,)), earlier=True),
            Sign("result", more_data, (Seek,), _rules(first=(KEPT,)), earlier=True),
        ),
        follows=SPACE,
    ),
    Difference(
        name="short-write-keeps-allocated",
        situation="a write that allocates at once copies less than was asked for, or nothing",
        first="blocks are allocated up to the end of the folio, and past EOF removed again,"
        " preallocated ones too",
        second="the range of the call is allocated as far as it is contiguous, and stays"
        " allocated, unwritten",
        why="there is no iomap_end for blocks that were allocated at once",
        source="iomap series, ext4_iomap_get_blocks",
        signs=(
            Sign("extents", moved((None, U), (W, U)), WRITES, _rules((*TRIM, KEPT), (ALLOCATE,))),
            Sign("extents", moved((None, U)), WRITES, _rules(TRIM, (FAULT, *NO_SPACE))),
            # The second's mapping, and what it allocated, ends before the folio.
            Sign("extents", moved((W, None), (W, U)), WRITES, _rules((KEPT,), (ALLOCATE, FAULT))),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="all-or-nothing",
        situation="a write needs more space than is left, or than a quota allows",
        first="as many blocks, or folios, are written as fit, and their bytes returned",
        second="the range is reserved in one step, which fails as a whole",
        why="one reservation for the whole mapping",
        source="iomap series, ext4_iomap_buffered_do_write_begin",
        signs=(Sign("result", less_done, WRITES, _rules(second=NO_SPACE)),),
        follows=DATA,
        everywhere=True,
    ),
    Difference(
        name="up-to-the-last-block",
        situation="a write needs more space than is left",
        first="a folio of which not all blocks can be had is not written",
        second="what is mapped is written, to the last block",
        why="each round of the loop writes to what its mapping got, whatever the folio",
        source="iomap series, ext4_iomap_get_blocks",
        signs=(Sign("result", more_done, WRITES, _rules(NO_SPACE, (ALLOCATE, *NO_SPACE))),),
        follows=DATA,
        everywhere=True,
    ),
    Difference(
        name="gives-up-at-once",
        situation="a write for which space or quota do not suffice, not even for one folio",
        first="what was reserved before that showed is released again",
        second="nothing is reserved",
        why="one reservation for the whole mapping",
        source="iomap series, ext4_iomap_buffered_do_write_begin",
        signs=(Sign("events", gives_up, WRITES, _rules(NO_SPACE, NO_SPACE)),),
    ),
    Difference(
        name="failed-write-keeps-reserved",
        situation="a write below EOF for which space or quota do not suffice, not even for one"
        " folio",
        first="what was reserved or allocated before that showed stays, and becomes zeroes",
        second="nothing is reserved",
        why="one reservation for the whole mapping; only past EOF is a failed write removed",
        source="iomap series, ext4_iomap_buffered_do_write_begin; ext4_da_write_begin",
        signs=(
            Sign("extents", moved((D, None)), WRITES, _rules(NO_SPACE, NO_SPACE)),
            Sign("events", reserves_in_vain, WRITES, _rules(NO_SPACE, NO_SPACE)),
        ),
        follows=DATA,
        everywhere=True,
    ),
    Difference(
        name="quota-hard-limit-warnings",
        situation="a write reaches the hard limit of a quota",
        first="what was reserved or allocated for the folio that failed is given back, and the"
        " user told of it",
        second="the one reservation fails, so there is nothing to give back, and no retry",
        why="one reservation for the whole mapping",
        source="iomap series, ext4_iomap_buffered_do_write_begin; dquot_reserve_block",
        signs=(
            Sign("warnings", other_hard_limit_warnings, modelled=False),
            Sign("warnings", hard_limit_passed_otherwise),
        ),
    ),
    Difference(
        name="low-space-by-call",
        situation="with delalloc, space gets low in the middle of a long write",
        first="whether to write back, and whether still to delay allocation, is decided for"
        " each folio",
        second="it is decided once for the call, before its first block",
        why="the choice of the iomap operations is made before the loop",
        source="iomap series, ext4_iomap_buffered_write",
        signs=(
            Sign("extents", moved((U, D), (W, D)), WRITES, _rules(LOW)),
            # The rest of a short write: the first keeps it, the second has given it back.
            Sign(
                "extents",
                moved((U, D), (W, D), (U, None), (D, None)),
                WRITES,
                _rules(LOW, (PUNCH,)),
            ),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="low-space-seen-at-once",
        situation="with delalloc, so much is delayed that space is nearly low",
        first="blocks that were reserved one by one are in a CPU's part of the counter, where the"
        " decision does not look: space is low at another moment",
        second="a range of 32 blocks and more counts at once",
        why="percpu_counter_add() keeps less than a batch to the CPU",
        source="ext4_claim_free_clusters; ext4_nonda_switch",
        signs=(
            Sign("extents", moved((D, W), (D, U)), WRITES, _rules(second=LOW)),
            Sign("extents", moved((D, W), (D, U), (D, None)), WRITES, _rules((KEPT,), LOW)),
            # A store that comes to several folios; the counters are folded at other ones.
            Sign("extents", moved((U, D)), STORES, _rules(LOW)),
            Sign("extents", moved((D, U)), STORES, _rules(second=LOW)),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="allocated-unwritten",
        situation="a write or a store allocates blocks at once: nodelalloc, or little space",
        first="with nodelalloc they are written at once, whatever is on the disk",
        second="they are unwritten until their data is on the disk",
        why="there is no ordered data on this path to keep stale blocks from being seen",
        source="iomap series, ext4_iomap_get_blocks",
        signs=(
            Sign("extents", moved((W, U)), (*WRITES, *STORES), _rules(second=(ALLOCATE,))),
            Sign("extents", moved((W, U)), STORES, _rules(second=(FOLIO,))),
        ),
        follows=SPACE,
    ),
    Difference(
        name="converted-after-io",
        situation="with nodelalloc, a write or a store into unwritten blocks",
        first="they are converted when they are mapped, and short unwritten neighbours zeroed",
        second="they are converted after the I/O, and only they",
        why="mapping finds unwritten blocks and leaves them so",
        source="iomap series, ext4_iomap_get_blocks; ext4_ext_convert_to_initialized",
        signs=(
            Sign("extents", both(moved((W, U)), without(ALLOCATE, FOLIO)), (*WRITES, *STORES)),
            # A shutdown hides the file; the next mount sees what was not converted.
            Sign("extents", moved((W, U)), (Remount,), _rules((SHUT,), (SHUT,)), earlier=True),
        ),
        follows=SPACE,
        options=frozenset({"nodelalloc"}),
    ),
    Difference(
        name="split-after-io",
        situation="with nodelalloc, a write into unwritten blocks splits their extent, and the"
        " quota does not allow the tree block that this takes",
        first="the write fails",
        second="the write is done; the extent is split after the I/O, where zeroing its other"
        " parts helps against a lack of space",
        why="mapping finds unwritten blocks and leaves them so",
        source="iomap series, ext4_iomap_get_blocks; ext4_split_extent_at",
        signs=(Sign("result", more_done, WRITES, _rules(SPLIT)),),
        follows=DATA,
        options=frozenset({"nodelalloc"}),
    ),
    Difference(
        name="dioread-lock-ignored",
        situation="with dioread_lock, writeback of a part of an unwritten extent",
        first="it is converted when it is mapped, and short unwritten neighbours zeroed",
        second="it is converted after the I/O, and only it",
        why="blocks under I/O are always unwritten on this path",
        source="iomap series, ext4_iomap_map_writeback_range; ext4_ext_convert_to_initialized",
        signs=(Sign("extents", moved((W, U)), (Op,), _rules((ZEROOUT,))),),
        follows=SPACE,
    ),
    Difference(
        name="writeback-by-folio",
        situation="writeback of a delayed extent that lies in several folios",
        first="adjacent dirty blocks are allocated together, whatever their folios",
        second="each folio has its dirty blocks allocated",
        why="the mapping for writeback is asked for by folio",
        source="iomap series, ext4_iomap_map_writeback_range",
        signs=(Sign("events", in_more_pieces, rules=_rules(second=(WRITEBACK,))),),
    ),
    Difference(
        name="cyclic-writeback",
        situation="sync(2), where the flusher thread writes before the caller does",
        first="the thread begins where the last writeback of the whole file ended, and goes round",
        second="it begins at the start of the file",
        why="a writeback that came to the end of the file leaves the start to go on from",
        source="writeback_iter; ext4_do_writepages",
        signs=(Sign("events", in_other_order, (Sync,), _rules(first=(CYCLIC,))),),
    ),
    Difference(
        name="writeback-takes-the-extent",
        situation="writeback of a part of a delayed extent",
        first="only the blocks that are written back are allocated",
        second="the delayed extent is allocated from there to its end, up to 2048 blocks; what"
        " was not written back stays unwritten",
        why="allocation is asked for the extent, not for the dirty blocks of a folio",
        source="iomap series, ext4_iomap_map_writeback_range",
        signs=(
            Sign("events", updates_more, rules=_rules(second=(WRITEBACK,))),
            Sign("events", in_fewer_pieces, FLUSHES, _rules(second=(WRITEBACK,))),
        ),
        follows=SPACE,
    ),
    Difference(
        name="eof-block-written-at-once",
        situation="truncate, or an extension of the file, zeroes the rest of the block that"
        " holds EOF",
        first="the zeroes wait for writeback",
        second="the block is written at once",
        why="there is no ordered data on this path to have the zeroes on disk before the size",
        source="iomap series, ext4_truncate and ext4_block_zero_eof",
        signs=(Sign("extents", moved((D, W), (D, U), (U, W)), rules=_rules(second=(EOF,))),),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="eof-block-is-cached",
        situation="ZERO_RANGE extends the file and covers the block that holds EOF; its page has"
        " just been dropped from the cache",
        first="of a delayed block the new page has no mapped buffer, so nothing is zeroed; of a"
        " written one the buffer is uptodate, not the page: the block is a hole to lseek(2), and"
        " stays unwritten",
        second="the block is zeroed in the new page, so it is uptodate and dirty: data to"
        " lseek(2), and written back",
        why="iomap_zero_range() zeroes every delayed block, ext4_load_tail_bh() only one under"
        " a mapped buffer; both come after the range was dropped from the cache",
        source="iomap series, ext4_iomap_zero_begin; ext4_alloc_file_blocks",
        signs=(
            Sign("result", less_data, (Seek,), _rules((ZERO,), (ANEW,)), earlier=True),
            Sign("result", less_data, (Seek,), _rules((ZEROED,), (EOF,)), earlier=True),
            Sign("extents", moved((U, W)), rules=_rules((ZERO,), (ANEW,)), earlier=True),
        ),
        follows=SPACE,
    ),
    Difference(
        name="dirty-as-a-whole",
        situation="blocks are smaller than a page, and a part of a page that was written as a"
        " whole is zeroed by fallocate",
        first="the zeroed blocks are clean, and stay unwritten",
        second="the page stays dirty as a whole, and all of it is written back",
        why="a folio without state per block is dirty as a whole; the content is the same",
        source="iomap_set_range_dirty",
        signs=(
            Sign("extents", both(small_blocks, moved((U, W))), rules=_rules(second=(IOEND,))),
            Sign("extents", both(small_blocks, moved((U, W)), at_end)),
        ),
        follows=SPACE,
    ),
    Difference(
        name="unwritten-block-is-zeroed",
        situation="truncate or fallocate zeroes a part of an unwritten block that is clean, in a"
        " folio that is dirty",
        first="nothing is done if its buffer was never mapped: it stays clean, and unwritten",
        second="it is zeroed in the page, so it is dirty, and written back",
        why="iomap_zero_range() looks at the folio, ext4_load_tail_bh() at the buffer",
        source="ext4_iomap_zero_begin; ext4_load_tail_bh",
        signs=(
            Sign("extents", reached_by_one((U, W)), rules=_rules(second=(CLEAN,)), earlier=True),
        ),
        follows=SPACE,
    ),
    Difference(
        name="empty-page-is-cached",
        situation="truncate or fallocate comes to zero a part of a block that has no data, then"
        " pages around it are read",
        first="the block's page was made for that and is in the cache, not uptodate: readahead"
        " passes over it, and it is a hole to lseek(2)",
        second="there is no such page, so it is read: data to lseek(2)",
        why="iomap_zero_range() looks only where data is, ext4_load_tail_bh() makes the page first",
        source="ext4_load_tail_bh; page_cache_ra_unbounded",
        signs=(
            Sign(
                "result",
                both(less_data, never(ANEW)),
                (Seek,),
                _rules(first=(IN_VAIN,)),
                earlier=True,
            ),
        ),
    ),
    Difference(
        name="behind-eof-is-cached",
        situation="blocks are smaller than a page, and the blocks of EOF's page that are behind"
        " EOF become unwritten ones of a longer file",
        first="writeback zeroed them, so they are uptodate in the page cache: data to lseek(2)",
        second="they were never read or written, so they are a hole to lseek(2)",
        why="ext4_bio_write_folio() marks the buffers behind EOF uptodate",
        source="ext4_bio_write_folio; iomap_writeback_handle_eof",
        signs=(Sign("result", both(small_blocks, more_data), (Seek,)),),
    ),
    Difference(
        name="cut-folio-is-split",
        situation="a file is cut, punched or zeroed in the middle of a large dirty folio; then a"
        " part is written back, or what was forgotten becomes unwritten",
        first="dirty buffers hold the folio together: all of it is written back, and what was"
        " forgotten is uptodate still, so data to lseek(2); without, it is split",
        second="the folio is split there: only the part is written back, and what was forgotten"
        " is a hole to lseek(2); but one with a state per block stays dirty, and whole",
        why="truncate_inode_partial_folio() can split what filemap_release_folio() lets go",
        source="iomap_release_folio; filemap_release_folio of a folio with dirty buffers",
        signs=(
            *_other_folios(_rules(DROPS, DROPS)),
            Sign("result", more_data, (Seek,), _rules(DROPS, DROPS), earlier=True),
        ),
        follows=SPACE,
    ),
    Difference(
        name="folio-within-its-mapping",
        situation="a call writes over blocks of several states into pages that are not cached;"
        " then a part of the file is written back, or a store comes",
        first="a folio is as large as the rest of the call allows; all of it is written back",
        second="a folio is no larger than the rest of its mapping",
        why="iomap_write_iter() goes from mapping to mapping, and asks for the folio in each",
        source="iomap_get_folio; write_begin_get_folio",
        signs=_other_folios(_rules(second=(SMALL_FOLIO,))),
        follows=SPACE,
    ),
    Difference(
        name="page-past-eof-stays-dirty",
        situation="a direct write of odd length comes to a page past EOF that a failed write left",
        first="writeback has passed over that page, so the data takes the page cache, and fits",
        second="there is no such page, so the write is refused",
        why="iomap_write_failed() forgets the page at once",
        source="kiocb_invalidate_pages; mpage_process_page_bufs",
        signs=(Sign("result", refused, (DioWrite,), _rules((BUSY,), (REFUSED,))),),
        follows=DATA,
    ),
    Difference(
        name="refused-in-part",
        situation="a direct write of odd length, which is refused at its end, comes to blocks that"
        " are written on one path only",
        first="the data is in those that are written; unwritten ones stay so, and read as zeroes",
        second="the same, of others",
        why="the direct write goes from mapping to mapping, and is not undone",
        source="iomap_dio_bio_iter; ext4_dio_write_end_io",
        signs=(
            *(
                Sign(field, anything, rules=_rules((REFUSED,), (REFUSED,)), earlier=True)
                for field in (*sorted(CONTENT), "image content")
            ),
            Sign("result", anything, (Read,), _rules((REFUSED,), (REFUSED,)), earlier=True),
        ),
    ),
    Difference(
        name="size-of-data-on-disk",
        situation="the file system is shut down before all data of a file that grew is written",
        first="the size may be on disk already",
        second="the size is that of the data that was written",
        why="the end of the I/O moves it, so that no size is on disk before its data",
        source="iomap series, ext4_iomap_finish_ioend",
        signs=tuple(
            Sign(field, smaller, rules=_rules((SHUT,), (SHUT,)), earlier=True)
            for field in ("size", "image size")
        ),
        follows=DATA,
    ),
    Difference(
        name="ordered-data-at-commit",
        situation="a commit, for another file say, finds data not yet written in blocks that its"
        " transaction allocated; then the file system is shut down",
        first="the commit writes that data too, so it is clean, and its blocks are written",
        second="the data is written by a flush or writeback of its own file only",
        why="new blocks are unwritten until their data is on the disk, so there is no ordered data",
        source="jbd2_submit_inode_data; iomap series, ext4_iomap_get_blocks",
        signs=(
            Sign("result", left_dirty, (SyncRange,), _rules((ORDERED,), (SHUT,)), earlier=True),
            Sign("extents", moved((W, U)), rules=_rules((ORDERED,), (SHUT,)), earlier=True),
        ),
        follows=SPACE | CONTENT,
    ),
    Difference(
        name="eof-zeroes-on-disk",
        situation="the file system is shut down after the rest of EOF's block was zeroed",
        first="the zeroes may be lost with the journal, and the old bytes be there",
        second="the zeroes are on disk, since the block was written at once",
        why="there is no ordered data on this path to have the zeroes on disk before the size",
        source="iomap series, ext4_truncate and ext4_block_zero_eof",
        signs=tuple(
            Sign(field, anything, rules=_rules((SHUT,), (EOF,)), earlier=True)
            for field in ("dropped", "content", "image content")
        ),
    ),
    Difference(
        name="disksize-after-io",
        situation="a file grew, and its data is not all on the disk",
        first="i_disksize grows in write(2) where blocks are written already, else when the"
        " blocks are submitted",
        second="i_disksize grows when the I/O is done, up to what was written",
        why="the end of the I/O moves it, so that no size is on disk before its data",
        source="iomap series, ext4_iomap_finish_ioend",
        signs=(Sign("disksize", less_on_disk),),
    ),
    Difference(
        name="one-round-less-at-a-fault",
        situation="a write stops at a fault after it has copied something",
        first="one more mapping is made at the fault, finds nothing to copy, and is given back",
        second="the call ends at the fault",
        why="iomap_write_iter() returns the fault with the progress, not only without",
        source="fs/iomap/buffered-io.c of 7.3",
        signs=(Sign("events", one_round_more, WRITES, _rules(second=(FAULT,))),),
        between="releases",
        since=(7, 3),
        path="iomap",
    ),
    Difference(
        name="zero-range-edges-first",
        situation="blocks are smaller than a page, and ZERO_RANGE covers a page in part",
        first="the page is dropped from the cache, then read and zeroed in part: it is dirty as"
        " a whole, and all of it written back",
        second="the page is zeroed in part first: only these blocks are dirty",
        why="ext4_zero_range() zeroes the edges before it drops the range from the cache",
        source="fs/ext4/extents.c of 7.3",
        signs=(
            Sign(
                "extents",
                both(small_blocks, moved((W, U))),
                (Op,),
                _rules((ZERO,), (ZERO,)),
                earlier=True,
            ),
        ),
        follows=SPACE,
        between="releases",
        since=(7, 3),
        path="iomap",
    ),
    Difference(
        name="space-left-by-others",
        situation="an operation needs more space than is left, and of that the two sides have"
        " different amounts, because of what was done before",
        first="more or less of it can be had",
        second="less or more",
        why="what another difference takes or leaves is missed, or found, elsewhere",
        source="ext4_claim_free_clusters; ext4_mb_new_blocks; dquot_reserve_block",
        signs=tuple(
            Sign(field, both(other_space_before, shape), (Op,), rules)
            for rules in (_rules(NO_SPACE), _rules(second=NO_SPACE))
            for field, shape in (("result", done_otherwise), ("extents", anything))
        ),
        follows=DATA,
        everywhere=True,
        between="any",
    ),
    Difference(
        name="option-not-known",
        situation="a remount names an option of the iomap path, and one kernel does not know it",
        first="EINVAL, or done",
        second="done, or EINVAL",
        why="a kernel without the series has no such option",
        source="iomap series, ext4_param_specs",
        signs=(Sign("result", unknown_option, (RemountOpts,)),),
        between="any",
    ),
    Difference(
        name="tree-by-placement",
        situation="the same extents lie, or came to lie, differently on the device",
        first="fewer or more pieces in the extent tree",
        second="more or fewer",
        why="physically adjacent pieces merge, and a tree that has grown does not always"
        " shrink again",
        source="ext4_ext_try_to_merge, ext4_ext_try_to_merge_up",
        signs=tuple(Sign(field, deeper_tree) for field in ("blocks", "disk_blocks")),
        follows=DATA,  # of another file, if the disk is full: it gets a block more or less
        everywhere=True,
        between="any",
    ),
)
"""The table. An entry leaves it when no two supported kernels differ so any more."""
