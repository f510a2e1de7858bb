"""Direct I/O (`ext4_dio_write_iter`, `ext4_iomap_begin`)."""

from __future__ import annotations

from model.errors import OpError
from model.inode import Inode
from model.map_blocks import map_blocks
from model.truncate import block_zero_eof
from model.units import SECTOR, UNWRITTEN, WRITTEN, ceil_div

__all__ = ["dio_write"]


def dio_write(inode: Inode, pos: int, data: bytes) -> int:
    """Write around the page cache; returns bytes written. Raises `OpError`."""
    sb = inode.sb
    length = len(data)
    if (pos | length) % SECTOR:
        raise OpError("EINVAL")
    if not length:
        return 0
    if pos > inode.size:
        block_zero_eof(inode, inode.size, pos)
    sb.flush_range(inode, pos, pos + length)
    _invalidate(inode, pos, pos + length)
    at, end = pos // sb.block_size, ceil_div(pos + length, sb.block_size)
    old_eof = inode.size
    unwritten: list[tuple[int, int]] = []
    while at < end:
        run = _map_for_dio(inode, at, end, old_eof)
        if run[1] == UNWRITTEN:
            unwritten.append((at, run[0]))
        at = run[0]
    inode.content.write(pos, data)
    for low, high in unwritten:
        inode.convert(low, high, WRITTEN)
    if pos + length > inode.size:
        inode.size = pos + length
    inode.disksize = max(inode.disksize, min(pos + length, inode.size))
    sb.rule("direct write: ext4_dio_write_iter")
    return length


def _map_for_dio(inode: Inode, at: int, end: int, size: int) -> tuple[int, int]:
    """Map blocks for direct I/O (ext4_iomap_alloc): written past EOF, unwritten inside."""
    past = at * inode.sb.block_size >= size
    run = inode.es.lookup(at)
    if run.state == WRITTEN:
        return min(run.end, end), WRITTEN
    found = map_blocks(inode, at, end - at, unwritten=not past)
    return found.end, found.state


def _invalidate(inode: Inode, start: int, end: int) -> None:
    """Drop the folios that `[start, end)` touches (invalidate_inode_pages2_range)."""
    for folio in inode.cache.overlapping(start, end):
        inode.cache.drop(folio)
