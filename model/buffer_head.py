"""Buffered write through buffer heads (`generic_perform_write`, fs/ext4/inode.c).

A call is cut into chunks of at most the largest folio; each chunk begins (maps or reserves
every block), copies, and ends. The copy can be short where the source faults. Every
low-space decision is taken anew for each chunk.
"""

from __future__ import annotations

from model.balloc import nonda_switch, should_retry_alloc
from model.da_reserve import da_reserve_singly
from model.errors import OpError
from model.folio import Folio
from model.inode import Inode
from model.map_blocks import map_blocks, map_singly
from model.revived import is_stuck
from model.source import Source
from model.truncate import truncate_failed_write
from model.units import DELAYED, HOLE, PAGE, WRITTEN, ceil_div, mask, ranges

__all__ = ["block_write_begin", "generic_perform_write"]

MOVES_SIZE = "efault_beyond_eof_moves_size"


def generic_perform_write(inode: Inode, pos: int, source: Source) -> int:
    """Write `source` at byte `pos`; returns bytes written (generic_perform_write).

    Raises `OpError` if nothing was written.
    """
    chunk, done, count = inode.cache.max_folio, 0, len(source)
    want = count
    while done < count:
        at = pos + done
        want = min(want, chunk - at % chunk)
        try:
            copied, status = _one_chunk(inode, at, want, source, done)
        except OpError:
            if done:
                break
            raise
        if status:
            done += status
            want = count - done
            continue
        chunk = max(chunk // 2, PAGE)
        if copied:
            want = copied
            continue
        if source.readable <= done:
            inode.sb.rule("fault: generic_perform_write")
            if done:
                break
            raise OpError("EFAULT")
        want = count - done
    return done


def _one_chunk(inode: Inode, pos: int, want: int, source: Source, done: int) -> tuple[int, int]:
    """Begin, copy, end; returns bytes copied and bytes accepted."""
    delayed = inode.delalloc and not nonda_switch(inode.sb)
    readable = max(source.readable - done, 0)
    folio, new = write_begin(inode, pos, want, delayed, readable)
    length = min(want, folio.end - pos)
    copied = min(length, readable)
    accepted = 0 if copied < length and not folio.full else copied
    _commit(inode, folio, pos, length, accepted=accepted, new=new)
    if accepted:
        inode.content.write(pos, source.data[done : done + accepted])
    end_size(inode, pos, accepted, delayed)
    if not delayed and pos + length > inode.size:
        inode.sb.rule("write_end/short-copy past EOF: ext4_write_end")
        truncate_failed_write(inode)
    return copied, accepted


def write_begin(
    inode: Inode, pos: int, want: int, delayed: bool, readable: int
) -> tuple[Folio, int]:
    """Get the folio and map its blocks (ext4_da_write_begin, ext4_write_begin); of the source
    `readable` bytes can be copied.

    Returns the folio and the bits of its new buffers. Another try asks for no more bytes than
    the folio of this one had, so its folio may be smaller; without delayed allocation it is
    the same one, which is not split meanwhile, if it begins before EOF. Raises `OpError`.
    """
    retries, cache = 0, inode.cache
    folio = cache.write_folio(pos, want)
    while True:
        want = min(want, folio.end - pos)
        rejected = readable < want and not folio.full
        begin = _begin_in_vain if rejected and not delayed else block_write_begin
        try:
            return folio, begin(inode, folio, pos, pos + want, delayed)
        except OpError as error:
            if pos + want > inode.size:
                cache.pinned = None if delayed else folio
                truncate_failed_write(inode)
                cache.pinned = None
            retries += 1
            if error.name != "ENOSPC" or not should_retry_alloc(inode.sb, retries):
                raise
            inode.sb.rule("retry: ext4_should_retry_alloc")
            if delayed or cache.get(folio.index) is not folio:
                folio = cache.write_folio(pos, want)


def _begin_in_vain(inode: Inode, folio: Folio, pos: int, end: int, delayed: bool) -> int:
    """`block_write_begin` of what will be rejected. What it allocates is trimmed past EOF before
    anybody sees where it is; the next try can't get the same blocks if freed ones wait for a
    commit. With a known bug EOF moves up to `pos` before that."""
    placer = inode.sb.placer
    if end > inode.size and inode.sb.data_frees_wait:
        moves = MOVES_SIZE in inode.sb.behaviour.quirks
        eof = max(inode.size, pos) if moves else inode.size
        placer.gone_from = ceil_div(eof, inode.sb.block_size)
    try:
        return block_write_begin(inode, folio, pos, end, delayed)
    finally:
        placer.gone_from = None


def block_write_begin(inode: Inode, folio: Folio, pos: int, end: int, delayed: bool) -> int:
    """Map the blocks of `[pos, end)` (ext4_block_write_begin); returns the new ones' bits."""
    cache = inode.cache
    folio.buffers = True
    touched = cache.bits(folio, pos, end)
    new = 0
    for low, high in ranges(touched & ~folio.mapped):
        fresh, error = _map_range(inode, folio, low, high, delayed)
        new |= fresh
        if error is not None:
            cache.mark_dirty(folio, new)
            folio.uptodate |= new
            raise error
    partial = touched & ~cache.whole_bits(folio, pos, end)
    if inode.sb.flusher_busy:
        for low, high in ranges(partial & ~(folio.uptodate | new)):
            at = folio.start + low * inode.sb.block_size
            inode.wait_for_read(at, at + (high - low) * inode.sb.block_size)
    folio.uptodate |= partial & ~new
    return new


def _map_range(
    inode: Inode, folio: Folio, low: int, high: int, delayed: bool
) -> tuple[int, OpError | None]:
    """Look up or fill blocks `[low, high)` of the folio, one block at a time as the kernel
    does (ext4_da_get_block_prep, ext4_get_block, ext4_get_block_unwritten).

    Returns the bits of the new buffers, and the error that ended it, if any.
    """
    first, new = folio.first, 0
    at, end = first + low, first + high
    while at < end:
        run = inode.es.lookup(at)
        stop = min(run.end, end)
        try:
            if run.state == HOLE and delayed:
                stop = da_reserve_singly(inode, at, stop)
            elif run.state == HOLE:
                stop = map_singly(inode, at, stop, inode.sb.dioread_nolock)
            elif run.state != WRITTEN and not delayed:
                stop = at + 1
                map_blocks(inode, at, 1, unwritten=inode.sb.dioread_nolock)
        except OpError as error:
            return new, error
        bits = mask(at - first, stop - first)
        folio.mapped |= bits
        folio.revived &= ~bits
        if delayed and run.state in (HOLE, DELAYED):
            folio.delay |= bits
        if run.state != WRITTEN:
            new |= bits
        at = stop
    return new, None


def _commit(inode: Inode, folio: Folio, pos: int, length: int, *, accepted: int, new: int) -> None:
    """Buffers after the copy: what was written, and new ones that a short copy left out,
    are uptodate and dirty (block_write_end, folio_zero_new_buffers). So is the one in whose
    middle nothing was written (block_commit_write)."""
    cache = inode.cache
    inside = pos % inode.sb.block_size != 0
    bits = cache.bits(folio, pos, pos + max(accepted, 1)) if accepted or inside else 0
    if accepted < length:
        left = new & cache.bits(folio, pos + accepted, pos + length)
        if left:
            inode.sb.rule("short copy keeps new blocks: folio_zero_new_buffers")
        bits |= left
    folio.uptodate |= bits
    if folio.uptodate | folio.uptodate_alone == folio.all:
        folio.uptodate = folio.all
    cache.mark_dirty(folio, bits)
    inode.journal_data(folio, bits)


def end_size(inode: Inode, pos: int, accepted: int, delayed: bool) -> None:
    """Sizes after a chunk (ext4_da_do_write_end, ext4_write_end).

    i_disksize follows at once where nothing waits for allocation: without delayed
    allocation, or if the last block is written already.
    """
    size = pos + accepted
    if not accepted and size > max(inode.size, 0):
        inode.sb.rule("short copy past EOF: ext4_da_do_write_end")
        if not inode.sb.quirk(MOVES_SIZE):
            return
    if size > inode.size:
        inode.size = size
        if delayed and accepted:
            last = (size - 1) // inode.sb.block_size
            if inode.es.lookup(last).state == WRITTEN or is_stuck(inode, last):
                inode.disksize = size
    if not delayed and size > inode.disksize:
        inode.disksize = size
