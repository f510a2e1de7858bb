"""write(2) to a file that may hold its data inline (fs/ext4/inline.c,
`ext4_generic_write_inline_data`)."""

from __future__ import annotations

from harness.errors import NotModelledError
from model.balloc import nonda_switch, should_retry_alloc
from model.buffer_head import block_write_begin
from model.errors import OpError
from model.folio import Folio
from model.inline_data import MIN_INLINE_SIZE, capacity
from model.inode import Inode
from model.journal_copy import GROWN
from model.source import Source
from model.truncate import truncate_failed_write

__all__ = ["inline_write"]


def inline_write(inode: Inode, pos: int, source: Source) -> int | None:
    """Write into the inode (ext4_generic_write_inline_data); returns bytes written, None if it
    does not fit: then what is there was moved to the page cache and the write goes on as usual.
    Raises `OpError`.
    """
    delayed = inode.delalloc and not nonda_switch(inode.sb)
    if not inode.may_inline:
        if inode.inline and not delayed:
            raise NotModelledError("a write without delayed allocation over inline data "
                                   "that waits for writeback is not modelled")  # fmt: skip
        return None
    if pos + len(source) > capacity(inode):
        _convert(inode, delayed)
        return None
    return _write(inode, pos, source)


def _write(inode: Inode, pos: int, source: Source) -> int:
    done, count = 0, len(source)
    while done < count:
        end = pos + count
        _first_folio(inode)
        inode.inline = True
        inode.inline_size = max(inode.inline_size, end, MIN_INLINE_SIZE)
        copied = max(source.readable - done, 0)
        if copied:
            inode.content.write(pos + done, source.data[done : done + copied])
            inode.size = max(inode.size, pos + done + copied)
            inode.disksize = max(inode.disksize, pos + done + copied)
        if end > inode.size:
            truncate_failed_write(inode)
        if not copied:
            if done:
                break
            raise OpError("EFAULT")
        done += copied
    inode.sb.rule("write inline: ext4_write_inline_data_end")
    return done


def _first_folio(inode: Inode) -> Folio:
    """The first page as a folio of its own, with the inline data if there is any."""
    folio = inode.cache.get(0) or inode.cache.add(0, 0)
    folio.uptodate = folio.all
    return folio


def _is_lost(inode: Inode, error: OpError) -> bool:
    """The data has left the inode and no block was found for it: only the page cache has it now,
    where it is clean. Returns whether the write goes on: another try finds nothing inline."""
    if inode.sb.quirk("inline_data_lost_without_space"):
        inode.unsaved.append((0, 1))
    if error.name != "ENOSPC" or not should_retry_alloc(inode.sb, 1):
        return False
    inode.sb.rule("inline data without a block: ext4_convert_inline_data_to_extent")
    return True


def _convert(inode: Inode, delayed: bool) -> None:
    """Make room for a write that does not fit (ext4_da_convert_inline_data_to_extent,
    ext4_convert_inline_data_to_extent). Raises `OpError`."""
    if delayed and not inode.inline and inode.cache.get(0) is None:
        inode.cache.add(0, 0)
    if inode.inline:
        folio = _first_folio(inode)
        size = inode.inline_size
        if delayed:
            inode.inline_copy = inode.content.read(0, min(inode.size, size))
        else:
            inode.inline, inode.inline_size, inode.may_inline = False, 0, False
        try:
            block_write_begin(inode, folio, 0, size, delayed)
        except OpError as error:
            truncate_failed_write(inode)
            if not delayed and _is_lost(inode, error):
                return
            raise
        dirty = folio.all if delayed else inode.cache.bits(folio, 0, size)
        inode.cache.mark_dirty(folio, dirty)
        if inode.sb.data_journal and GROWN in inode.sb.behaviour.quirks:
            inode.differs_on_disk(0, None, GROWN)
        inode.sb.rule("inline data to the page cache: ext4_da_convert_inline_data_to_extent")
    inode.may_inline = False
