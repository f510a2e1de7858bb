"""SEEK_DATA and SEEK_HOLE (`iomap_seek_data`, `iomap_seek_hole`, mm/filemap.c).

Written and delayed blocks are data. Unwritten ones are data where the page cache holds
uptodate blocks over them.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.errors import OpError, TreesCount
from model.indirect import seen_runs
from model.inode import Inode
from model.units import HOLE, UNWRITTEN

__all__ = ["data_ranges"]


def data_ranges(inode: Inode) -> list[list[int]]:
    """`[start, end]` of each data range in bytes, as a walk with lseek(2) finds them.

    Raises `OpError` for a file whose inline data ends before EOF: lseek(2) fails there.
    """
    if inode.states_unknown is not None and inode.sb.without_trees:
        raise TreesCount
    found: list[list[int]] = []
    for start, end in _data(inode):
        start, end = min(start, inode.size), min(end, inode.size)  # noqa: PLW2901
        if start == end:
            continue
        if found and found[-1][1] == start:
            found[-1][1] = end
        else:
            found.append([start, end])
    return found


def _data(inode: Inode) -> Iterator[tuple[int, int]]:
    size = inode.sb.block_size
    if inode.size and inode.inline:
        if inode.size > inode.inline_size:
            raise OpError("ENOENT")
        yield 0, inode.size
        return
    if not inode.extents:
        yield from ((run.start * size, run.end * size) for run in seen_runs(inode))
        return
    for run in inode.es.pieces(0, inode.eof_block):
        if run.state == UNWRITTEN:
            yield from _cached(inode, run.start * size, run.end * size)
        elif run.state != HOLE:
            yield run.start * size, run.end * size


def _cached(inode: Inode, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Uptodate pieces of `[start, end)` in the page cache (mapping_seek_hole_data). A folio of
    one block has no pieces (block_is_partially_uptodate)."""
    size = inode.sb.block_size
    for folio in inode.cache.overlapping(start, end):
        low = max(start, folio.start)
        high = min(end, folio.end)
        if folio.full:
            yield low, high
            continue
        first = (low - folio.start) // size
        for block in range(first, -(-(high - folio.start) // size)):
            if folio.count > 1 and (folio.uptodate | folio.uptodate_alone) >> block & 1:
                at = folio.start + block * size
                yield max(low, at), min(high, at + size)
