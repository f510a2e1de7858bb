"""Writeback through iomap (v2 13/22, v3 09/22 of the series).

A dirty block that is delayed has the rest of its delayed extent allocated with it, dirty
or not, even past EOF; always unwritten. Only what was written is converted when the I/O
has ended, and i_disksize follows then.
"""

from __future__ import annotations

from model.inode import Inode
from model.map_blocks import map_blocks
from model.units import DELAYED, EOF_BLOCK, UNWRITTEN, WRITTEN, ranges

__all__ = ["iomap_writepages"]

MAX_WRITEPAGES_EXTENT_LEN = 2048
"""Blocks that one mapping covers at most."""


def iomap_writepages(inode: Inode, start: int = 0, end: int | None = None) -> None:
    """Write the dirty folios that bytes `[start, end)` touch (ext4_iomap_writepages)."""
    cache, size = inode.cache, inode.sb.block_size
    range_end = EOF_BLOCK * size if end is None else end - 1
    done: list[tuple[int, int]] = []
    for folio in cache.dirty_folios(start, end):
        first = cache.first_block(folio)
        for low, high in ranges(folio.dirty):
            stop = min(first + high, inode.eof_block)
            _map_dirty(inode, first + low, stop, range_end)
            if stop > first + low:
                if done and done[-1][1] == first + low:
                    done[-1] = (done[-1][0], stop)
                else:
                    done.append((first + low, stop))
        cache.clean(folio, folio.all)
        folio.marked = False
        folio.state = folio.count > 1
    _end_io(inode, done)


def _map_dirty(inode: Inode, low: int, high: int, range_end: int) -> None:
    """Allocate what is delayed of dirty blocks `[low, high)`
    (ext4_iomap_map_writeback_range, ext4_iomap_map_one_extent); byte `range_end` is the
    last that writeback was asked for."""
    size = inode.sb.block_size
    while low < high:
        found = inode.es.lookup(low)
        if found.state == DELAYED:
            asked = high - low
            if (range_end - low * size) // size > asked:
                asked = range_end // size + 1 - low
            end = min(found.end, low + min(asked, MAX_WRITEPAGES_EXTENT_LEN))
            found = map_blocks(inode, low, end - low, unwritten=True, use_reserved=True)
            inode.sb.rule("allocate delayed extent: ext4_iomap_map_one_extent")
        low = found.end


def _end_io(inode: Inode, done: list[tuple[int, int]]) -> None:
    """Convert what was written; i_disksize follows (ext4_iomap_finish_ioend)."""
    for low, high in done:
        for run in inode.es.overlapping(low, high):
            if run.state == UNWRITTEN:
                inode.convert(run.start, run.end, WRITTEN)
                inode.sb.rule("convert: ext4_iomap_finish_ioend")
        end = min(high * inode.sb.block_size, inode.size)
        if end > inode.disksize:
            inode.disksize = end
            inode.sb.rule("disksize after I/O: ext4_iomap_finish_ioend")
