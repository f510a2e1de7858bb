"""Writeback through buffer heads (`ext4_do_writepages`, mpage_*, fs/ext4/page-io.c).

Only dirty blocks below EOF are gathered; delayed ones are allocated, unwritten where
dioread_nolock applies, and become written when the I/O has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.inode import Inode
from model.map_blocks import map_blocks
from model.page_cache import Folio
from model.units import DELAYED, UNWRITTEN, WRITTEN, ranges

__all__ = ["writepages"]

MAX_WRITEPAGES_EXTENT_LEN = 2048
"""Blocks that are gathered into one extent at most."""


def writepages(inode: Inode, start: int = 0, end: int | None = None) -> None:
    """Write the dirty folios that bytes `[start, end)` touch (ext4_do_writepages)."""
    folios = [folio for folio in inode.cache.dirty_folios(start, end) if folio.start < inode.size]
    if not folios:
        return
    ended: list[tuple[int, int]] = []
    for low, high in _extents(inode, folios):
        _map_extent(inode, low, high, ended)
    for folio in folios:
        inode.cache.clean(folio, folio.all)
    for low, high in ended:
        inode.convert(low, high, WRITTEN)
    if ended:
        inode.sb.rule("convert: ext4_convert_unwritten_io_end_vec")


def _extents(inode: Inode, folios: list[Folio]) -> Iterator[tuple[int, int]]:
    """Runs of dirty blocks that need mapping (mpage_add_bh_to_extent); i_disksize follows
    the folios that are done (mpage_map_and_submit_extent)."""
    eof, size = inode.eof_block, inode.size
    pending: tuple[int, int] | None = None
    submitted = 0
    for folio in folios:
        first = inode.cache.first_block(folio)
        for low, high in ranges(folio.dirty):
            for run in inode.es.overlapping(first + low, min(first + high, eof)):
                if run.state not in (DELAYED, UNWRITTEN):
                    continue
                submitted = max(submitted, min(folio.end, size))
                if pending and pending[1] == run.start:
                    pending = (pending[0], run.end)
                    continue
                if pending:
                    yield from _cut(pending)
                pending = (run.start, run.end)
    if pending:
        yield from _cut(pending)
    if submitted > inode.disksize:
        inode.disksize = submitted
        inode.sb.rule("disksize after submission: mpage_map_and_submit_extent")


def _cut(extent: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for low in range(extent[0], extent[1], MAX_WRITEPAGES_EXTENT_LEN):
        yield low, min(extent[1], low + MAX_WRITEPAGES_EXTENT_LEN)


def _map_extent(inode: Inode, low: int, high: int, ended: list[tuple[int, int]]) -> None:
    """Allocate `[low, high)` piece by piece (mpage_map_one_extent)."""
    while low < high:
        run = map_blocks(
            inode, low, high - low, unwritten=inode.sb.dioread_nolock, use_reserved=True
        )
        if run.state == UNWRITTEN:
            ended.append((run.start, run.end))
        low = run.end
