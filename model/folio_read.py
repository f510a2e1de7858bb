"""Reading one folio: what is uptodate then, and whether a read needs it at all (mm/filemap.c,
fs/iomap/buffered-io.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.errors import OpError
from model.folio import Folio
from model.page_cache import PageCache
from model.units import EOF_BLOCK

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["blocks_read", "is_partially_uptodate", "read_folio"]


def is_partially_uptodate(cache: PageCache, folio: Folio, start: int, end: int) -> bool:
    """Whether bytes `[start, end)`, as far as the folio has them, can be read from it as it is
    (filemap_range_uptodate, block_is_partially_uptodate, iomap_is_partially_uptodate)."""
    if not (folio.buffers or folio.state) or folio.count == 1:
        return False
    if start <= folio.start and end >= folio.end:
        return False
    block = cache.block_size
    if folio.buffers and start < folio.start + block and end > folio.end - block:
        return False
    return not cache.bits(folio, start, end) & ~(folio.uptodate | folio.uptodate_alone)


def blocks_read(inode: Inode, folio: Folio) -> int:
    """Bits of the folio's blocks that are uptodate once it was read: all, but with a known bug not
    the one behind the last block that a file can have (iomap_read_folio, iomap_readahead,
    ext4_iomap_map_blocks)."""
    behind = inode.iomap and folio.first + folio.count > EOF_BLOCK
    if behind and inode.sb.quirk("last_page_read_in_part"):
        return folio.all >> 1
    return folio.all


def read_folio(inode: Inode, folio: Folio, *, times: int = 1) -> None:
    """Read what is not uptodate of the folio, so many `times` if that fails (filemap_read_folio).
    Raises `OpError` (EIO) if it is not uptodate as a whole then; less is read ahead from there on
    (shrink_readahead_size_eio)."""
    folio.uptodate |= blocks_read(inode, folio)
    if folio.full:
        return
    folio.state = True
    inode.readahead.pages //= 4**times
    if not inode.readahead.pages:
        raise NotModelledError("so many reads have failed that nothing is read ahead any more")
    raise OpError("EIO")
