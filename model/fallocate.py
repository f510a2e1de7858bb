"""fallocate(2) in all modes (fs/ext4/extents.c `ext4_fallocate`, fs/ext4/inode.c)."""

from __future__ import annotations

from model.balloc import is_plentiful, with_retries
from model.errors import OpError
from model.inline_data import convert_inline_data
from model.inode import Inode
from model.map_blocks import map_blocks
from model.placement import Shift
from model.revived import zero_whole_blocks
from model.tree_claim import PLENTY, limited_tree
from model.truncate import block_zero_eof, zero_partial
from model.units import (
    EOF_BLOCK,
    PAGE,
    UNWRITTEN,
    UNWRITTEN_MAX_LEN,
    WRITTEN,
    ceil_div,
    round_down,
    round_up,
)

__all__ = ["allocate", "collapse_range", "insert_range", "punch_hole", "write_zeroes", "zero_range"]


def check_range(inode: Inode, off: int, length: int) -> None:
    """Errors that all modes share for `length` bytes from byte `off`, in the kernel's order
    (vfs_fallocate). Raises `OpError`."""
    if off < 0 or length <= 0:
        raise OpError("EINVAL")
    if off + length > inode.sb.maxbytes:
        raise OpError("EFBIG")


def prepare_fallocate(inode: Inode, off: int, length: int) -> None:
    """What all modes begin with: `check_range`, then no data stays inline (vfs_fallocate,
    ext4_fallocate). Raises `OpError`."""
    check_range(inode, off, length)
    convert_inline_data(inode)


def write_zeroes(inode: Inode, off: int, length: int) -> None:
    """WRITE_ZEROES: devices without an unmapping write-zeroes command refuse (ext4_fallocate).
    Always raises `OpError`."""
    check_range(inode, off, length)
    raise OpError("ENOTSUP")


def allocate(inode: Inode, off: int, length: int, keep_size: bool) -> None:
    """Mode 0 and KEEP_SIZE: holes and delayed blocks become unwritten
    (ext4_do_fallocate, ext4_alloc_file_blocks)."""
    prepare_fallocate(inode, off, length)
    if not inode.extents:
        raise OpError("ENOTSUP")
    end = off + length
    grow = not keep_size and (end > inode.size or end > inode.disksize)
    size = inode.sb.block_size
    alloc_file_blocks(inode, off // size, ceil_div(end, size), end if grow else 0)


def alloc_file_blocks(inode: Inode, first: int, end: int, new_size: int) -> None:
    """Allocate the blocks `[first, end)`, then move the size to `new_size` if that is not
    0; on ENOSPC as far as the blocks reach (ext4_alloc_file_blocks)."""
    if new_size > inode.size:
        block_zero_eof(inode, inode.size)
    at, big = first, end - first > UNWRITTEN_MAX_LEN
    try:
        while at < end:
            at = _allocate_some(inode, at, end, normalize=big)
    except OpError:
        if new_size and at > first:
            _grow(inode, min(new_size, at * inode.sb.block_size))
        raise
    inode.sb.rule("allocate range: ext4_alloc_file_blocks")
    if new_size:
        _grow(inode, new_size)


def _allocate_some(inode: Inode, at: int, end: int, *, normalize: bool) -> int:
    """One round of it; returns the block that it reached. Raises `OpError`."""
    return with_retries(
        inode.sb,
        lambda: map_blocks(inode, at, end - at, unwritten=True, normalize=normalize).end,
    )


def _grow(inode: Inode, size: int) -> None:
    """i_size and i_disksize follow at once."""
    inode.size = max(inode.size, size)
    inode.disksize = max(inode.disksize, size)


def zero_range(inode: Inode, off: int, length: int, keep_size: bool) -> None:
    """ZERO_RANGE: whole blocks become unwritten, edges are zeroed (ext4_zero_range)."""
    prepare_fallocate(inode, off, length)
    if not inode.extents:
        raise OpError("ENOTSUP")
    end, size = off + length, inode.sb.block_size
    grow = not keep_size and (end > inode.size or end > inode.disksize)
    new_size = end if grow else 0
    low, high = ceil_div(off, size), end // size
    if off % size or end % size:
        alloc_file_blocks(inode, off // size, ceil_div(end, size), new_size)
        if inode.sb.behaviour.zero_range_edges_first:
            zero_edges(inode, off, end)
    update_disksize_before_punch(inode, off, length)
    unsaved = inode.cache.holds_dirty(inode.size)
    on_disk = _on_disk(inode, low, high) if high > low else []
    inode.cache.truncate(off, end)
    if high > low:
        zero_whole_blocks(inode, low, high, grows=new_size > inode.size, unsaved=unsaved)
        _convert_unwritten(inode, low, high, new_size, on_disk)
    if new_size:
        _grow(inode, new_size)
    if not inode.sb.behaviour.zero_range_edges_first:
        zero_edges(inode, off, end)
    inode.sb.rule("zero range: ext4_zero_range")


def _convert_unwritten(
    inode: Inode, low: int, high: int, new_size: int, on_disk: list[tuple[int, bytes | None]]
) -> None:
    """Written, delayed and missing blocks become unwritten (EXT4_GET_BLOCKS_CONVERT_UNWRITTEN
    in ext4_map_blocks). On ENOSPC the size moves to where it stands, and what is on disk behind
    that shows again."""
    first, big = low, high - low > UNWRITTEN_MAX_LEN
    try:
        while low < high:
            run = inode.es.lookup(low)
            if run.state == WRITTEN:
                low = _make_some_unwritten(inode, low, min(run.end, high))
            else:
                low = _allocate_some(inode, low, high, normalize=big)
    except OpError:
        if new_size and low > first:
            _grow(inode, min(new_size, low * inode.sb.block_size))
        _show_again(inode, low * inode.sb.block_size, on_disk)
        raise


def _on_disk(inode: Inode, low: int, high: int) -> list[tuple[int, bytes | None]]:
    """First byte and content of what blocks `[low, high)` hold on disk, nothing for a block that
    holds something else in the page cache; left out if the range is sure to find space."""
    sb = inode.sb
    if is_plentiful(sb, (high - low) // sb.ratio + PLENTY):
        return []
    size, found = sb.block_size, list[tuple[int, bytes | None]]()
    for run in inode.es.overlapping(low, high):
        start, end = run.start * size, run.end * size
        if run.state != WRITTEN:
            continue
        unsaved = {block for first, last in inode.unsaved for block in range(first, last)}
        if not unsaved and not inode.cache.dirty_folios(start, end):
            found.append((start, inode.content.read(start, end - start)))
            continue
        for pos in range(start, end, size):
            other = pos // size in unsaved or inode.cache.holds_dirty(pos)
            found.append((pos, None if other else inode.content.read(pos, size)))
    return found


def _show_again(inode: Inode, start: int, on_disk: list[tuple[int, bytes | None]]) -> None:
    """What `_on_disk` found from byte `start` on is read again; but not where a page that the
    range covers in part stays cached: there zeros are read until it is dropped."""
    size = inode.sb.block_size
    for pos, data in on_disk:
        if data is None and pos >= start:
            inode.content.lose(pos, min(pos + size, inode.size))
        elif data is not None and pos + len(data) > start:
            inode.content.write(max(pos, start), data[max(start - pos, 0) :])
    end = max((pos + len(data or b" " * size) for pos, data in on_disk), default=start)
    for folio in inode.cache.overlapping(start, end):
        low, high = max(folio.start, start) // size, min(folio.end, end) // size
        for run in inode.es.overlapping(low, high):
            if run.state == WRITTEN:
                inode.content.zero(run.start * size, run.end * size)
                inode.unsaved.append((run.start, run.end))


def _make_some_unwritten(inode: Inode, low: int, high: int) -> int:
    """Written blocks from `low` on become unwritten, up to the end of their extent or `high`;
    returns the block that it reached (convert_initialized_extent).

    What can't be split from its extent for want of a tree block is zeroed on disk and stays
    written, if it is short and the extent ends within EOF. Raises `OpError` if not.
    """
    sb = inode.sb
    if inode.tree_unknown is not None or sb.without_trees:
        inode.convert(low, high, UNWRITTEN)
        return high
    eof = ceil_div(inode.disksize, sb.block_size)

    def attempt() -> tuple[int, bool]:
        with limited_tree(inode, use_reserved=False):
            return inode.tree.make_unwritten(low, high - low, eof, sb.max_zeroout)

    stop, zeroed = with_retries(sb, attempt)
    if zeroed:
        sb.rule("zeroed on disk: ext4_split_extent_zeroout")
    else:
        for run in inode.es.overlapping(low, stop):
            inode.es.set(run.become(UNWRITTEN))
    inode.tree_changed()
    return stop


def zero_edges(inode: Inode, start: int, end: int) -> None:
    """Zero what `[start, end)` covers of its first and last block, where that is not the
    whole block (ext4_zero_partial_blocks)."""
    size = inode.sb.block_size
    first, last = start // size, (end - 1) // size
    if first == last:
        if start % size or end % size:
            zero_partial(inode, start, end)
        return
    if start % size:
        zero_partial(inode, start, (first + 1) * size)
    if end % size:
        zero_partial(inode, last * size, end)


def update_disksize_before_punch(inode: Inode, off: int, length: int) -> None:
    """i_disksize must not wait for blocks that go (ext4_update_disksize_before_punch).

    It moves up to the end of the range, `off + length` bytes, or to i_size before that.
    """
    size = min(inode.size, off + length)
    if off > inode.size or inode.disksize >= size:
        return
    inode.disksize = size


def punch_hole(inode: Inode, off: int, length: int) -> None:
    """PUNCH_HOLE: whole blocks go, edges are zeroed (ext4_punch_hole)."""
    prepare_fallocate(inode, off, length)
    size = inode.sb.block_size
    last = inode.sb.maxbytes if inode.extents else inode.sb.bitmap_maxbytes - size
    if off >= inode.size or off >= last:
        inode.sb.rule("punch past EOF: ext4_punch_hole")
        return
    end = off + length
    if end >= inode.size:
        end = round_up(inode.size, size)
    end = min(end, last)
    update_disksize_before_punch(inode, off, end - off)
    low, high = ceil_div(off, size), end // size
    inode.cache.truncate(off, end)
    if high > low:
        inode.content.zero(low * size, high * size)
    zero_edges(inode, off, end)
    if high > low:
        inode.remove_status(low, high)
        inode.remove_mapped(low, high)
        inode.prealloc.discard()
    inode.sb.rule("punch: ext4_punch_hole")


def collapse_range(inode: Inode, off: int, length: int) -> None:
    """COLLAPSE_RANGE: remove clusters and shift what follows left (ext4_collapse_range)."""
    check_range(inode, off, length)
    size = inode.sb.block_size
    low, high = off // size, (off + length) // size
    refused = _shift_refused(inode, off, length) or ("EINVAL" if off + length >= inode.size else "")
    _begin_shift(inode, refused, (low, high - low, low - high))
    start = round_down(off, PAGE)
    inode.sb.flush_range(inode, start, off + 1)
    inode.sb.flush_range(inode, off + length, None)
    inode.cache.truncate(start)
    inode.drop_unsaved()
    inode.prealloc.discard()
    inode.remove_status(low, EOF_BLOCK)
    inode.remove_mapped(low, high)
    inode.es.shift(high, low - high)
    if inode.tree_unknown is None:
        inode.tree.shift(high, low - high)
        inode.tree_changed()
    inode.content.move(off + length, off, inode.size)
    inode.size -= length
    inode.disksize = inode.size
    inode.sb.rule("collapse: ext4_collapse_range")


def insert_range(inode: Inode, off: int, length: int) -> None:
    """INSERT_RANGE: shift what follows right (ext4_insert_range)."""
    check_range(inode, off, length)
    size = inode.sb.block_size
    low, count = off // size, length // size
    refused = _shift_refused(inode, off, length) or _insert_refused(inode, off, length)
    _begin_shift(inode, refused, (low, 0, count))
    start = round_down(off, PAGE)
    inode.sb.flush_range(inode, start, None)
    inode.cache.truncate(start)
    inode.drop_unsaved()
    inode.size += length
    inode.disksize += length
    inode.prealloc.discard()
    inode.remove_status(low, EOF_BLOCK)
    inode.es.shift(low, count)
    if inode.tree_unknown is None:
        inode.tree.shift(low, count)
        inode.tree_changed()
    inode.content.move(off, off + length, inode.size - length)
    inode.sb.rule("insert: ext4_insert_range")


def _insert_refused(inode: Inode, off: int, length: int) -> str:
    if off >= inode.size:
        return "EINVAL"
    return "EFBIG" if inode.size + length > inode.sb.maxbytes else ""


def _shift_refused(inode: Inode, off: int, length: int) -> str:
    """The errno of a shift that can't be made, empty if it can."""
    if not inode.extents:
        return "ENOTSUP"
    cluster = inode.sb.block_size * inode.sb.ratio
    return "EINVAL" if off % cluster or length % cluster else ""


def _begin_shift(inode: Inode, refused: str, shift: Shift) -> None:
    """No data stays inline, whether or not the shift is `refused`; a block that it comes to is
    seen where the shift has put it. Raises `OpError`."""
    if not refused:
        inode.sb.placer.moved(inode.name, *shift)
    convert_inline_data(inode)
    if refused:
        raise OpError(refused)
