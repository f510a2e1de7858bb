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
    "inline_truncate",
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
        inode.inline_size = 0
        inode.sb.rule("inline data to a block: ext4_convert_inline_data")
    inode.may_inline = False


def destroy_inline_data(inode: Inode) -> None:
    """Writeback of a file whose data is inline still: the page cache has it too
    (ext4_do_writepages)."""
    if inode.inline and inode.cache.dirty_starts:
        inode.inline, inode.inline_size = False, 0


def inline_truncate(inode: Inode) -> None:
    """Truncate inline data; blocks that wait for allocation go only if the data gets shorter
    (ext4_inline_data_truncate)."""
    inode.disksize = inode.size
    if inode.size < inode.inline_size:
        if not inode.may_inline:
            inode.remove_status(0, EOF_BLOCK)
        inode.inline_size = max(inode.size, MIN_INLINE_SIZE)
    inode.sb.rule("truncate inline: ext4_inline_data_truncate")


def checkpoint(inode: Inode) -> None:
    """The journal is written to its place at umount. A block that was converted from inline
    data goes back to what it was then (known bug `inline_truncate_loses_mmap_store`)."""
    journaled, inode.journaled = inode.journaled, None
    if journaled is None:
        return
    run = inode.es.lookup(0)
    if run.state != WRITTEN or run.pblk != journaled[0]:
        return
    size = inode.sb.block_size
    old = journaled[1].ljust(size, b"\0")
    if inode.content.read(0, size) == old:
        return
    if inode.sb.quirk("inline_truncate_loses_mmap_store"):
        inode.content.write(0, old)
        inode.content.zero(inode.size)
