"""Page cache: the folios of a file, made, found, made dirty, dropped and split.

Folio sizes are part of the state: the buffer_head path maps a whole folio when a store
through a mapping faults, and a short copy is judged by folio (mm/filemap.c,
mm/readahead.c, mm/truncate.c).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

from model.folio import Folio, halves, write_order
from model.units import PAGE, ceil_div, mask, round_down, round_up

__all__ = ["PageCache"]


class PageCache:
    """The folios of one file."""

    def __init__(self, block_size: int, max_folio: int, iomap: bool = False) -> None:
        self.block_size, self.max_folio, self.iomap = block_size, max_folio, iomap
        self.per_page = PAGE // block_size
        self._starts: list[int] = []
        self._folios: list[Folio] = []
        self.dirty: dict[int, Folio] = {}
        """Dirty folios by their first page."""
        self.pinned: Folio | None = None
        """Someone else holds this folio, so that it can't be split (folio_expected_ref_count)."""
        self.maybe_pinned: list[Folio] = []
        """That folio, or in its place one of these: nobody knows which."""
        self.on_doubt: Callable[[], None] | None = None
        self.on_drop: Callable[[Folio], None] | None = None

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Folio]:
        return iter(self._folios.copy())

    def get(self, index: int) -> Folio | None:
        """The folio that holds page `index`."""
        at = bisect_right(self._starts, index)
        if at and index < (folio := self._folios[at - 1]).index + folio.pages:
            return folio
        return None

    def bits(self, folio: Folio, start: int, end: int) -> int:
        """Bits of the folio's blocks that bytes `[start, end)` touch."""
        if start <= folio.start and folio.end <= end:
            return folio.all
        size, first = self.block_size, folio.first
        low = start // size - first if start > folio.start else 0
        high = -(-end // size) - first if end < folio.end else folio.count
        return mask(low, high)

    def whole_bits(self, folio: Folio, start: int, end: int) -> int:
        """Bits of the folio's blocks that lie wholly in bytes `[start, end)`."""
        if start <= folio.start and folio.end <= end:
            return folio.all
        size, first = self.block_size, folio.first
        low = -(-start // size) - first if start > folio.start else 0
        high = end // size - first if end < folio.end else folio.count
        return mask(low, high)

    def add(self, index: int, order: int) -> Folio:
        """A new folio at page `index`, which is not cached, of at most `order`, halved until
        nothing overlaps."""
        at = bisect_left(self._starts, index)
        if order and at < len(self._starts):
            order = min(order, (self._starts[at] - index).bit_length() - 1)
        folio = self._folio(index, 1 << order)
        self._starts.insert(at, index)
        self._folios.insert(at, folio)
        return folio

    def add_read(self, first: int, end: int, mark: int) -> None:
        """A folio that has just been read for each of the pages `[first, end)` that is not
        cached; that of page `mark` is marked."""
        low, high = bisect_left(self._starts, first), bisect_left(self._starts, end)
        before = self.get(first)
        page = first if before is None else before.index + before.pages
        folios: list[Folio] = []
        for folio in self._folios[low:high]:
            folios += self._read_pages(page, folio.index, mark)
            folios.append(folio)
            page = folio.index + folio.pages
        folios += self._read_pages(page, end, mark)
        self._starts[low:high] = [folio.index for folio in folios]
        self._folios[low:high] = folios

    def _read_pages(self, first: int, end: int, mark: int) -> list[Folio]:
        """Folios of one page each, uptodate."""
        per, every = self.per_page, (1 << self.per_page) - 1
        state = self.iomap and per > 1
        return [
            Folio(page, 1, page * PAGE, (page + 1) * PAGE, page * per, per, every, every,
                  state=state, marked=page == mark)
            for page in range(first, end)
        ]  # fmt: skip

    def _folio(self, index: int, pages: int) -> Folio:
        per, count = self.per_page, pages * self.per_page
        end = (index + pages) * PAGE
        return Folio(index, pages, index * PAGE, end, index * per, count, (1 << count) - 1)

    def occupied(self, first: int, end: int) -> bool:
        """Whether any of the pages `[first, end)` is cached."""
        return bool(self.overlapping(first * PAGE, end * PAGE))

    def write_folio(self, pos: int, length: int) -> Folio:
        """The folio for a write at byte `pos`, made if need be (write_begin_get_folio)."""
        index = pos // PAGE
        return self.get(index) or self.add(index, write_order(index, length, self.max_folio))

    def overlapping(self, start: int, end: int) -> list[Folio]:
        """The folios that bytes `[start, end)` touch."""
        if end <= start:
            return []
        low = bisect_right(self._starts, start // PAGE)
        if low and self._folios[low - 1].end > start:
            low -= 1
        return self._folios[low : bisect_left(self._starts, ceil_div(end, PAGE), low)]

    def dirty_folios(self, start: int = 0, end: int | None = None) -> list[Folio]:
        """Dirty folios that bytes `[start, end)` touch, by index."""
        found = [self.dirty[index] for index in sorted(self.dirty)]
        if start == 0 and end is None:
            return found
        return [f for f in found if f.end > start and (end is None or f.start < end)]

    def mark_dirty(self, folio: Folio, bits: int) -> None:
        """Let `bits` of the folio wait for writeback (mark_buffer_dirty, iomap_set_range_dirty)."""
        if bits:
            folio.dirty |= bits
            self.dirty[folio.index] = folio

    def is_dirty(self, folio: Folio) -> bool:
        """Whether the folio as a whole is marked dirty (folio_test_dirty); it stays so when
        its last dirty block is forgotten, until writeback."""
        return folio.index in self.dirty

    def holds_dirty(self, pos: int) -> bool:
        """Whether the block of byte `pos` waits for writeback."""
        folio = self.get(pos // PAGE)
        return folio is not None and bool(folio.dirty & self.bits(folio, pos, pos + 1))

    def clean(self, folio: Folio, bits: int) -> None:
        """Take `bits` off the blocks that wait for writeback."""
        folio.dirty &= ~bits
        if not folio.dirty:
            self.dirty.pop(folio.index, None)

    def forget(self, folio: Folio) -> None:
        """Forget what the folio holds; it stays, without buffers (block_invalidate_folio)."""
        self._tell_drop([folio])
        self.clean(folio, folio.all)
        folio.uptodate = folio.uptodate_alone = folio.revived = 0
        folio.mapped = folio.delay = folio.unwritten = 0
        folio.buffers = False

    def drop(self, folio: Folio) -> None:
        """Remove the folio."""
        self._drop_adjacent([folio])

    def _drop_adjacent(self, folios: list[Folio]) -> None:
        """Remove folios with no other one between them."""
        if not folios:
            return
        self._tell_drop(folios)
        if self.dirty:
            for folio in folios:
                self.dirty.pop(folio.index, None)
        at = bisect_left(self._starts, folios[0].index)
        del self._starts[at : at + len(folios)], self._folios[at : at + len(folios)]

    def _tell_drop(self, folios: list[Folio]) -> None:
        """Tell whoever follows revived blocks that these folios go."""
        if self.on_drop is not None:
            for folio in folios:
                if folio.revived:
                    self.on_drop(folio)

    def clear(self) -> None:
        """Remove all folios."""
        self._tell_drop(self._folios)
        self._starts.clear()
        self._folios.clear()
        self.dirty.clear()

    def evict(self, start: int, end: int) -> None:
        """Remove folios that lie within the pages of bytes `[start, end)`, but not dirty ones, nor
        one that somebody holds (invalidate_mapping_pages)."""
        low, high = round_down(start, PAGE), round_up(end, PAGE)
        for folio in self.overlapping(low, high):
            whole = low <= folio.start and folio.end <= high
            if whole and not self.is_dirty(folio) and folio is not self.pinned:
                self.drop(folio)

    def drop_clean(self) -> None:
        """Remove all folios without dirty blocks (drop_caches, invalidate_mapping_pages).

        Dirty ones are marked for reclaim (lru_deactivate_file), which a read then takes for
        the mark of a readahead window.
        """
        if not self.dirty:
            self.clear()
        for folio in self:
            if self.is_dirty(folio):
                folio.marked = True
            else:
                self.drop(folio)

    def truncate(self, start: int, end: int | None = None, size: int | None = None) -> None:
        """Forget bytes `[start, end)` of a file of `size` bytes (truncate_inode_pages_range).

        Folios inside go; of those across an edge the whole blocks inside go, and what is
        left is split into smaller folios where no dirty buffer holds it together.
        """
        if end is None:
            end = max((self._starts[-1] * PAGE + self.max_folio if self._starts else 0), start)
        touched = self.overlapping(start, end)
        self._drop_adjacent([f for f in touched if start <= f.start and f.end <= end])
        for folio in touched:
            if folio.start < start or end < folio.end:
                self._truncate_partial(folio, start, end, end if size is None else size)

    def _truncate_partial(self, folio: Folio, start: int, end: int, size: int) -> None:
        """Forget a part of a folio, then try to split it (truncate_inode_partial_folio).

        A folio that has dirty buffers or dirty per-block state is not split, nor is `pinned`, which
        goes as a whole if none of its buffers is dirty: before anything else the split takes them
        away, and the folio counts as clean then (try_to_free_buffers). Without per-block state
        blocks can't become clean one by one.
        """
        dirty = self.is_dirty(folio)
        held = dirty and folio.state
        if folio.buffers or folio.state:
            bits = self.whole_bits(folio, start, end)
            self.clean(folio, bits)
            if dirty:
                self.dirty[folio.index] = folio
            folio.mapped &= ~bits
            folio.delay &= ~bits
            folio.unwritten &= ~bits
            folio.revived &= ~bits
        if folio.pages == 1:
            return
        if held or (folio.buffers and folio.dirty):
            return
        if self.on_doubt is not None and any(folio is other for other in self.maybe_pinned):
            self.on_doubt()
        if folio is self.pinned:
            self.drop(folio)
        else:
            self._split(folio, start, end, size)

    def _split(self, folio: Folio, start: int, end: int, size: int) -> None:
        """Halve the folio towards the pages at the edges of `[start, end)`, drop what is
        inside, and all but the first part of what is wholly past EOF, at `size` bytes
        (folio_split, truncate_inode_pages_range).

        Buffers and per-block state are gone then: only of a folio that is uptodate as a whole
        are the parts so.
        """
        edges = {max(start, folio.start) // PAGE}
        if end < folio.end:
            edges.add(end // PAGE)
        revived, full = folio.revived, folio.full
        if full:
            folio.revived = 0
        self.drop(folio)
        for index, pages in halves(folio.index, folio.pages, edges):
            if start <= index * PAGE and (index + pages) * PAGE <= end:
                continue
            if index > folio.index and index * PAGE >= size:
                continue
            low = (index - folio.index) * self.per_page
            part = self.add(index, pages.bit_length() - 1)
            if full:
                part.uptodate = part.all
                part.revived = revived >> low & part.all
            part.marked = folio.marked and index == folio.index
            self.mark_dirty(part, folio.dirty >> low & part.all)
