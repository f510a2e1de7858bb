"""What a file shows and what the disk has of it, where the two are not the same.

A block that is cached reads as the page cache has it; when its folio goes, what is on disk shows.
That is the same but after known bugs.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.content import Content
from model.extent_status import ExtentStatus
from model.folio import Folio
from model.page_cache import PageCache
from model.superblock import Superblock
from model.units import PAGE, WRITTEN, ceil_div, ranges

__all__ = ["BEHIND", "CachedFile"]

BEHIND = "zeroed_tail_keeps_block_from_disk"


class CachedFile:
    """The bytes of a file, `size` of them, their states and folios; `iomap` tells its path.

    `unsaved` are blocks that are not on disk as they are cached, `on_disk` what is there in some
    of them, or None where nobody knows, with the known bug that made it; `journalled` are those
    that the running transaction has (data=journal).
    """

    def __init__(self, sb: Superblock) -> None:
        self.sb = sb
        self.size = 0
        self.iomap = sb.iomap
        self.es = ExtentStatus(sb.ratio)
        self.content = Content()
        self.cache = PageCache(sb.block_size, sb.max_folio, sb.iomap)
        self.unsaved: list[tuple[int, int]] = []
        self.on_disk: dict[int, tuple[bytes | None, str]] = {}
        self.journalled: set[int] = set()

    def drop_unsaved(self) -> None:
        """Folios have been dropped: of blocks that are not on disk as they were there what is on
        disk shows, which nobody knows of written ones."""
        size, kept = self.sb.block_size, []
        parts = [part for low, high in self.unsaved for part in self._by_folio(low, high)]
        for low, high, cached in parts:
            if cached:
                kept.append((low, high))
                continue
            if low in self.on_disk and self.es.lookup(low).state == WRITTEN:
                self.show_on_disk(low, *self.on_disk.pop(low))
                continue
            for run in self.es.pieces(low, high):
                if run.state == WRITTEN:
                    self.content.lose(run.start * size, min(run.end * size, self.size))
                else:
                    self.content.zero(run.start * size, run.end * size)
        self.unsaved = kept

    def _by_folio(self, low: int, high: int) -> Iterator[tuple[int, int, bool]]:
        """Blocks `[low, high)` in pieces, each with whether a folio holds it."""
        size, at = self.sb.block_size, low
        for folio in self.cache.overlapping(low * size, high * size):
            if at < folio.first:
                yield at, folio.first, False
            at, first = min(folio.first + folio.count, high), max(folio.first, low)
            yield first, at, True
        if at < high:
            yield at, high, False

    def saved(self, start: int, end: int) -> None:
        """Blocks `[start, end)` are on disk as the page cache has them, or are no more."""
        self.unsaved = [
            part
            for low, high in self.unsaved
            for part in ((low, min(high, start)), (max(low, end), high))
            if part[0] < part[1]
        ]
        for block in [block for block in self.on_disk if start <= block < end]:
            del self.on_disk[block]

    def is_cached(self, lblk: int) -> bool:
        """Whether a read of block `lblk` finds it in the page cache."""
        pos = lblk * self.sb.block_size
        folio = self.cache.get(pos // PAGE)
        if folio is None:
            return False
        return bool((folio.uptodate | folio.uptodate_alone) & self.cache.bits(folio, pos, pos + 1))

    def log(self, folio: Folio, bits: int) -> None:
        """With data=journal what makes `bits` of the folio dirty has them journalled
        (ext4_dirty_journalled_data)."""
        if self.sb.data_journal:
            for low, high in ranges(bits):
                self.journalled.update(range(folio.first + low, folio.first + high))

    def keep_from_disk(self, folio: Folio, bit: int) -> None:
        """Block `bit` of the folio is zeroed in part. With data=journal that journals it anew, and
        if what is dirty of it was committed before, what is on disk is older than that; writeback
        that does not commit leaves it so, a known bug (ext4_block_journalled_zero_range)."""
        lblk = folio.first + bit.bit_length() - 1
        committed = folio.dirty & bit and lblk not in self.journalled
        if (
            self.sb.data_journal
            and committed
            and lblk not in self.on_disk
            and BEHIND in self.sb.behaviour.quirks
        ):
            self.differs_on_disk(lblk, None, BEHIND)

    def hold_back(self) -> list[tuple[Folio, int]]:
        """Dirty blocks that only the running transaction has can't be written before its commit,
        which this writeback does not ask for: they count as clean until it is over. Returns them
        (ext4_bio_write_folio, buffer_jbddirty)."""
        held = []
        for lblk in sorted(self.journalled):
            folio = self.cache.get(lblk * self.sb.block_size // PAGE)
            if folio is not None and folio.dirty >> (lblk - folio.first) & 1:
                held.append((folio, 1 << (lblk - folio.first)))
                self.cache.clean(*held[-1])
        return held

    def differs_on_disk(self, lblk: int, data: bytes | None, quirk: str) -> None:
        """Block `lblk` is cached; on disk, by the known bug `quirk`, it is `data`, or nobody knows
        what."""
        self.unsaved.append((lblk, lblk + 1))
        self.on_disk[lblk] = data, quirk

    def show_on_disk(self, lblk: int, data: bytes | None, quirk: str | None) -> None:
        """Block `lblk` is not cached; on disk it is `data`, or nobody knows what, which may be by
        the known bug `quirk`."""
        start = lblk * self.sb.block_size
        end = start + self.sb.block_size
        if data is not None and self.reads_as(start, data):
            return
        if quirk is not None and not self.sb.quirk(quirk):
            return
        if data is None:  # past EOF too: a file that grows later need not zero that
            self.content.lose(start, end)
        else:
            self.content.write(start, data)
            self.content.zero(max(start, min(self.size, end)), end)

    def reads_as(self, start: int, data: bytes) -> bool:
        """Whether bytes from `start` on are known to be `data`, as far as the file goes."""
        if not self.content.knows(start, start + len(data)):
            return False
        count = max(min(len(data), self.size - start), 0)
        return self.content.read(start, count) == data[:count]

    def lose_content(self, start: int, end: int) -> None:
        """Bytes `[start, end)` are stale memory: nobody can know them."""
        if self.sb.quirk("stale_folio_after_short_copy"):
            self.content.lose(start, end)

    def wait_for_read(self, start: int, end: int) -> None:
        """Bytes `[start, end)` are read into the page cache. If anything comes from disk the
        task may sleep, unless it is there before the task waits for it."""
        if self.sb.flusher_busy:
            block = self.sb.block_size
            found = self.es.overlapping(start // block, ceil_div(end, block))
            if any(run.state == WRITTEN for run in found):
                self.sb.flusher_busy = None
