"""Folio: pages that the page cache holds together, and what is known of each of their blocks.

How large one is made (mm/filemap.c), and into which parts it falls (mm/truncate.c).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from model.units import PAGE

__all__ = ["Folio", "halves", "write_order"]


def write_order(index: int, length: int, max_folio: int) -> int:
    """Order of the folio that a write of `length` bytes at page `index` asks for.

    As large as the length (rounded down) and the index's alignment allow
    (fgf_set_order, __filemap_get_folio).
    """
    order = max((min(length, max_folio) // PAGE).bit_length() - 1, 0)
    if index & ((1 << order) - 1):
        order = (index & -index).bit_length() - 1
    return order


def halves(index: int, pages: int, edges: set[int]) -> Iterator[tuple[int, int]]:
    """Pieces of a folio that is halved until each page of `edges` stands alone."""
    if pages == 1 or not any(index <= edge < index + pages for edge in edges):
        yield index, pages
        return
    half = pages // 2
    yield from halves(index, half, edges)
    yield from halves(index + half, half, edges)


class Folio(msgspec.Struct, eq=False, gc=False):
    """`pages` pages from page `index`, which are the bytes `[start, end)` of the file and hold
    `count` blocks from block `first` on; `all` has the bits of those. The bit fields count
    blocks from its start.

    `uptodate` blocks hold what a read would give, `dirty` ones wait for writeback. `uptodate_alone`
    (buffer_head only) are those whose buffers are uptodate though the folio as a whole may not be
    taken for it before the next write to it or read of it: what was zeroed in part, and what
    writeback found wholly past EOF.
    `mapped` (buffer_head only) are buffers whose state was looked up in the file's map,
    `delay` those that were delayed then and have not been written back since, `unwritten` those
    that are marked as not written still, though their blocks were zeroed and became written;
    `buffers` tells whether there are buffer heads at all, `state` (iomap only) whether
    there is per-block state; without, the folio is dirty as a whole. `marked` lets the
    next read of it read ahead (PG_readahead, which is the same bit as PG_reclaim). `revived`
    blocks hold bytes that are not on disk and won't be, for a known bug (`model/revived.py`).
    """

    index: int
    pages: int
    start: int
    end: int
    first: int
    count: int
    all: int
    uptodate: int = 0
    dirty: int = 0
    mapped: int = 0
    delay: int = 0
    unwritten: int = 0
    buffers: bool = False
    state: bool = False
    marked: bool = False
    revived: int = 0
    uptodate_alone: int = 0

    @property
    def full(self) -> bool:
        """Whether the folio as a whole is uptodate."""
        return self.uptodate == self.all
