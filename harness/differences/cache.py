"""Intended differences of the two paths in the page cache: dirty, uptodate, in one folio."""

from __future__ import annotations

from harness.differences.intended import Difference, Rules, Sign
from harness.differences.rules import (
    ANEW,
    BUSY,
    CLEAN,
    CONTENT,
    DATA,
    DROPS,
    EOF,
    FLUSHES,
    IN_VAIN,
    IOEND,
    LACK,
    PAST_EOF,
    REFUSED,
    SMALL_FOLIO,
    SPACE,
    STORES,
    ZERO,
    ZEROED,
    D,
    U,
    W,
    rules,
)
from harness.differences.shapes import (
    at_end,
    both,
    less_data,
    more_data,
    neither,
    never,
    refused,
    small_blocks,
)
from harness.differences.shapes_events import (
    reserves_another_part,
    stores_another_part,
    uses_another_part,
)
from harness.differences.shapes_extents import moved, reached_by_one
from harness.differences.shapes_past import (
    behind_eof,
    beside_a_page_zeroed_in_part,
    blocks_zeroed_in_part,
    pages_zeroed_in_part,
    refused_over_other_blocks,
)
from workloads.ops import DioWrite, MmapIn, MmapWrite, MsyncWrite, Read, Seek

__all__ = ["CACHING"]

BOTH_REFUSED = rules((REFUSED,), (REFUSED,))
STORED = reached_by_one((D, None), (U, None), (W, None), (None, D), (None, U), also=(W, U))
"""A store has come to larger folios on one side."""
SYNCED = reached_by_one((W, None))
"""The same, and all of these were written back."""
UNSYNCED = (MmapIn, MmapWrite)


def _other_folios(rules: Rules) -> tuple[Sign, ...]:
    """How it shows that folios are of other sizes since `rules` were applied: writeback of a
    part of the file, and a store, reach whole folios. A store that comes to the end of space is
    none of these."""
    written_back = reached_by_one((W, D), (W, U), (D, W), (U, W))
    return (
        Sign("extents", written_back, FLUSHES, rules, earlier=True),
        Sign("events", uses_another_part, FLUSHES, rules, earlier=True),
        Sign("extents", both(STORED, neither(*LACK)), UNSYNCED, rules, earlier=True),
        Sign("extents", both(SYNCED, neither(*LACK)), (MsyncWrite,), rules, earlier=True),
        Sign("events", both(reserves_another_part, neither(*LACK)), STORES, rules, earlier=True),
    )


CACHING: tuple[Difference, ...] = (
    Difference(
        name="eof-block-written-at-once",
        situation="truncate, or an extension of the file, zeroes the rest of the block that"
        " holds EOF",
        first="the zeroes wait for writeback",
        second="the block is written at once",
        why="there is no ordered data on this path to have the zeroes on disk before the size",
        source="iomap series, ext4_truncate and ext4_block_zero_eof",
        signs=(Sign("extents", moved((D, W), (D, U), (U, W)), rules=rules(second=(EOF,))),),
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
            Sign("result", less_data, (Seek,), rules((ZERO,), (ANEW,)), earlier=True),
            Sign("result", less_data, (Seek,), rules((ZEROED,), (EOF,)), earlier=True),
            Sign("extents", moved((U, W)), rules=rules((ZERO,), (ANEW,)), earlier=True),
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
            Sign("extents", both(small_blocks, moved((U, W))), rules=rules(second=(IOEND,))),
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
            Sign(
                "extents",
                both(reached_by_one((U, W)), blocks_zeroed_in_part),
                rules=rules(second=(CLEAN,)),
                earlier=True,
            ),
        ),
        follows=SPACE,
    ),
    Difference(
        name="empty-page-is-cached",
        situation="a change of size or fallocate comes to zero a part of a block that has no data,"
        " then pages around it are read, by read(2) or for a store",
        first="the block's page was made for that and is in the cache, not uptodate: readahead"
        " passes over it, and it is a hole to lseek(2), and a folio of its own to a store",
        second="there is no such page, so it is read, with others: data to lseek(2), and a store"
        " comes to a larger folio",
        why="iomap_zero_range() looks only where data is, ext4_load_tail_bh() makes the page first",
        source="ext4_load_tail_bh; page_cache_ra_unbounded",
        signs=(
            Sign(
                "result",
                both(less_data, pages_zeroed_in_part, never(ANEW)),
                (Seek,),
                rules(first=(IN_VAIN,)),
                earlier=True,
            ),
            *(
                Sign(
                    field,
                    both(shape, beside_a_page_zeroed_in_part, neither(*LACK)),
                    ops,
                    rules(first=(IN_VAIN,)),
                    earlier=True,
                )
                for field, shape, ops in (
                    ("extents", STORED, UNSYNCED),
                    ("extents", reached_by_one((W, None), (None, W)), (MsyncWrite,)),
                    ("events", reserves_another_part, UNSYNCED),
                    ("events", stores_another_part, (MsyncWrite,)),
                )
            ),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="behind-eof-is-cached",
        situation="blocks are smaller than a page, and those of EOF's page that are behind EOF when"
        " it is written back become unwritten ones of a longer file",
        first="writeback has marked them uptodate in the page cache: data to lseek(2)",
        second="they were never read or written, so they are a hole to lseek(2)",
        why="ext4_bio_write_folio() marks the buffers behind EOF uptodate",
        source="ext4_bio_write_folio; iomap_writeback_handle_eof",
        signs=(
            Sign(
                "result",
                both(small_blocks, more_data, behind_eof),
                (Seek,),
                rules(first=(PAST_EOF,)),
                earlier=True,
            ),
        ),
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
            *_other_folios(rules(DROPS, DROPS)),
            Sign("result", more_data, (Seek,), rules(DROPS, DROPS), earlier=True),
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
        signs=_other_folios(rules(second=(SMALL_FOLIO,))),
        follows=SPACE,
    ),
    Difference(
        name="page-past-eof-stays-dirty",
        situation="a direct write of odd length comes to a page past EOF that a failed write left",
        first="writeback has passed over that page, so the data takes the page cache, and fits",
        second="there is no such page, so the write is refused",
        why="iomap_write_failed() forgets the page at once",
        source="kiocb_invalidate_pages; mpage_process_page_bufs",
        signs=(Sign("result", refused, (DioWrite,), rules((BUSY,), (REFUSED,))),),
        follows=DATA,
    ),
    Difference(
        name="direct-write-leaves-a-folio",
        situation="a direct write comes to a page past EOF that a failed write left; then pages"
        " near its end are stored to or written, and a part of the file is written back, or a store"
        " comes",
        first="the data takes the page cache, where its last folio stays: nothing around it is read"
        " ahead, and folios are of other sizes",
        second="there is no such page, and nothing of the direct write is cached",
        why="iomap_write_failed() forgets the page at once; whoever ends the I/O holds the folio",
        source="kiocb_invalidate_pages; ext4_dio_write_iter; invalidate_mapping_pages",
        signs=_other_folios(rules(first=(BUSY,))),
        follows=SPACE,
    ),
    Difference(
        name="refused-in-part",
        situation="a direct write of odd length, which is refused at its end, comes to blocks that"
        " are written on one path only, or lie in other pieces on the device",
        first="the data is in those that are written and before the mapping with the end; unwritten"
        " ones stay so, and read as zeroes",
        second="the same, of others",
        why="the direct write goes from mapping to mapping, and is not undone",
        source="iomap_dio_bio_iter; ext4_dio_write_end_io",
        signs=(
            *(
                Sign(
                    field,
                    refused_over_other_blocks,
                    rules=BOTH_REFUSED,
                    earlier=True,
                )
                for field in (*sorted(CONTENT), "image content")
            ),
            Sign(
                "result",
                refused_over_other_blocks,
                (Read,),
                BOTH_REFUSED,
                earlier=True,
            ),
        ),
    ),
)
"""Entries of `harness.differences.table`."""
