"""fallocate(2) in all modes that leave blocks where they are (fs/ext4/extents.c `ext4_fallocate`,
fs/ext4/inode.c)."""

from __future__ import annotations

from typing import NamedTuple

from model.balloc import is_plentiful, with_retries
from model.errors import OpError
from model.inline_data import convert_inline_data
from model.inode import Inode
from model.map_blocks import map_blocks
from model.on_disk import OnDisk, block_on_disk, on_disk, show_again
from model.revived import Found, revive_block, zero_whole_blocks
from model.tree_claim import PLENTY, limited_tree, may_lack_tree_block, split_at
from model.truncate import block_zero_eof, zero_partial
from model.units import (
    UNWRITTEN,
    UNWRITTEN_MAX_LEN,
    WRITTEN,
    ceil_div,
    round_up,
)

__all__ = ["allocate", "check_range", "punch_hole", "write_zeroes", "zero_range"]


def check_range(inode: Inode, off: int, length: int) -> None:
    """Errors that all modes share for `length` bytes from byte `off`, in the kernel's order
    (vfs_fallocate). Raises `OpError`."""
    if off < 0 or length <= 0:
        raise OpError("EINVAL")
    if off + length > inode.sb.maxbytes:
        raise OpError("EFBIG")
    inode.check_behind_size()


def prepare_fallocate(inode: Inode, off: int, length: int) -> None:
    """What all modes begin with: `check_range`, then no data stays inline, and the file's times
    change (vfs_fallocate, ext4_fallocate). Raises `OpError`."""
    check_range(inode, off, length)
    convert_inline_data(inode)
    inode.file_modified()


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
    reached = with_retries(
        inode.sb,
        lambda: map_blocks(inode, at, end - at, unwritten=True, normalize=normalize).end,
    )
    inode.change_data()
    return reached


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
    _write_journalled(inode, off, end)
    eof = block_on_disk(inode, inode.size // size) if new_size > inode.size else None
    plenty = is_plentiful(inode.sb, (high - low) // inode.sb.ratio + PLENTY)
    stays = on_disk(inode, low, high) if high > low and not plenty else []
    inode.cache.truncate(off, end, inode.size)
    if high > low:
        back = zero_whole_blocks(inode, low, high, eof)
        _convert_unwritten(inode, low, high, new_size, _Gone(stays, back))
    if new_size:
        _grow(inode, new_size)
    if not inode.sb.behaviour.zero_range_edges_first:
        zero_edges(inode, off, end)
    inode.change_data()
    inode.sb.rule("zero range: ext4_zero_range")


def _write_journalled(inode: Inode, start: int, end: int) -> None:
    """With data=journal bytes `[start, end)` are written before they leave the page cache
    (ext4_truncate_page_cache_block_range)."""
    if inode.sb.data_journal:
        inode.sb.flush_range(inode, start, end)


class _Gone(NamedTuple):
    """Of a range that has left the page cache what `stays` on disk, and what is read `back` of
    the block that holds EOF."""

    stays: OnDisk
    back: Found | None


def _convert_unwritten(inode: Inode, low: int, high: int, new_size: int, gone: _Gone) -> None:
    """Written, delayed and missing blocks become unwritten (EXT4_GET_BLOCKS_CONVERT_UNWRITTEN
    in ext4_map_blocks). On ENOSPC the size moves to where it stands, and what is on disk behind
    that shows again."""
    first, big = low, high - low > UNWRITTEN_MAX_LEN
    eof = inode.size // inode.sb.block_size
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
        show_again(inode, low * inode.sb.block_size, gone.stays)
        if gone.back is not None:
            revive_block(inode, eof, gone.back, unwritten=eof < low)
        raise
    if gone.back is not None:
        revive_block(inode, eof, gone.back, unwritten=True)


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
    inode.change_data()
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
    """PUNCH_HOLE: whole blocks go, edges are zeroed (ext4_punch_hole).

    An extent that goes on behind the hole has to be split. If that finds no tree block nothing is
    freed, but the page cache is gone: what is on disk there shows again. Raises `OpError`.
    """
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
    _write_journalled(inode, off, end)
    stays = on_disk(inode, low, high) if high > low and may_lack_tree_block(inode) else []
    inode.cache.truncate(off, end, inode.size)
    if high > low:
        inode.content.zero(low * size, high * size)
    zero_edges(inode, off, end)
    if high > low:
        inode.prealloc.discard()
        inode.remove_status(low, high)
        try:
            split_at(inode, high)
        except OpError:
            show_again(inode, low * size, stays)
            raise
        inode.remove_mapped(low, high)
    inode.change_data()
    inode.sb.rule("punch: ext4_punch_hole")
