"""Stores through a shared mapping (`filemap_fault`, `ext4_page_mkwrite`)."""

from __future__ import annotations

from model.access import IMMUTABLE
from model.balloc import nonda_switch, with_retries
from model.buffer_head import block_write_begin
from model.errors import OpError
from model.folio import Folio
from model.folio_read import read_folio
from model.inline_data import convert_inline_data
from model.inode import Inode
from model.iomap_write import iomap_page_mkwrite
from model.readahead import fault_readahead
from model.units import PAGE, ceil_div, round_up
from workloads.content import pattern_view

__all__ = ["filemap_fault", "mmap_store"]


def mmap_store(inode: Inode, pos: int, data: bytes | memoryview) -> None:
    """Store `data` at byte `pos` of a fresh mapping, page after page (do_shared_fault). Raises
    `OpError` (SIGBUS) if a page can't be had; what was stored in pages before it stays."""
    if not data:
        return
    end = pos + len(data)
    for index in range(pos // PAGE, ceil_div(end, PAGE)):
        try:
            folio = filemap_fault(inode, index)
            if index in (folio.index, pos // PAGE):
                page_mkwrite(inode, folio)
        except OpError:
            inode.content.write(pos, data[: max(index * PAGE - pos, 0)])
            raise
    inode.content.write(pos, data)


def filemap_fault(inode: Inode, index: int) -> Folio:
    """The folio with page `index`, read if it is not there with the pages around it
    (do_sync_mmap_readahead). Raises `OpError` (SIGBUS) if it can't be read; that is tried twice."""
    fault_readahead(inode, index)
    folio = inode.cache.get(index)
    assert folio is not None
    try:
        read_folio(inode, folio, times=2)
    except OpError:
        raise OpError("SIGBUS") from None
    return folio


def page_mkwrite(inode: Inode, folio: Folio) -> None:
    """Map all blocks of the folio up to EOF and let all of it be written
    (ext4_page_mkwrite, block_page_mkwrite)."""
    sb = inode.sb
    if inode.flags & IMMUTABLE:  # the page was read all the same
        sb.rule("protected file: IS_APPEND, IS_IMMUTABLE")
        raise OpError("SIGBUS")
    inode.file_modified()
    try:
        convert_inline_data(inode)
    except OpError:
        raise OpError("SIGBUS") from None
    end = min(folio.end, round_up(inode.size, sb.block_size))
    if inode.iomap:
        iomap_page_mkwrite(inode, folio)
        return
    delayed = sb.delalloc and not nonda_switch(sb)
    if delayed and sb.copies:
        sb.copies.cleaned(inode, folio.start // sb.block_size, end // sb.block_size)
    try:
        with_retries(sb, lambda: block_write_begin(inode, folio, folio.start, end, delayed))
    except OpError:
        raise OpError("SIGBUS") from None
    inode.cache.mark_dirty(folio, folio.all)
    inode.journal_data(folio, folio.all)
    sb.rule("map whole folio: ext4_page_mkwrite")


def tagged_store(inode: Inode, pos: int, count: int, tag: int) -> None:
    """`mmap_store` of the content that `tag` gives."""
    mmap_store(inode, pos, pattern_view(tag, pos, count))
