"""COLLAPSE_RANGE and INSERT_RANGE: what is behind moves (fs/ext4/extents.c)."""

from __future__ import annotations

from harness.errors import NotModelledError
from model.errors import OpError
from model.fallocate import check_range
from model.inline_data import convert_inline_data
from model.inode import Inode
from model.on_disk import on_disk, show_again
from model.placement import Shift
from model.tree_claim import may_lack_tree_block, split_at
from model.units import DELAYED, EOF_BLOCK, PAGE, round_down

__all__ = ["collapse_range", "insert_range"]

UNKNOWN_SHIFT = (
    "a shift that has allocated delayed blocks fails: where these blocks are is not known"
)


def collapse_range(inode: Inode, off: int, length: int) -> None:
    """COLLAPSE_RANGE: remove clusters and shift what follows left (ext4_collapse_range).

    Without a tree block to split the extent that goes on behind them nothing is shifted; what was
    not on disk of them is lost. Raises `OpError`.
    """
    check_range(inode, off, length)
    size = inode.sb.block_size
    low, high = off // size, (off + length) // size
    refused = _shift_refused(inode, off, length) or ("EINVAL" if off + length >= inode.size else "")
    _begin_shift(inode, refused, (low, high - low, low - high))
    start, placed = round_down(off, PAGE), _all_placed(inode, low)
    inode.sb.flush_range(inode, start, off + 1)
    inode.sb.flush_range(inode, off + length, None)
    stays = on_disk(inode, low, high) if may_lack_tree_block(inode) else []
    inode.cache.truncate(start)
    inode.drop_unsaved()
    inode.prealloc.discard()
    inode.remove_status(low, EOF_BLOCK)
    try:
        _split_at(inode, high, placed)
    except OpError:
        inode.content.zero(off, off + length)
        show_again(inode, off, stays)
        raise
    inode.remove_mapped(low, high)
    inode.es.shift(high, low - high)
    inode.sb.copies.shifted(inode, high, low - high)
    if inode.tree_unknown is None:
        inode.tree.shift(high, low - high)  # no tree block goes
    inode.content.move(off + length, off, inode.size)
    inode.size -= length
    inode.disksize = inode.size
    inode.change_data()
    inode.sb.rule("collapse: ext4_collapse_range")


def insert_range(inode: Inode, off: int, length: int) -> None:
    """INSERT_RANGE: shift what follows right (ext4_insert_range).

    If the extent across `off` can't be split, for want of a tree block, or blocks that are
    preallocated past EOF would come behind the last one of all, nothing is shifted, but with a
    known bug the file has grown already. Raises `OpError`.
    """
    check_range(inode, off, length)
    size = inode.sb.block_size
    low, count = off // size, length // size
    refused = _shift_refused(inode, off, length) or _insert_refused(inode, off, length)
    stays = _is_too_far(inode, count)
    _begin_shift(inode, refused, None if stays else (low, 0, count))
    start, placed = round_down(off, PAGE), _all_placed(inode, low)
    inode.sb.flush_range(inode, start, None)
    inode.cache.truncate(start)
    inode.drop_unsaved()
    inode.prealloc.discard()
    try:
        _split_at(inode, low, placed)
        inode.remove_status(low, EOF_BLOCK)
        if _is_too_far(inode, count):
            if not stays:
                raise NotModelledError(UNKNOWN_SHIFT)
            inode.sb.rule("blocks past EOF have no room: ext4_ext_shift_extents")
            raise OpError("EINVAL")
    except OpError:
        if inode.sb.quirk("failed_insert_range_grows_file"):
            inode.size += length
            inode.disksize += length
        raise
    inode.size += length
    inode.disksize += length
    inode.es.shift(low, count)
    inode.sb.copies.shifted(inode, low, count)
    if inode.tree_unknown is None:
        inode.tree.shift(low, count)
        inode.tree_changed()
    inode.content.move(off, off + length, inode.size - length)
    inode.change_data()
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


def _is_too_far(inode: Inode, count: int) -> bool:
    """Whether the last extent would come behind the last block that a file can have
    (ext4_ext_shift_extents); i_size has been looked at, so it lies past EOF."""
    return inode.es.last_mapped_before(EOF_BLOCK) + count >= EOF_BLOCK


def _begin_shift(inode: Inode, refused: str, shift: Shift | None) -> None:
    """No data stays inline, and the times change, whether or not the shift is `refused`; a block
    that it comes to is seen where the `shift`, if one is made, has put it. Raises `OpError`."""
    if shift is not None and not refused:
        inode.sb.placer.moved(inode.name, *shift)
    convert_inline_data(inode)
    inode.file_modified()
    if refused:
        raise OpError(refused)


def _all_placed(inode: Inode, low: int) -> bool:
    """Whether nothing from block `low` on is delayed."""
    return not any(run.state == DELAYED for run in inode.es.overlapping(low, EOF_BLOCK))


def _split_at(inode: Inode, lblk: int, placed: bool) -> None:
    """`split_at`; if it fails, what was allocated in the step has been looked for where the shift
    would have put it, so all must have been `placed` before. Raises `OpError`."""
    try:
        split_at(inode, lblk)
    except OpError:
        if not placed:
            raise NotModelledError(UNKNOWN_SHIFT) from None
        raise
