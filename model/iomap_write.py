"""Buffered write through iomap (fs/iomap/buffered-io.c, v3 08/22 of the series).

A call is cut into rounds. Each begins by mapping what is left of the call, up to the end
of a run of equal state; copies folio by folio; and ends by giving back the delayed blocks
that it mapped itself and did not write. The low-space decision is taken once a call.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.balloc import nonda_switch, with_retries
from model.da_reserve import da_reserve_blocks
from model.errors import OpError
from model.extent_status import Run
from model.folio import Folio, write_order
from model.inode import Inode
from model.map_blocks import map_blocks
from model.source import Source
from model.units import (
    DELAYED,
    EOF_BLOCK,
    HOLE,
    PAGE,
    WRITTEN,
    ceil_div,
    ranges,
    round_down,
    round_up,
)

__all__ = ["iomap_buffered_write", "iomap_page_mkwrite"]

MAX_LOGICAL_BLOCK = EOF_BLOCK - 1


def iomap_buffered_write(inode: Inode, pos: int, source: Source) -> int:
    """Write `source` at byte `pos`; returns bytes written (ext4_iomap_buffered_write,
    iomap_file_buffered_write). Raises `OpError` if nothing was written."""
    delayed = inode.sb.delalloc and not nonda_switch(inode.sb)
    done, count = 0, len(source)
    try:
        while done < count:
            written, faulted = _round(inode, pos, source, done, delayed)
            done += written
            if faulted and inode.sb.behaviour.write_ends_at_fault:
                break
    except OpError:
        if not done:
            raise
    return done


def _round(inode: Inode, pos: int, source: Source, done: int, delayed: bool) -> tuple[int, bool]:
    """One mapping round; returns the bytes written and whether a fault ended it. Raises
    `OpError` if none were."""
    at, left = pos + done, len(source) - done
    mapping, new = write_begin(inode, at, left, delayed)
    length = min(left, mapping.end * inode.sb.block_size - at)
    written, error = _write_iter(inode, at, length, source, done)
    if delayed and new:
        da_write_end(inode, at, length, written)
    if error and not written:
        raise error
    return written, error is not None


def write_begin(inode: Inode, pos: int, length: int, delayed: bool) -> tuple[Run, bool]:
    """Map what a round may write (ext4_iomap_buffered_do_write_begin).

    Returns the mapping and whether it is new (EXT4_MAP_NEW). Raises `OpError`.
    """
    sb = inode.sb
    first = pos // sb.block_size
    if first > MAX_LOGICAL_BLOCK:
        raise OpError("EINVAL")
    end = min((pos + length - 1) // sb.block_size, MAX_LOGICAL_BLOCK) + 1

    def attempt() -> tuple[Run, bool]:
        if delayed:
            return da_map_blocks(inode, first, end)
        return get_blocks(inode, first, end), True

    return with_retries(sb, attempt)


def da_map_blocks(inode: Inode, first: int, end: int) -> tuple[Run, bool]:
    """Look up block `first`; a hole is reserved in one step up to `end` or its own end
    (ext4_da_map_blocks, ext4_insert_delayed_blocks)."""
    found = inode.es.lookup(first)
    stop = min(found.end, end)
    if found.state != HOLE:
        return found.cut(first, stop), False
    da_reserve_blocks(inode, first, stop)
    inode.sb.rule("reserve in one step: ext4_da_map_blocks")
    return Run(first, stop, DELAYED), inode.sb.behaviour.da_map_sets_new


def get_blocks(inode: Inode, first: int, end: int) -> Run:
    """Without delayed allocation: use what is there, else allocate, always unwritten
    (ext4_iomap_get_blocks)."""
    found = inode.es.lookup(first)
    if end <= inode.eof_block and found.state != HOLE:
        return found.cut(first, min(found.end, end))
    inode.sb.rule("allocate unwritten: ext4_iomap_get_blocks")
    return map_blocks(inode, first, end - first, unwritten=True)


def _write_iter(
    inode: Inode, pos: int, length: int, source: Source, done: int
) -> tuple[int, OpError | None]:
    """Copy up to `length` bytes of a mapping (iomap_write_iter); returns bytes written and
    what stopped the copy."""
    chunk, written = inode.cache.max_folio, 0
    want, cut = length, length < len(source) - done
    while written < length:
        at, readable = pos + written, source.readable - done - written
        want = min(want, chunk - at % chunk, length - written)
        if readable <= 0:
            inode.sb.rule("fault: iomap_write_iter")
            return written, OpError("EFAULT")
        folio = inode.cache.write_folio(at, want)
        if cut and not folio.uptodate:
            _note_small_folio(inode, folio, at, len(source) - done - written)
        want = min(want, folio.end - at)
        stale = _prepare_folio(inode, folio, at, want)
        copied = min(want, readable)
        if copied < want and not folio.full:
            if stale:
                inode.lose_content(at + copied, min(stale, max(at + copied, inode.size)))
            _write_failed(inode, at, want)
            chunk, want = max(chunk // 2, PAGE), copied
            continue
        start = done + written
        inode.content.write(at, source.data[start : start + copied])
        if copied < want and stale:
            inode.lose_content(at + copied, stale)
        bits = inode.cache.bits(folio, at, at + copied) if folio.state else folio.all
        folio.uptodate |= inode.cache.bits(folio, at, at + want)
        inode.cache.mark_dirty(folio, bits)
        inode.size = max(inode.size, at + copied)
        written += copied
        want = length - written
    return written, None


def _note_small_folio(inode: Inode, folio: Folio, pos: int, rest: int) -> None:
    """Say so if the new `folio` would have been larger, had the mapping held all `rest` bytes of
    the call (iomap_get_folio is told what is left of the mapping)."""
    largest = inode.cache.max_folio
    order = write_order(folio.index, min(rest, largest - pos % largest), largest)
    if folio.pages < 1 << order:
        inode.sb.rule("folio within its mapping: iomap_get_folio")


def _prepare_folio(inode: Inode, folio: Folio, pos: int, length: int) -> int:
    """Read or zero blocks that the write covers only in part (__iomap_write_begin).

    Returns where bytes would be stale if the copy is short: 7.2 marks all blocks of the
    write uptodate before the copy. 0 if there are none.
    """
    cache, end = inode.cache, pos + length
    if pos <= folio.start and end >= folio.end:
        return 0
    folio.state = folio.count > 1
    if folio.full:
        return 0
    touched = cache.bits(folio, pos, end)
    partial = touched & ~cache.whole_bits(folio, pos, end)
    if "stale_folio_after_short_copy" in inode.sb.behaviour.quirks and partial & ~folio.uptodate:
        fresh = touched & ~folio.uptodate
        folio.uptodate |= fresh
        return min(round_up(end, inode.sb.block_size), folio.end)
    folio.uptodate |= _blocks_read(inode, folio, partial)
    return 0


def _blocks_read(inode: Inode, folio: Folio, blocks: int) -> int:
    """Those of `blocks`, bits of the folio, that are read from disk; others are zeroed around
    the write, and uptodate once that is copied (iomap_block_needs_zeroing)."""
    read = 0
    for low, high in ranges(blocks):
        for block in range(low, high):
            first = folio.first + block
            if first < inode.eof_block and inode.es.lookup(first).state == WRITTEN:
                read |= 1 << block
    return read


def _write_failed(inode: Inode, pos: int, length: int) -> None:
    """Forget what a rejected copy put past EOF (iomap_write_failed)."""
    inode.sb.rule("reject short copy: iomap_write_end")
    if pos + length > inode.size:
        inode.cache.truncate(max(pos, inode.size), pos + length, inode.size)


def da_write_end(inode: Inode, pos: int, length: int, written: int) -> None:
    """Give back new delayed blocks that were not written
    (ext4_iomap_buffered_da_write_end, iomap_write_delalloc_release)."""
    size = inode.sb.block_size
    start = round_up(pos + written, size) if written else round_down(pos, size)
    end = round_up(pos + length, size)
    if start >= end:
        return
    inode.sb.rule("punch stale range: ext4_iomap_buffered_da_write_end")
    punched = start
    for folio, low, high in _cached_data(inode, start, min(inode.size, end)):
        if not inode.cache.is_dirty(folio):
            continue
        if low > punched:
            punch_delalloc(inode, punched, low)
        _punch_clean_blocks(inode, folio, low, high)
        punched = high
    if punched < end:
        punch_delalloc(inode, punched, end)


def _cached_data(inode: Inode, start: int, end: int) -> Iterator[tuple[Folio, int, int]]:
    """Uptodate pieces of folios in bytes `[start, end)` (mapping_seek_hole_data)."""
    size = inode.sb.block_size
    for folio in inode.cache.overlapping(start, end):
        for low, high in ranges(folio.uptodate):
            first = max(folio.start + low * size, start)
            last = min(folio.start + high * size, end)
            if first < last:
                yield folio, first, last


def _punch_clean_blocks(inode: Inode, folio: Folio, low: int, high: int) -> None:
    """Punch the blocks of a dirty folio that are clean (iomap_write_delalloc_ifs_punch)."""
    size = inode.sb.block_size
    for block in range(low // size, ceil_div(high, size)):
        if not folio.dirty >> (block - folio.first) & 1:
            punch_delalloc(inode, block * size, (block + 1) * size)


def punch_delalloc(inode: Inode, start: int, end: int) -> None:
    """Drop delayed blocks and their reservation (ext4_iomap_punch_delalloc)."""
    size = inode.sb.block_size
    first = start // size
    inode.remove_status(first, first + ceil_div(end - start, size))


def iomap_page_mkwrite(inode: Inode, folio: Folio) -> None:
    """Map the folio up to EOF run by run, let all of it be written (iomap_page_mkwrite), also
    if only its first runs can be had. Raises `OpError` (SIGBUS)."""
    delayed = inode.sb.delalloc and not nonda_switch(inode.sb)
    at, end = folio.start, min(folio.end, inode.size)
    try:
        while at < end:
            at = write_begin(inode, at, end - at, delayed)[0].end * inode.sb.block_size
            folio.state = folio.count > 1
            inode.cache.mark_dirty(folio, folio.all)
    except OpError:
        raise OpError("SIGBUS") from None
    inode.sb.rule("map whole folio: iomap_page_mkwrite")
