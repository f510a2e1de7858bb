"""Direct I/O (`ext4_dio_write_iter`, `iomap_dio_rw`, `ext4_iomap_begin`)."""

from __future__ import annotations

from model.balloc import with_retries
from model.errors import OpError
from model.extent_status import Run
from model.file_write import buffered_write, generic_write_checks
from model.inode import Inode
from model.map_blocks import map_blocks
from model.source import Source
from model.truncate import truncate_failed_write
from model.units import SECTOR, UNWRITTEN, WRITTEN, ceil_div

__all__ = ["dio_write"]

DIO_MAX_BLOCKS = 4096
"""Blocks that one step maps at most."""


def dio_write(inode: Inode, pos: int, data: bytes | memoryview) -> int:
    """Write `data` at byte `pos` around the page cache; returns bytes written
    (ext4_dio_write_iter). Raises `OpError`."""
    sb = inode.sb
    if sb.data_journal or inode.inline:
        sb.rule("no direct I/O: ext4_should_use_dio")
        return buffered_write(inode, pos, Source(data))
    inode.may_inline = False
    data = data[: generic_write_checks(inode, pos, len(data))]
    if not data:
        return 0
    inode.file_modified()
    inode.check_behind_size()
    stop = pos + len(data)
    inode.orphan = stop > min(inode.size, inode.disksize)  # ext4_extending_io, before the flush
    try:
        reached = _write_around_cache(inode, pos, data)
    except OpError:
        if inode.orphan:  # ext4_inode_extension_cleanup
            truncate_failed_write(inode)
        raise
    finally:
        inode.orphan = False
    if reached is None:
        return _write_rest(inode, pos, data)
    if reached > pos:
        inode.size = max(inode.size, reached)
        inode.disksize = max(inode.disksize, reached)
        sb.rule("direct write: ext4_dio_write_iter")
    if reached < stop:
        sb.rule("direct write into a hole: ext4_dio_write_iter falls back")
        return reached - pos + _write_rest(inode, reached, data[reached - pos :])
    return len(data)


def _write_around_cache(inode: Inode, pos: int, data: bytes | memoryview) -> int | None:
    """`_write_mapped` once the page cache of the range is written back and gone; None where that
    does not go (iomap_dio_rw). Raises `OpError`."""
    stop = pos + len(data)
    try:
        inode.sb.flush_range(inode, pos, stop)
    except OpError:
        return None
    return _write_mapped(inode, pos, data) if _invalidate(inode, pos, stop) else None


def _write_mapped(inode: Inode, pos: int, data: bytes | memoryview) -> int:
    """Map and write run by run; returns the byte at which it stands, short of the end if a
    hole can't be filled. Raises `OpError`.

    Offset and length are checked for each run once it is mapped (iomap_dio_bio_iter): runs
    before one that is refused stay mapped and, if they were written already, overwritten;
    what went to unwritten ones shows only when all is well (ext4_dio_write_end_io).
    """
    size, at, stop = inode.sb.block_size, pos, pos + len(data)
    unwritten: list[tuple[int, int]] = []
    while at < stop:
        run = _map_for_dio(inode, at // size, ceil_div(stop, size))
        if run is None:
            break
        high = min(run.end * size, stop)
        if (at | high) % SECTOR:
            inode.sb.rule("direct write not aligned: iomap_dio_bio_iter")
            raise OpError("EINVAL")
        if run.state == UNWRITTEN:
            unwritten.append((at, high))
        else:
            inode.content.write(at, data[at - pos : high - pos])
        at = high
    for low, high in unwritten:
        inode.content.write(low, data[low - pos : high - pos])
        inode.convert(low // size, ceil_div(high, size), WRITTEN)
    return at


def _map_for_dio(inode: Inode, at: int, end: int) -> Run | None:
    """Map blocks for direct I/O (ext4_iomap_begin, ext4_iomap_alloc): written past EOF,
    unwritten inside. None for what is not mapped below EOF in a file without extents, which
    direct I/O can't fill. Raises `OpError`."""
    past = at * inode.sb.block_size >= inode.size
    run = inode.es.lookup(at)
    if run.state == WRITTEN:
        return run.cut(at, end)
    if not inode.extents and not past:
        return None
    return with_retries(
        inode.sb, lambda: map_blocks(inode, at, min(end - at, DIO_MAX_BLOCKS), unwritten=not past)
    )


def _write_rest(inode: Inode, pos: int, data: bytes | memoryview) -> int:
    """Write `data` through the page cache, then write that back and drop it; returns bytes
    written. Raises `OpError`."""
    written = buffered_write(inode, pos, Source(data))
    inode.sb.flush_range(inode, pos, pos + written)
    inode.cache.evict(pos, pos + written)
    inode.drop_unsaved()
    return written


def _invalidate(inode: Inode, start: int, end: int) -> bool:
    """Drop the folios that `[start, end)` touches; False if one is dirty still, as one past EOF
    may be after writeback, and the whole write takes the page cache
    (kiocb_invalidate_pages, invalidate_inode_pages2_range)."""
    _drop_clean(inode, start, end)
    if any(inode.cache.overlapping(start, end)):
        inode.sb.rule("direct write meets dirty pages: kiocb_invalidate_pages")
        return False
    return True


def _drop_clean(inode: Inode, start: int, end: int) -> None:
    for folio in inode.cache.overlapping(start, end):
        if not folio.dirty:
            inode.cache.drop(folio)
    inode.drop_unsaved()
