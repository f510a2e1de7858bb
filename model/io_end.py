"""The end of I/O to unwritten blocks: what was written becomes written (fs/ext4/page-io.c).

For that an extent may have to be split, and then the tree may need a block, for which what is
kept for conversions can be used. If even that is gone, or waits for a commit, what is left of an
extent within EOF is zeroed on disk and becomes written as a whole; past EOF the conversion fails.
"""

from __future__ import annotations

from collections.abc import Iterable

from model.extent_tree import TreeBlockRefused
from model.inode import Inode
from model.tree_claim import conversion_room
from model.units import UNWRITTEN, WRITTEN, ceil_div

__all__ = ["convert_written"]

Blocks = tuple[int, int]
"""Blocks `[low, high)` of a file."""


def convert_written(inode: Inode, low: int, high: int, others: Iterable[Blocks] = ()) -> int:
    """Make blocks `[low, high)` written, to which I/O has ended (ext4_convert_unwritten_extents).

    `others` are what all I/O that is under way has written: what of these is zeroed is lost, with a
    known bug that the model follows as a quirk only. Returns the block up
    to which it came: short of `high` where a tree block can't be had and nothing may be zeroed;
    that is a bug as well, without which the block is there all the same.
    """
    unknown = inode.sb.space_unknown is not None and not inode.sb.without_trees
    if (unknown and _splits_nothing(inode, low, high)) or (room := conversion_room(inode)) is None:
        inode.convert(low, high, WRITTEN)
        return high
    at = low
    while at < high:
        run = inode.es.lookup(at).cut(at, high)
        if run.state != UNWRITTEN:
            at = run.end
            continue
        found = _convert_extent(inode, at, run.end, room)
        if found is None:
            return at
        first, end = found
        if first < at or end > run.end:
            inode.sb.rule("zeroout at the end of I/O: ext4_split_extent_zeroout")
            _zeroed(inode, found, (at, min(end, high)), others)
        at = min(end, high)
        room = conversion_room(inode)
    return high


def _splits_nothing(inode: Inode, low: int, high: int) -> bool:
    """Whether nothing unwritten is beside blocks `[low, high)`: then no extent is split."""
    before, after = inode.es.lookup(low - 1) if low else None, inode.es.lookup(high)
    return UNWRITTEN not in (before and before.state, after.state)


def _convert_extent(inode: Inode, at: int, stop: int, room: int | None) -> Blocks | None:
    """Convert blocks `[at, stop)` as far as one extent of the tree holds them, which may get
    `room` blocks. Returns what is written then, or None if it can't be
    (ext4_convert_unwritten_extents_endio)."""
    tree, eof = inode.tree, ceil_div(inode.disksize, inode.sb.block_size)
    tree.refuses = None if room is None else (lambda count: count > room)
    try:
        first, count = tree.end_io(at, stop - at, eof)
    except TreeBlockRefused:
        inode.sb.rule("no tree block at the end of I/O: ext4_split_extent")
        if inode.sb.quirk("conversion_finds_no_tree_block"):
            return None
        tree.refuses = None
        first, count = tree.end_io(at, stop - at, eof)
    finally:
        tree.refuses = None
        inode.tree_changed()
    for run in inode.es.overlapping(first, first + count):
        if run.state == UNWRITTEN:
            inode.es.set(run.become(WRITTEN))
    return first, first + count


def _zeroed(inode: Inode, extent: Blocks, kept: Blocks, others: Iterable[Blocks]) -> None:
    """Of `extent` all but `kept` is zeroed on disk. What `others` had written there may be gone,
    but also what is kept here: nobody knows which I/O ended first. The page cache has it still."""
    written = [
        (max(low, extent[0]), min(high, extent[1]))
        for low, high in others
        if low < extent[1] and extent[0] < high
    ]
    shared = any(low < kept[0] or kept[1] < high for low, high in written)
    if shared and inode.sb.quirk("conversion_zeroes_other_writes"):
        inode.unsaved += written
