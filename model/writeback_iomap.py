"""Writeback through iomap (v2 13/22, v3 09/22 of the series).

A dirty block that is delayed has the rest of its delayed extent allocated with it, dirty
or not, even past EOF; always unwritten. Only what was written is converted when the I/O
has ended, and i_disksize follows then.

A delayed block that finds no space is forgotten with the rest of its folio, and the I/O that
was being gathered then fails too, though its blocks were there (iomap_writepages).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from model.balloc import commit_for_writeback, commit_may_free_some
from model.errors import OpError
from model.extent_status import Run
from model.folio import Folio
from model.inode import Inode
from model.io_end import convert_written, may_be_lost, outcomes
from model.map_blocks import map_blocks
from model.tree_claim import conversion_room
from model.units import DELAYED, EOF_BLOCK, HOLE, UNWRITTEN, ranges

__all__ = ["iomap_writepages"]

U32_MAX = 0xFFFFFFFF
"""The block that ends the range to write back is kept in 32 bits: past 2^32 blocks it counts from 0
again (min_t in ext4_iomap_map_writeback_range)."""
MAX_WRITEPAGES_EXTENT_LEN = 2048
"""Blocks that one mapping covers at most."""


def iomap_writepages(inode: Inode, start: int = 0, end: int | None = None) -> None:
    """Write the dirty folios that bytes `[start, end)` touch (ext4_iomap_writepages)."""
    cache, size = inode.cache, inode.sb.block_size
    range_end = EOF_BLOCK * size if end is None else end - 1
    done: list[tuple[int, int]] = []
    failed = inode.errors.failures
    for folio in cache.dirty_folios(start, end):
        first = folio.first
        try:
            for low, high in ranges(folio.dirty):
                stop = min(first + high, inode.eof_block)
                for piece in _map_dirty(inode, first + low, stop, range_end, done):
                    _gather(done, piece)
        except OpError as error:
            inode.errors.failed(error.name)
            _discard_folio(inode, folio)
        cache.clean(folio, folio.all)
        folio.marked = False
        folio.state = folio.count > 1
    if inode.errors.failures != failed and done:
        inode.unsaved.append(_take_last(inode, done))
    if done:
        inode.sb.after_io(partial(_end_io, inode, done, inode.size))


def _gather(done: list[tuple[int, int]], piece: tuple[int, int]) -> None:
    """Blocks that follow those before them are written with them."""
    if done and done[-1][1] == piece[0]:
        done[-1] = (done[-1][0], piece[1])
    elif piece[0] < piece[1]:
        done.append(piece)


def _map_dirty(
    inode: Inode, low: int, high: int, range_end: int, done: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Allocate what is delayed of dirty blocks `[low, high)`; yields what is mapped of them
    (ext4_iomap_map_writeback_range, ext4_iomap_map_one_extent); byte `range_end` is the
    last that writeback was asked for. Of the blocks `done` before, those go that have been written
    while it waited for a commit. Raises `OpError`."""
    size = inode.sb.block_size
    while low < high:
        found = inode.es.lookup(low)
        if found.state == DELAYED:
            asked = high - low
            last = min(range_end // size & U32_MAX, EOF_BLOCK - 1)
            if last > low + asked:  # at the end of the longest file, one too few
                asked = last + 1 - low
            end = min(found.end, low + min(asked, MAX_WRITEPAGES_EXTENT_LEN))
            try:
                found = map_blocks(inode, low, end - low, unwritten=True, use_reserved=True)
            except OpError:
                if not commit_may_free_some(inode.sb):
                    raise
                _submit_all_but_last(inode, done)
                commit_for_writeback(inode.sb)
                continue
            inode.sb.rule("allocate delayed extent: ext4_iomap_map_one_extent")
        yield low, min(found.end, high)
        low = found.end


def _discard_folio(inode: Inode, folio: Folio) -> None:
    """Forget what is delayed of a folio of which a block found no space; what is before that
    block has been mapped (ext4_iomap_discard_folio). The data stays in the page cache until
    the folio is dropped."""
    first = folio.first
    dirty = [(first + low, min(first + high, inode.eof_block)) for low, high in ranges(folio.dirty)]
    failed = min(
        max(run.start, low)
        for low, high in dirty
        for run in inode.es.overlapping(low, high)
        if run.state == DELAYED
    )
    inode.unsaved += [(max(low, failed), high) for low, high in dirty if high > failed]
    inode.remove_status(failed, first + folio.count)
    inode.sb.rule("blocks lost: ext4_iomap_discard_folio")


def _submit_all_but_last(inode: Inode, done: list[tuple[int, int]]) -> None:
    """The task sleeps for a commit: of what was gathered all is under way but the last I/O
    (iomap_add_to_ioend). Converting takes a handle of its own, so that it may come behind the
    commit, which shows where no tree block is to be had before."""
    if done and conversion_room(inode) is not None:
        inode.sb.rule("conversion beside a commit: ext4_iomap_finish_ioend")
        if inode.sb.placer.late:
            return
    if done:
        last = _take_last(inode, done)
        inode.sb.after_io(partial(_end_io, inode, done.copy(), inode.size))
        done[:] = [last]


def _take_last(inode: Inode, done: list[tuple[int, int]]) -> tuple[int, int]:
    """Take the last I/O that was gathered out of `done`: blocks that follow each other in file and
    on the device (iomap_can_add_to_ioend)."""
    low, high = done.pop()
    start = high
    for run in reversed(inode.es.overlapping(low, high)):
        after = inode.es.lookup(start) if start < high else None
        if after is not None and not _follows(run, after):
            break
        start = max(run.start, low)
    if low < start:
        done.append((low, start))
    return start, high


def _follows(run: Run, after: Run) -> bool:
    """Whether `after` is of the same state and behind `run` on the device too."""
    if run.state != after.state or run.pblk is None or after.pblk is None:
        return False
    return run.pblk + run.end - run.start == after.pblk


def _end_io(inode: Inode, done: list[tuple[int, int]], size: int) -> None:
    """End the I/O of the blocks `done`, in the order of the file (ext4_iomap_end_io); `size` is
    the file's when it was submitted."""
    for low, high in done:
        inode.saved(low, high)
    lost = may_be_lost(inode, outcomes(inode, _unwritten(inode, done)))
    for low, high in done:
        at = low
        while at < high:
            run = inode.es.lookup(at).cut(at, high)
            at = run.end
            if run.state != HOLE:  # what is dirty over a hole is in no I/O (iomap_add_to_ioend)
                _finish_ioend(inode, run, size)
    inode.unsaved += lost


def _unwritten(inode: Inode, done: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The I/Os to unwritten blocks among those of the blocks `done`."""
    return [
        [(run.start, run.end)]
        for low, high in done
        for run in inode.es.overlapping(low, high)
        if run.state == UNWRITTEN
    ]


def _finish_ioend(inode: Inode, run: Run, size: int) -> None:
    """Convert what was written if it is unwritten; i_disksize follows
    (ext4_iomap_finish_ioend). Where that fails nobody is told but who asks next."""
    if run.state == UNWRITTEN:
        reached = convert_written(inode, run.start, run.end)
        inode.sb.rule("convert: ext4_iomap_finish_ioend")
        if reached < run.end:
            inode.errors.failed("ENOSPC")
            inode.unsaved.append((reached, run.end))
            return
    end = min(run.end * inode.sb.block_size, size, inode.size)
    if end > inode.disksize:
        inode.disksize = end
        inode.sb.rule("disksize after I/O: ext4_iomap_finish_ioend")
