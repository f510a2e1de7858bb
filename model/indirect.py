"""Mapping of files without extents (fs/ext4/indirect.c)."""

from __future__ import annotations

__all__ = ["blocks_to_boundary"]

DIRECT = 12
"""Block pointers in the inode (EXT4_NDIR_BLOCKS)."""


def blocks_to_boundary(lblk: int, block_size: int) -> int:
    """Blocks from `lblk`, itself included, whose pointers are in the same block or in the
    inode: what one step maps at most (ext4_block_to_path, ext4_blks_to_allocate)."""
    if lblk < DIRECT:
        return DIRECT - lblk
    per_block = block_size // 4
    return per_block - (lblk - DIRECT) % per_block
