"""Direct I/O (`ext4_dio_write_iter`, `ext4_iomap_begin`)."""

from __future__ import annotations

from model.errors import OpError
from model.file_write import buffered_write
from model.inode import Inode
from model.map_blocks import map_blocks
from model.source import Source
from model.truncate import truncate_failed_write
from model.units import HOLE, SECTOR, UNWRITTEN, WRITTEN, ceil_div

__all__ = ["dio_write"]


def dio_write(inode: Inode, pos: int, data: bytes) -> int:
    """Write around the page cache; returns bytes written. Raises `OpError`."""
    sb = inode.sb
    if sb.data_journal or inode.inline:
        sb.rule("no direct I/O: ext4_should_use_dio")
        return buffered_write(inode, pos, Source(data))
    inode.may_inline = False
    length = len(data)
    if (pos | length) % SECTOR:
        raise OpError("EINVAL")
    if not length:
        return 0
    sb.flush_range(inode, pos, pos + length)
    _invalidate(inode, pos, pos + length)
    hole = first_hole(inode, pos, length)
    if hole is not None:
        return _with_fallback(inode, pos, data, hole)
    unwritten = _mapped_for_dio(inode, pos, pos + length)
    inode.content.write(pos, data)
    for low, high in unwritten:
        inode.convert(low, high, WRITTEN)
    inode.size = max(inode.size, pos + length)
    inode.disksize = max(inode.disksize, min(pos + length, inode.size))
    sb.rule("direct write: ext4_dio_write_iter")
    return length


def first_hole(inode: Inode, pos: int, length: int) -> int | None:
    """The byte at which a write within a file without extents meets a hole below EOF: such
    holes can't be filled by direct I/O (ext4_iomap_alloc)."""
    if inode.extents:
        return None
    size = inode.sb.block_size
    for run in inode.es.pieces(pos // size, ceil_div(min(pos + length, inode.size), size)):
        if run.state == HOLE:
            return max(run.start * size, pos)
    return None


def _with_fallback(inode: Inode, pos: int, data: bytes, hole: int) -> int:
    """Write directly up to the hole, through the page cache from there on; what the page
    cache got is written back and dropped. Raises `OpError`."""
    if hole > pos:
        dio_write(inode, pos, data[: hole - pos])
    inode.sb.rule("direct write into a hole: ext4_dio_write_iter falls back")
    wrote = buffered_write(inode, hole, Source(data[hole - pos :]))
    inode.sb.flush_range(inode, hole, hole + wrote)
    for folio in inode.cache.overlapping(hole, hole + wrote):
        if not folio.dirty:
            inode.cache.drop(folio)
    return hole - pos + wrote


def _mapped_for_dio(inode: Inode, pos: int, stop: int) -> list[tuple[int, int]]:
    """Map all blocks of bytes `[pos, stop)`; the blocks that are unwritten, as ranges.

    What a write past EOF got before it failed goes again (ext4_inode_extension_cleanup).
    """
    at, end = pos // inode.sb.block_size, ceil_div(stop, inode.sb.block_size)
    unwritten: list[tuple[int, int]] = []
    while at < end:
        try:
            high, state = _map_for_dio(inode, at, end, inode.size)
        except OpError:
            if stop > inode.size:
                truncate_failed_write(inode)
            raise
        if state == UNWRITTEN:
            unwritten.append((at, high))
        at = high
    return unwritten


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
