"""Truncate, and the zeroing of the block that holds EOF (fs/ext4/inode.c)."""

from __future__ import annotations

from harness.errors import NotModelledError
from model.errors import OpError
from model.inline_data import convert_inline_data, inline_truncate
from model.inode import Inode
from model.on_disk import OnDisk, on_disk
from model.units import DELAYED, EOF_BLOCK, HOLE, PAGE, UNWRITTEN, WRITTEN, ceil_div, round_up

__all__ = ["block_zero_eof", "evict", "setattr_size", "truncate", "truncate_failed_write",
           "zero_partial"]  # fmt: skip


def zero_partial(inode: Inode, start: int, end: int) -> bool:
    """Zero bytes `[start, end)` within one block in the page cache and let it be written
    (ext4_block_zero_range, ext4_load_tail_bh).

    Returns False where there is nothing to zero: a hole, or unwritten or delayed without
    a buffer that was mapped before. The folio is there afterwards in any case.
    """
    if inode.iomap:
        return _iomap_zero(inode, start, end)
    cache = inode.cache
    block = start // inode.sb.block_size
    folio = cache.get(start // PAGE) or cache.add(start // PAGE, 0)
    bit = cache.bits(folio, start, end)
    state = inode.es.lookup(block).state
    folio.buffers = True
    if state != WRITTEN and not folio.mapped & bit:
        if not folio.uptodate & bit:
            inode.sb.rule("nothing to zero: ext4_load_tail_bh")
        return False
    inode.content.zero(start, end)
    inode.keep_from_disk(folio, bit)
    folio.mapped |= bit
    folio.uptodate_alone |= bit & ~folio.uptodate
    cache.mark_dirty(folio, bit)
    inode.log(folio, bit)
    return True


def _iomap_zero(inode: Inode, start: int, end: int) -> bool:
    """The same on the iomap path: a hole, and an unwritten block under a clean folio, are
    skipped without touching the cache (ext4_iomap_zero_begin, v2 17/22)."""
    cache = inode.cache
    folio = cache.get(start // PAGE)
    state = inode.es.lookup(start // inode.sb.block_size).state
    if state == HOLE or (state == UNWRITTEN and not (folio and cache.is_dirty(folio))):
        return False
    folio = folio or cache.add(start // PAGE, 0)
    bit = cache.bits(folio, start, end)
    if state == DELAYED and not folio.dirty & bit:
        inode.sb.rule("zero clean delayed block: iomap_zero_iter")
    if state == UNWRITTEN and not folio.dirty & bit:
        inode.sb.rule("zero clean unwritten block: iomap_zero_iter")
    inode.content.zero(start, end)
    folio.state = folio.count > 1
    folio.uptodate |= bit
    cache.mark_dirty(folio, bit)
    return True


def block_zero_eof(
    inode: Inode, start: int, end: int | None = None, *, truncating: bool = False
) -> None:
    """Zero from byte `start` to the end of its block, but not past `end`
    (ext4_block_zero_eof); `truncating` tells that ext4_truncate asks for it.

    The iomap path does not tie data to the transaction, so it may write at once what it
    zeroed (`Behaviour.eof_zero_flush`).
    """
    size = inode.sb.block_size
    if start % size == 0 or inode.inline:
        return
    stop = round_up(start, size)
    stop = stop if end is None else min(stop, end)
    if not zero_partial(inode, start, stop):
        return
    inode.sb.rule("zero EOF block: ext4_block_zero_eof")
    if not inode.iomap:
        if inode.es.lookup(start // size).state == WRITTEN:
            inode.order(start, stop)
        return
    if inode.sb.behaviour.eof_zero_flush == "truncate_down":
        at_once = truncating
    else:
        at_once = inode.es.lookup(start // size).state != DELAYED
    if at_once:
        inode.sb.rule("write zeroed EOF block: ext4_block_zero_eof")
        _write_at_once(inode, start, stop)


def _write_at_once(inode: Inode, start: int, stop: int) -> None:
    """Write back bytes `[start, stop)` and wait. What earlier writeback could not write is no
    reason to fail, but with a known bug it is. Raises `OpError`."""
    old = inode.errors.marked
    if old is not None and not inode.sb.quirk("old_error_fails_truncate"):
        inode.errors.marked = None
        inode.sb.flush_range(inode, start, stop)
        inode.errors.marked = old
        return
    inode.sb.flush_range(inode, start, stop)


def truncate_failed_write(inode: Inode) -> None:
    """Trim what a failed write left past EOF, preallocation included, and what a direct one had
    written there already (ext4_truncate_failed_write)."""
    inode.sb.rule("trim past EOF: ext4_truncate_failed_write")
    inode.cache.truncate(inode.size)
    inode.content.zero(inode.size)
    truncate(inode)


def truncate(inode: Inode) -> None:
    """Remove all blocks past EOF (ext4_truncate, ext4_ext_truncate)."""
    sb = inode.sb
    if inode.size == 0 and sb.auto_da_alloc:
        inode.alloc_on_close = True
    if inode.inline:
        inline_truncate(inode)
        return
    block_zero_eof(inode, inode.size, truncating=True)
    inode.prealloc.discard()
    inode.disksize = inode.size
    first = ceil_div(inode.size, sb.block_size)
    inode.remove_status(first, EOF_BLOCK)
    inode.remove_mapped(first, EOF_BLOCK)
    inode.behind_size = False


def setattr_size(inode: Inode, size: int) -> None:
    """ftruncate(2) to `size` bytes (ext4_setattr). Raises `OpError`, which the superblock notes."""
    if inode.inline and size > inode.inline_size:
        _convert_for_size(inode)
    try:
        _set_size(inode, size)
    except OpError:
        inode.sb.errors_noted += 1  # ext4_std_error
        raise
    inode.file_modified()


def _set_size(inode: Inode, size: int) -> None:
    """Set the size, and remove what lies behind it. Raises `OpError`: then a smaller size is set,
    but all blocks are there still, as they are on disk."""
    old, stays = inode.size, OnDisk()
    if size > old:
        block_zero_eof(inode, old)
        inode.sb.rule("truncate up: ext4_setattr")
    elif inode.errors.marked is not None:
        stays = on_disk(inode, ceil_div(size, inode.sb.block_size), EOF_BLOCK)
    if size != inode.disksize:
        inode.change_data()
    inode.size = inode.disksize = size
    inode.cache.truncate(size)  # a failed write may have left folios past EOF
    if size < old:
        inode.content.zero(size)
    if size <= old:
        inode.sb.rule("truncate down: ext4_truncate")
        try:
            truncate(inode)
        except OpError:
            _keep_behind_size(inode, stays)
            raise


def _keep_behind_size(inode: Inode, stays: OnDisk) -> None:
    """The truncation ended before it removed a block: what `stays` on disk behind the size shows
    when the file grows."""
    inode.behind_size = True
    if any(data is None for _, data in stays) or inode.reserved:
        raise NotModelledError("a truncation that fails behind blocks not written back")
    for pos, data in stays:
        assert data is not None
        inode.content.write(pos, data)


def _convert_for_size(inode: Inode) -> None:
    """`convert_inline_data`. Raises `OpError`, which a known bug takes for damage of the file
    system: what was asked of it is noted in the superblock (ext4_std_error)."""
    try:
        convert_inline_data(inode)
    except OpError:
        if inode.sb.quirk("failed_truncate_marks_errors"):
            inode.sb.errors_noted += 1
        raise


def evict(inode: Inode) -> None:
    """The last reference of an unlinked file is gone (ext4_evict_inode)."""
    inode.cache.clear()
    inode.content.zero(0)
    inode.size = 0
    inode.remove_status(0, EOF_BLOCK)
    inode.remove_mapped(0, EOF_BLOCK)
