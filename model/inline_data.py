"""Data inside the inode (inline_data, fs/ext4/inline.c): state, conversion to a block,
truncation.

A new file may hold data inline as long as `may_inline` is set. `inline` tells that it does;
both differ while the data waits in the page cache for a delayed block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.journal_copy import STALE
from model.map_blocks import map_blocks
from model.units import EOF_BLOCK

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = [
    "MIN_INLINE_SIZE", "capacity", "convert_inline_data", "destroy_inline_data", "inline_truncate",
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
    (ext4_convert_inline_data). Raises `OpError`; the data is put back then, behind the inode's
    checksum, which is wrong until something else of the inode changes, a known bug.

    The block is written through the journal as metadata (`model.journal_copy`). Until it is on
    disk, who doesn't have the data in the page cache reads what was on disk before, a known bug.
    """
    if inode.inline and not inode.may_inline:
        inode.sb.flush_range(inode, 0, None)
    if inode.inline:
        inode.inline = False
        try:
            run = map_blocks(inode, 0, 1, unwritten=False)
        except BaseException:
            inode.inline, inode.checksum_wrong = True, inode.sb.checksums
            raise
        place = None if inode.sb.placer.unseen else run.pblk
        inode.sb.copies.add(inode, place, inode.content.read(0, inode.inline_size))
        _not_on_disk(inode)
        inode.inline_size, inode.inline_copy = 0, None
        inode.sb.rule("inline data to a block: ext4_convert_inline_data")
    inode.may_inline = False


def _not_on_disk(inode: Inode) -> None:
    """Block 0 is mapped, and what was on disk there before still is."""
    if STALE not in inode.sb.behaviour.quirks:
        return
    if inode.is_cached(0):
        inode.differs_on_disk(0, None, STALE)
    else:
        inode.show_on_disk(0, None, STALE)


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
