"""Mapping of files without extents (fs/ext4/indirect.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.extent_status import Run
from model.units import HOLE

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["blocks_to_boundary", "seen_runs"]

DIRECT = 12
"""Block pointers in the inode (EXT4_NDIR_BLOCKS)."""


def blocks_to_boundary(lblk: int, block_size: int) -> int:
    """Blocks from `lblk`, itself included, whose pointers are in the same block or in the
    inode: what one step maps at most (ext4_block_to_path, ext4_blks_to_allocate)."""
    if lblk < DIRECT:
        return DIRECT - lblk
    per_block = block_size // 4
    return per_block - (lblk - DIRECT) % per_block


def seen_runs(inode: Inode) -> list[Run]:
    """The runs that FIEMAP and SEEK_DATA find from the start of a file without extents.

    Kernels with the known bug `indirect_delayed_tail_is_hole` step over the whole range of
    a missing pointer, delayed blocks in it included.
    """
    runs = list(inode.es)
    if (
        inode.extents
        or not runs
        or "indirect_delayed_tail_is_hole" not in inode.sb.behaviour.quirks
    ):
        return runs
    found: list[Run] = []
    at, end = 0, runs[-1].end
    while at < end:
        run = inode.es.lookup(at)
        if run.state != HOLE:
            found.append(run.cut(at, run.end))
            at = run.end
        else:
            at += inode.indirect.hole(at)
    if sum(run.end - run.start for run in found) < sum(run.end - run.start for run in runs):
        inode.sb.quirk("indirect_delayed_tail_is_hole")
    return found
