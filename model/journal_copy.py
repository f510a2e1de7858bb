"""Copies of file blocks in the journal and in the device's own page cache (fs/jbd2).

The block that data moves to out of the inode is written as metadata
(ext4_convert_inline_data_nolock): to the journal, and from the device's page cache to its place
some time later. Reads and writes of the file pass by that copy. Nothing takes it back when the
block becomes file data, nor when the block is freed and another file gets it: known bugs, which
`JournalCopies` follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from model.units import EOF_BLOCK, PAGE, UNWRITTEN, WRITTEN

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["GROWN", "OUTLIVES", "STALE", "UNDONE", "JournalCopies", "JournalCopy"]

UNDONE = "inline_conversion_undone"
STALE = "inline_conversion_reads_stale"
OUTLIVES = "converted_block_outlives_file"
GROWN = "inline_growth_not_journalled"

_MAY_BE_FULL = 256
"""Blocks that a journal of 1024 blocks takes before it may be emptied from its old end."""
_MAY_MOVE_ON = 12
"""So many commits may log as much metadata as that."""


class JournalCopy(msgspec.Struct, eq=False):
    """`data` of one block, the device's block `pblk` if that is known, of `transaction`.

    `inode` has it as its block `lblk`, None once it was freed. `taken` are then the device's blocks
    `[first, end)` that files had, if nobody saw where it was: it is none of those. It is `pending`
    until it is written to its place. As long as the journal holds it, replaying the journal gives
    `replayed`: `data`, or what data=journal has logged of the block since (`relogged`). `logged`
    are blocks of file data that the journal took since, and `commits` those since it was written.
    """

    pblk: int | None
    data: bytes
    inode: Inode | None
    transaction: int
    lblk: int = 0
    pending: bool = True
    replayed: bytes | None = None
    relogged: bool = False
    logged: int = 0
    commits: int = 0
    taken: tuple[tuple[int, int], ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether the journal still has it, so that nothing has written it to its place unasked."""
        return self.logged < _MAY_BE_FULL and self.commits < _MAY_MOVE_ON

    def is_of(self, inode: Inode, start: int, end: int) -> bool:
        """Whether it is of one of the blocks `[start, end)` of `inode`."""
        return self.inode is inode and start <= self.lblk < end


class JournalCopies:
    """The copies of one mounted file system."""

    def __init__(self, files: Mapping[str, Inode]) -> None:
        self._files = files
        self._copies: list[JournalCopy] = []

    def __bool__(self) -> bool:
        return bool(self._copies)

    def add(self, inode: Inode, pblk: int | None, data: bytes) -> None:
        """Block 0 of `inode` is logged, for the first time or anew."""
        self._copies = [copy for copy in self._copies if pblk is None or copy.pblk != pblk]
        if inode.sb.behaviour.quirks.isdisjoint((UNDONE, STALE, OUTLIVES)):
            return
        whole = data.ljust(inode.sb.block_size, b"\0")
        self._copies.append(JournalCopy(pblk, whole, inode, inode.sb.transaction, replayed=whole))

    # --- what becomes of the block --------------------------------------------------------

    def freed(self, inode: Inode, start: int, end: int) -> None:
        """Blocks `[start, end)` of `inode` are no more its own. As it should be, their copies are
        forgotten then."""
        if OUTLIVES not in inode.sb.behaviour.quirks:
            self._copies = [c for c in self._copies if not c.is_of(inode, start, end)]
            return
        for copy in self._copies:
            if copy.is_of(inode, start, end):
                copy.inode = None
                if copy.pblk is None:
                    copy.taken = tuple(_places(self._files.values()))

    def shifted(self, inode: Inode, first: int, delta: int) -> None:
        """Blocks of `inode` from `first` on have got `delta` further."""
        for copy in self._copies:
            if copy.inode is inode and copy.lblk >= first:
                copy.lblk += delta

    # --- what becomes of the copy ---------------------------------------------------------

    def committed(self, data_journal: bool) -> None:
        """The running transaction commits; with data=journal it holds dirty file data too."""
        for copy in self._copies:
            copy.commits += not copy.pending
        if not data_journal:
            return
        for inode in self._files.values():
            _logged(inode)
            dirty = sum(folio.dirty.bit_count() for folio in inode.cache.dirty.values())
            for copy in self._copies:
                copy.logged += dirty
        for copy, inode, lblk in self._held(self._copies):
            at, size = lblk * inode.sb.block_size, inode.sb.block_size
            if inode.cache.holds_dirty(at):
                known = inode.content.knows(at, at + size)
                copy.replayed = inode.content.read(at, size) if known else None
                copy.relogged = True

    def cleaned(self, inode: Inode, start: int, end: int) -> None:
        """A store with delayed allocation maps the unwritten of blocks `[start, end)` of `inode`:
        of these what is committed of the device's page cache won't be written, though the journal
        has it still (clean_bdev_bh_alias in __block_write_begin)."""
        for copy in self._copies:
            committed = copy.transaction < inode.sb.transaction or not inode.sb.journal
            owner, lblk = _owner(copy, self._files.values()) or (None, 0)
            if committed and owner is inode and start <= lblk < end and _is_new(inode, lblk):
                copy.pending = False

    def write(self, inode: Inode | None = None) -> None:
        """The device's page cache is written (sync_bdevs), or what of it belongs to `inode`."""
        due = [copy for copy in self._copies if copy.pending and inode in (None, copy.inode)]
        self._write(due)

    def write_before_data(self, transaction: int) -> None:
        """It is written before file data of the running `transaction` can be, which is in no
        journal yet (data=journal; sync_filesystem, the pass that doesn't wait). Raises
        `NotModelledError` where it depends on commits that nobody knows of."""
        held = list(self._held(copy for copy in self._copies if copy.pending))
        for _, inode, lblk in held:
            if inode.cache.holds_dirty(lblk * inode.sb.block_size):
                inode.sb.check_transaction()
        due = (found for found in held if found[0].transaction < transaction)
        self._write([copy for copy, inode, lblk in due if _waits(copy, inode, lblk)])

    def _write(self, copies: list[JournalCopy]) -> None:
        for copy in copies:
            copy.pending = False
            _lose_candidates(copy, self._files.values())
        for copy, inode, lblk in self._held(copies):
            _put_on_disk(inode, lblk, copy.data, _quirk(copy, inode), sure=copy.is_sure)

    def emptied(self) -> None:
        """The journal was emptied, which wrote all of it to its place (jbd2_journal_flush): with
        data=journal what is dirty of files, too, as it is committed."""
        self._copies.clear()
        for inode in self._files.values():
            size = inode.sb.block_size
            for lblk in list(inode.on_disk) if inode.sb.data_journal else ():
                if inode.cache.holds_dirty(lblk * size):
                    inode.saved(lblk, lblk + 1)

    def replay(self, now: Mapping[Inode, Inode], transaction: int) -> None:
        """The journal up to the running `transaction` is replayed, or without one the device's page
        cache is written. Files were made anew from what was durable; `now` has for each as it was
        before the crash what it is now."""
        due = [c for c in self._copies if c.transaction < transaction]
        if not all(inode.sb.journal for inode in self._files.values()):
            due = [c for c in self._copies if c.pending]
        for copy in due:
            copy.inode = now.get(copy.inode) if copy.inode is not None else None
            _lose_candidates(copy, self._files.values())
        for copy, inode, lblk in self._held(due):
            again = copy.relogged and copy.inode is inode and copy.is_sure
            quirk = None if again else _quirk(copy, inode)
            inode.show_on_disk(lblk, copy.replayed if copy.is_sure else None, quirk)

    # --- who has the block ----------------------------------------------------------------

    def _held(self, copies: Iterable[JournalCopy]) -> Iterator[tuple[JournalCopy, Inode, int]]:
        """Those of `copies` whose block holds written file data, with file and block."""
        for copy in copies:
            found = _owner(copy, self._files.values())
            if found is not None and found[0].es.lookup(found[1]).state == WRITTEN:
                yield copy, *found


def _owner(copy: JournalCopy, files: Iterable[Inode]) -> tuple[Inode, int] | None:
    """The file that has the block, and as which of its blocks: the first one, or one that got it
    after it was freed."""
    if copy.inode is not None:
        return copy.inode, copy.lblk
    if copy.pblk is None:
        return None
    for inode in files:
        for run in inode.es:
            if run.pblk is not None and 0 <= copy.pblk - run.pblk < run.end - run.start:
                return inode, run.start + copy.pblk - run.pblk
    return None


def _is_new(inode: Inode, lblk: int) -> bool:
    """Whether a store maps the block as new: it is unwritten, and has no buffer mapped yet."""
    folio = inode.cache.get(lblk * inode.sb.block_size // PAGE)
    mapped = folio is not None and folio.mapped >> (lblk - folio.first) & 1
    return not mapped and inode.es.lookup(lblk).state == UNWRITTEN


def _places(files: Iterable[Inode]) -> Iterator[tuple[int, int]]:
    """Where the blocks of files are, as far as that is known."""
    for inode in files:
        for run in inode.es:
            if run.pblk is not None:
                yield run.pblk, run.pblk + run.end - run.start


def _lose_candidates(copy: JournalCopy, files: Iterable[Inode]) -> None:
    """The copy of a block that was freed, of which nobody saw where it was, is written: over any
    block that a file has got since, and nobody knows which."""
    if copy.inode is not None or copy.pblk is not None:
        return
    for inode in files:
        written = [run for run in inode.es.overlapping(0, EOF_BLOCK) if run.state == WRITTEN]
        for run in written:
            for lblk in range(run.start, run.end):
                pblk = None if run.pblk is None else run.pblk + lblk - run.start
                if pblk is None or not any(low <= pblk < high for low, high in copy.taken):
                    _may_differ_on_disk(inode, lblk, OUTLIVES)


def _may_differ_on_disk(inode: Inode, lblk: int, quirk: str) -> None:
    inode.saved(lblk, lblk + 1)
    if not inode.is_cached(lblk):
        inode.show_on_disk(lblk, None, quirk)
    elif quirk in inode.sb.behaviour.quirks:
        inode.differs_on_disk(lblk, None, quirk)


def _logged(inode: Inode) -> None:
    """What `journalled` says of `inode` is in the journal now, which writes it again."""
    for lblk in inode.journalled:
        if inode.on_disk.get(lblk, (None, ""))[1] == GROWN:
            inode.saved(lblk, lblk + 1)
    inode.journalled.clear()


def _quirk(copy: JournalCopy, inode: Inode) -> str:
    return UNDONE if copy.inode is inode else OUTLIVES


def _waits(copy: JournalCopy, inode: Inode, lblk: int) -> bool:
    """Whether the block has dirty data that no commit has logged yet."""
    at, size = lblk * inode.sb.block_size, inode.sb.block_size
    logged = copy.relogged and inode.content.read(at, size) == copy.replayed
    return inode.cache.holds_dirty(at) and not logged


def _put_on_disk(inode: Inode, lblk: int, data: bytes, quirk: str, *, sure: bool) -> None:
    """Block `lblk` is on disk as `data` now, unless that came to its place earlier; who has it
    cached goes on reading that. What of `data` lies past EOF no read shows, but it is there."""
    at = lblk * inode.sb.block_size
    if sure and any(data[max(inode.size - at, 0) :]):
        inode.sb.quirk(quirk)
    known = inode.content.knows(at, at + inode.sb.block_size)
    if inode.reads_as(at, data):
        inode.saved(lblk, lblk + 1)
    elif not sure:
        _may_differ_on_disk(inode, lblk, quirk)
    elif not inode.is_cached(lblk):
        inode.saved(lblk, lblk + 1)
        inode.show_on_disk(lblk, data, quirk if known else None)
    elif quirk in inode.sb.behaviour.quirks:
        inode.saved(lblk, lblk + 1)
        inode.differs_on_disk(lblk, data, quirk)
