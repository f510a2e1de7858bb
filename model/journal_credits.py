"""How many of the journal's credits conversions after I/O may reserve (fs/jbd2/transaction.c).

Writeback through buffer heads takes a handle for each extent that it maps, and with it reserves
credits for its conversion. Of a transaction half may be reserved: the task that writes back waits
then until a conversion begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.extent_nodes import node_entries
from model.tree_bounds import MAX_DEPTH
from model.units import ceil_div

if TYPE_CHECKING:
    from model.superblock import Superblock
    from workloads.images import Image

__all__ = ["journal_blocks", "most_waiting"]

XATTR_TRANS_BLOCKS, QUOTAS = 6, 3
"""EXT4_XATTR_TRANS_BLOCKS, EXT4_MAXQUOTAS."""
_TAIL, _HEADER, _UUID, _SLACK, _TAG = 4, 12, 16, 16, 16
"""Bytes in a descriptor block of a journal with checksums (journal_block_tag3_t)."""
_DESCRIPTOR = 64
"""Bytes of a group's descriptor."""


def journal_blocks(image: Image, blocks: int) -> int:
    """Length of the journal in blocks, of a file system that has so many
    (ext2fs_default_journal_size); the least for an image from elsewhere."""
    if "-J" in image.options:
        mib = image.options[image.options.index("-J") + 1].removeprefix("size=")
        return (int(mib) << 20) // image.block_size
    return 1024 if blocks < 1 << 15 or image.sha256 else 4096


def most_waiting(sb: Superblock) -> int | None:
    """So many I/Os may wait to be converted when writeback maps the next extent
    (add_transaction_credits); None without a journal."""
    if not sb.journal:
        return None
    most = journal_blocks(sb.config.image, sb.geometry.blocks) // 3
    tags = (sb.block_size - _HEADER - _UUID - _TAIL - _SLACK) // _TAG
    overhead = 1 + ceil_div(most, tags)
    return (most - overhead) // 2 // _conversion_credits(sb)


def _conversion_credits(sb: Superblock) -> int:
    """Credits for converting each block of the largest folio by itself (ext4_meta_trans_blocks,
    ext4_ext_index_trans_blocks)."""
    extents, entries = sb.max_folio // sb.block_size, node_entries(sb.block_size)
    index = MAX_DEPTH * 2 + 1
    if extents > 1:
        index = MAX_DEPTH * 3 + ceil_div(extents + entries - 1, entries)
    groups = ceil_div(sb.geometry.blocks, 8 * sb.block_size * sb.ratio)
    descriptors = ceil_div(groups, sb.block_size // _DESCRIPTOR)
    groups = min(index, groups)
    changed = descriptors if groups > descriptors else index
    quota = sb.quota.tracked or {"quota", "usrquota"} & sb.options
    return index + groups + changed + XATTR_TRANS_BLOCKS + (QUOTAS if quota else 0)
