"""What is on disk of blocks whose pages go, where these then stay after all."""

from __future__ import annotations

from model.inode import Inode
from model.units import WRITTEN, ranges

__all__ = ["OnDisk", "block_on_disk", "on_disk", "show_again"]

OnDisk = list[tuple[int, bytes | None]]
"""First byte and content of what written blocks hold on disk, nothing for one that is not known."""


def block_on_disk(inode: Inode, lblk: int) -> tuple[bytes | None, str | None]:
    """What is on disk of the written block `lblk`, nothing if that is not known, and the known bug
    by which it is not what the page cache has."""
    size = inode.sb.block_size
    start = lblk * size
    if lblk in inode.on_disk:
        return inode.on_disk[lblk]
    unsaved = any(low <= lblk < high for low, high in inode.unsaved)
    if unsaved or inode.cache.holds_dirty(start) or not inode.content.knows(start, start + size):
        return None, None
    return inode.content.read(start, size), None


def on_disk(inode: Inode, low: int, high: int) -> OnDisk:
    """What is on disk of blocks `[low, high)`; not known of those that hold something else in the
    page cache."""
    size, found = inode.sb.block_size, OnDisk()
    unsaved = {block for first, last in inode.unsaved for block in range(first, last)}
    for run in inode.es.overlapping(low, high):
        start, end = run.start * size, run.end * size
        if run.state != WRITTEN:
            continue
        if not unsaved and not inode.cache.dirty_folios(start, end):
            found.append((start, inode.content.read(start, end - start)))
            continue
        for pos in range(start, end, size):
            other = pos // size in unsaved or inode.cache.holds_dirty(pos)
            found.append((pos, None if other else inode.content.read(pos, size)))
    return found


def show_again(inode: Inode, start: int, stays: OnDisk) -> None:
    """What `stays` on disk from byte `start` on is read again; but not where a page that the
    range covers in part is uptodate: there zeros are read until it is dropped."""
    size = inode.sb.block_size
    for pos, data in stays:
        if data is None and pos >= start:
            inode.content.lose(pos, min(pos + size, inode.size))
        elif data is not None and pos + len(data) > start:
            inode.content.write(max(pos, start), data[max(start - pos, 0) :])
    end = max((pos + (size if data is None else len(data)) for pos, data in stays), default=start)
    for folio in inode.cache.overlapping(start, end):
        cached = (folio.uptodate | folio.uptodate_alone) & inode.cache.bits(folio, start, end)
        for low, high in ranges(cached):
            for run in inode.es.overlapping(folio.first + low, folio.first + high):
                if run.state == WRITTEN:
                    inode.content.zero(run.start * size, run.end * size)
                    inode.unsaved.append((run.start, run.end))
