"""Data inside the inode (inline_data, fs/ext4/inline.c): state, conversion to a block,
truncation.

A new file may hold data inline as long as `may_inline` is set. `inline` tells that it does;
both differ while the data waits in the page cache for a delayed block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.map_blocks import map_blocks
from model.units import EOF_BLOCK, WRITTEN

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = [
    "MIN_INLINE_SIZE", "capacity", "checkpoint", "convert_inline_data", "destroy_inline_data",
    "inline_truncate", "reread", "rewritten",
]  # fmt: skip

MIN_INLINE_SIZE = 60
"""Bytes of i_block (EXT4_MIN_INLINE_DATA_SIZE)."""
_OLD_INODE, _EXTRA, _HEADER, _ENTRY, _GAP = 128, 32, 4, 20, 4
"""Bytes of a 256-byte inode that the value of `system.data` can't have."""


def capacity(inode: Inode) -> int:
    """Bytes that fit into the inode (ext4_get_max_inline_size)."""
    free = inode.sb.geometry.inode_size - _OLD_INODE - _EXTRA - _HEADER - _ENTRY - _GAP
    return MIN_INLINE_SIZE + free // 4 * 4 if free > 0 else 0


def convert_inline_data(inode: Inode) -> None:
    """Move inline data to a block at once, or see to it that none comes
    (ext4_convert_inline_data). Raises `OpError`.

    The block is written through the journal as metadata. The kernel does not take it back
    from there when file data is written over it, so that the next checkpoint may undo that.
    """
    if inode.inline and not inode.may_inline:
        inode.sb.flush_range(inode, 0, None)
    if inode.inline:
        inode.inline = False
        try:
            run = map_blocks(inode, 0, 1, unwritten=False)
        except BaseException:
            inode.inline = True
            raise
        inode.journaled = (run.pblk, inode.content.read(0, inode.inline_size))
        inode.inline_size, inode.inline_copy = 0, None
        inode.sb.rule("inline data to a block: ext4_convert_inline_data")
    inode.may_inline = False


def destroy_inline_data(inode: Inode) -> None:
    """Writeback of a file whose data is inline still: the page cache has it too
    (ext4_do_writepages)."""
    if inode.inline and inode.cache.dirty:
        inode.inline, inode.inline_size, inode.inline_copy = False, 0, None


def inline_truncate(inode: Inode) -> None:
    """Truncate inline data; blocks that wait for allocation go only if the data gets shorter
    (ext4_inline_data_truncate)."""
    inode.disksize = inode.size
    if inode.size < inode.inline_size:
        if not inode.may_inline:
            inode.remove_status(0, EOF_BLOCK)
        if inode.inline_copy is not None:
            inode.inline_copy = inode.inline_copy[: inode.size]
        inode.inline_size = max(inode.size, MIN_INLINE_SIZE)
    inode.sb.rule("truncate inline: ext4_inline_data_truncate")


def checkpoint(inode: Inode) -> None:
    """The device's own page cache is written (sync_bdevs): a block that was converted from
    inline data is on disk again what it was then, whatever file data had been written over
    it; the file's page cache does not know."""
    if inode.journaled is not None:
        inode.stale_disk, inode.journaled = inode.journaled, None


def rewritten(inode: Inode, start: int) -> None:
    """Dirty folios from byte `start` on are written: the disk may get that block anew."""
    if inode.stale_disk is None:
        return
    size = inode.sb.block_size
    at = _where(inode, inode.stale_disk[0]) * size
    if start < at + size and inode.cache.holds_dirty(at):
        inode.stale_disk = None


def reread(inode: Inode) -> None:
    """Clean folios are dropped: what is read next is what is on disk (known bug
    `inline_conversion_undone`)."""
    if inode.stale_disk is None:
        return
    (pblk, data), size = inode.stale_disk, inode.sb.block_size
    at = _where(inode, pblk) * size
    if inode.cache.holds_dirty(at):
        return
    inode.stale_disk = None
    run = inode.es.lookup(at // size)
    old = data.ljust(size, b"\0")
    if run.state != WRITTEN or inode.content.read(at, size) == old:
        return
    if pblk is not None and run.pblk != pblk + run.start - at // size:
        return
    if inode.sb.quirk("inline_conversion_undone"):
        inode.content.write(at, old)
        inode.content.zero(inode.size)


def _where(inode: Inode, pblk: int | None) -> int:
    """The block of the file that lies at `pblk`: the first, unless a range was inserted before
    it or nobody knows where blocks are."""
    for run in inode.es:
        if pblk is not None and run.pblk is not None and 0 <= pblk - run.pblk < run.end - run.start:
            return run.start + pblk - run.pblk
    return 0
