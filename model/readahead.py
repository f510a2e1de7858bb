"""Reading ahead: which folios a read or a fault brings into the page cache, and how large
(mm/readahead.c, mm/filemap.c).

Pages are the unit throughout. What is read ahead is clean, but its folios stay when they
are written to, and stores through a mapping are mapped folio by folio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errors import OpError
from model.folio import Folio
from model.folio_read import blocks_read, is_partially_uptodate, read_folio
from model.page_cache import PageCache
from model.units import PAGE, ceil_div, round_down

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["Readahead", "fault_readahead", "read_pages", "splice_pages"]

MMAP_LOTSAMISS = 100
"""So many more misses than hits end the reading around faults."""
BATCH = 31
"""Folios that a read takes at a time (PAGEVEC_SIZE)."""
NEVER = 1 << 63
"""A page that gets no mark."""
NODE = 64
"""Pages that a lowest node of the page cache's tree holds (XA_CHUNK_SIZE)."""


class Readahead:
    """What an open file remembers of reading ahead (struct file_ra_state).

    The last window is `size` pages from `start` on; meeting the page `lead` before its end
    starts the next, in folios of `order`. `pages` is the most that is read ahead, `misses`
    counts faults that found nothing, less those that did, `previous` is the byte that
    read(2) has reached.
    """

    __slots__ = ("lead", "misses", "order", "pages", "previous", "size", "start")

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.start = self.size = self.lead = self.order = self.misses = 0
        self.previous = -1


def read_pages(inode: Inode, pos: int, count: int) -> int:
    """Bring in what read(2) of `count` bytes at byte `pos` takes; returns the byte that it reaches,
    which counts for the next read only (filemap_read). Raises `OpError` if that is `pos`."""
    start, end = pos, min(pos + count, inode.sb.maxbytes)
    stop, last = min(end, inode.size), ceil_div(end, PAGE)
    try:
        while pos < stop:
            pos = min(stop, _get_pages(inode, pos // PAGE, last, (pos, end))[-1].end)
    except OpError:
        if pos == start:
            raise
    inode.readahead.previous = pos
    return pos


def splice_pages(inode: Inode, pos: int, count: int, stop: int) -> int:
    """Bring in what a pipe takes that asks for `count` bytes from byte `pos` on and is full
    at byte `stop`; each folio counts for the next at once. Returns the byte that it reaches
    (filemap_splice_read). Raises `OpError` if that is `pos`."""
    start, last = pos, ceil_div(pos + count, PAGE)
    try:
        while pos < stop:
            pos = min(stop, _get_pages(inode, pos // PAGE, last)[-1].end)
            inode.readahead.previous = pos
    except OpError:
        if pos == start:
            raise
    return pos


def _get_pages(
    inode: Inode, index: int, last: int, wanted: tuple[int, int] | None = None
) -> list[Folio]:
    """Adjacent folios from page `index` on, uptodate, none at or past page `last`; the read
    behind and ahead of them is started (filemap_get_pages). Of the last one no more need be
    uptodate than the bytes `wanted`, if given."""
    cache = inode.cache
    batch = _batch(cache, index, last)
    if not batch:
        inode.wait_for_read(index * PAGE, min(last * PAGE, inode.size))
        _sync(inode, index, last - index)
        batch = _batch(cache, index, last) or [_add(inode, index, 0)]
    end = batch[-1]
    if end.marked:
        _async(inode, end, end.index, last - end.index)
    if not end.full:
        if len(batch) > 1:
            return batch[:-1]
        if wanted is None or not is_partially_uptodate(cache, end, *wanted):
            read_folio(inode, end)
    return batch


def _batch(cache: PageCache, index: int, last: int) -> list[Folio]:
    """Cached folios from page `index` on, up to one that is not uptodate or marked
    (filemap_get_read_batch)."""
    batch: list[Folio] = []
    while index < last and len(batch) < BATCH:
        folio = cache.get(index)
        if folio is None:
            break
        batch.append(folio)
        if folio.marked or not folio.full:
            break
        index = folio.index + folio.pages
    return batch


def fault_readahead(inode: Inode, index: int) -> None:
    """What a fault on page `index` reads ahead or around it (do_sync_mmap_readahead,
    do_async_mmap_readahead)."""
    ahead = inode.readahead
    folio = inode.cache.get(index)
    if folio is not None:
        ahead.misses = max(ahead.misses - 1, 0)
        if folio.marked:
            _async(inode, folio, index, ahead.pages)
        return
    inode.wait_for_read(index * PAGE, (index + 1) * PAGE)
    ahead.misses = min(ahead.misses + 1, MMAP_LOTSAMISS * 10)
    if ahead.misses <= MMAP_LOTSAMISS:
        ahead.start = max(0, index - ahead.pages // 2)
        ahead.size, ahead.lead, ahead.order = ahead.pages, ahead.pages // 4, 0
        _submit(inode, ahead.start)
    if inode.cache.get(index) is None:
        _add(inode, index, 0)


def _sync(inode: Inode, index: int, count: int) -> None:
    """A read of `count` pages misses page `index` (page_cache_sync_ra)."""
    ahead, cache = inode.readahead, inode.cache
    previous = ahead.previous // PAGE
    if not index or count > ahead.pages or 0 <= index - previous <= 1:
        ahead.start = index
        ahead.size = _first_size(count, ahead.pages)
        ahead.lead = ahead.size - count if ahead.size > count else ahead.size // 2
    else:
        before = _cached_before(cache, index, ahead.pages)
        if before <= count:
            _single_pages(inode, index, count, 0)
            return
        from_start = before == index
        ahead.start = index
        ahead.size = min(before * (2 if from_start else 1) + count, ahead.pages)
        ahead.lead = 1
    ahead.order = 0
    _submit(inode, ahead.start)


def _cached_before(cache: PageCache, index: int, limit: int) -> int:
    """Pages right before page `index` that count as cached, of `limit` at most
    (page_cache_prev_miss, xas_prev).

    The walk looks up the last one and goes back from there slot by slot; in a larger folio it
    stands on the first slot of that, but goes on counting from the page that was looked up.
    """
    at = index - 1
    slot, step = _slot_found(cache, at)
    count = 0
    while count < min(limit, index) and cache.get(slot) is not None:
        count += 1
        at -= 1
        if slot % NODE:
            slot -= 1
        elif slot // step % NODE != at // step % NODE:  # __xas_prev
            if slot < NODE:
                break
            slot, step = _slot_in(cache, slot // NODE - 1, at)
    return count


def _next_miss(cache: PageCache, index: int, limit: int) -> int:
    """The first page from page `index` on that counts as not cached, of `limit`
    (page_cache_next_miss, xas_next). As above it lags behind if it begins inside a folio, up to
    the end of the tree's node."""
    slot, step = _slot_found(cache, index)
    if step == NODE:
        slot = index
    node = slot // NODE
    for at in range(index, index + limit):
        if slot // NODE != node:
            slot, node = at, at // NODE
        if cache.get(slot) is None:
            return at
        slot += 1
    return index + limit


def _slot_found(cache: PageCache, index: int) -> tuple[int, int]:
    """The page in whose slot a look-up of page `index` ends, and the pages of such a slot: the
    first one of its folio (xas_descend)."""
    folio = cache.get(index)
    if folio is None:
        return index, 1
    return folio.index, 1 if folio.pages < NODE else NODE


def _slot_in(cache: PageCache, node: int, index: int) -> tuple[int, int]:
    """The same where a walk enters a node that is not that of page `index` (xas_set_offset)."""
    folio = cache.get(node * NODE)
    if folio is not None and folio.pages >= NODE:
        return node * NODE, NODE
    return node * NODE + index % NODE, 1


def _async(inode: Inode, folio: Folio, index: int, count: int) -> None:
    """A read of `count` pages or a fault meets a marked folio at page `index`
    (page_cache_async_ra)."""
    ahead = inode.readahead
    folio.marked = False
    if index == round_down(ahead.start + ahead.size - ahead.lead, folio.pages):
        ahead.start += ahead.size
        ahead.size = max(ahead.size, _next_size(ahead.size, ahead.pages))
    else:
        start = _next_miss(inode.cache, index + 1, ahead.pages)
        if start - index > ahead.pages:
            return
        ahead.start = start
        ahead.size = _next_size(start - index + count, ahead.pages)
    ahead.order += 2
    align = 1 << min(ahead.order, (ahead.pages & -ahead.pages).bit_length() - 1)
    end = round_down(ahead.start + ahead.size, align)
    if end > ahead.start:
        ahead.size = end - ahead.start
    ahead.lead = ahead.size
    _submit(inode, ahead.start)


def _first_size(count: int, most: int) -> int:
    """Pages of a first window (get_init_ra_size)."""
    size = 1 << (count - 1).bit_length()
    if size <= most // 32:
        return size * 4
    return size * 2 if size <= most // 4 else most


def _next_size(size: int, most: int) -> int:
    """Pages of the window after one of `size` (get_next_ra_size)."""
    if size < most // 16:
        return 4 * size
    return 2 * size if size <= most // 2 else most


def _submit(inode: Inode, start: int) -> None:
    """Bring the window in from page `start` on, in folios of its order; what was cached
    already leaves single pages around it (page_cache_ra_order)."""
    ahead, cache = inode.readahead, inode.cache
    limit, mark = ceil_div(inode.size, PAGE) - 1, NEVER
    if limit > start + ahead.size - 1:
        limit = start + ahead.size - 1
        mark = start + ahead.size - ahead.lead
    largest = (cache.max_folio // PAGE).bit_length() - 1
    if ahead.size:  # else the logarithm wraps around, and the order stays
        largest = min(largest, ahead.size.bit_length() - 1)
    ahead.order = min(ahead.order, largest)
    index = start
    while ahead.order and index <= limit:
        order = ahead.order
        if index & ((1 << order) - 1):
            order = (index & -index).bit_length() - 1
        while order and index + (1 << order) - 1 > limit:
            order -= 1
        if cache.occupied(index, index + (1 << order)):
            break
        folio = _add(inode, index, order)
        folio.marked = index == round_down(mark, 1 << order)
        index += 1 << order
    if index <= limit and ahead.size > index - start:
        _single_pages(inode, index, ahead.size - (index - start), ahead.lead)


def _single_pages(inode: Inode, index: int, count: int, lead: int) -> None:
    """Bring in the pages that are missing of `count` from page `index` on, none past EOF; the
    one `lead` before the end is marked (do_page_cache_ra, page_cache_ra_unbounded)."""
    last = ceil_div(inode.size, PAGE) - 1
    if count > last - index:
        count, lead = last - index + 1, 0
    mark = index + count - lead if lead else NEVER
    inode.cache.add_read(index, index + count, mark)
    end = inode.cache.get(index + count - 1)
    if end is not None:
        end.uptodate &= blocks_read(inode, end)


def _add(inode: Inode, index: int, order: int) -> Folio:
    """A folio that has just been read."""
    folio = inode.cache.add(index, order)
    folio.state = inode.cache.iomap and folio.count > 1
    folio.uptodate = blocks_read(inode, folio)
    return folio
