"""Intended differences of the two paths on the way to the disk: writeback, sizes, crashes."""

from __future__ import annotations

from harness.differences.intended import Difference, Sign
from harness.differences.rules import (
    CONTENT,
    CYCLIC,
    DATA,
    EOF,
    FLUSHES,
    ORDERED,
    SHUT,
    SPACE,
    WRITEBACK,
    U,
    W,
    rules,
)
from harness.differences.shapes import anything, left_dirty, less_on_disk, smaller
from harness.differences.shapes_events import (
    in_fewer_pieces,
    in_more_pieces,
    in_other_order,
    updates_more,
)
from harness.differences.shapes_extents import moved
from workloads.ops import Sync, SyncRange

__all__ = ["ON_DISK", "WRITING_BACK"]

WRITING_BACK: tuple[Difference, ...] = (
    Difference(
        name="writeback-by-folio",
        situation="writeback of a delayed extent that lies in several folios",
        first="adjacent dirty blocks are allocated together, whatever their folios",
        second="each folio has its dirty blocks allocated",
        why="the mapping for writeback is asked for by folio",
        source="iomap series, ext4_iomap_map_writeback_range",
        signs=(Sign("events", in_more_pieces, rules=rules(second=(WRITEBACK,))),),
    ),
    Difference(
        name="cyclic-writeback",
        situation="sync(2), where the flusher thread writes before the caller does",
        first="the thread begins where the last writeback of the whole file ended, and goes round",
        second="it begins at the start of the file",
        why="a writeback that came to the end of the file leaves the start to go on from",
        source="writeback_iter; ext4_do_writepages",
        signs=(Sign("events", in_other_order, (Sync,), rules(first=(CYCLIC,))),),
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
            Sign("events", updates_more, rules=rules(second=(WRITEBACK,))),
            Sign("events", in_fewer_pieces, FLUSHES, rules(second=(WRITEBACK,))),
        ),
        follows=SPACE,
    ),
)
"""Entries of `harness.differences.table`: of writeback."""

ON_DISK: tuple[Difference, ...] = (
    Difference(
        name="size-of-data-on-disk",
        situation="the file system is shut down before all data of a file that grew is written",
        first="the size may be on disk already",
        second="the size is that of the data that was written",
        why="the end of the I/O moves it, so that no size is on disk before its data",
        source="iomap series, ext4_iomap_finish_ioend",
        signs=tuple(
            Sign(field, smaller, rules=rules((SHUT,), (SHUT,)), earlier=True)
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
            Sign("result", left_dirty, (SyncRange,), rules((ORDERED,), (SHUT,)), earlier=True),
            Sign("extents", moved((W, U)), rules=rules((ORDERED,), (SHUT,)), earlier=True),
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
            Sign(field, anything, rules=rules((SHUT,), (EOF,)), earlier=True)
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
)
"""Entries of `harness.differences.table`: of what is on disk already."""
