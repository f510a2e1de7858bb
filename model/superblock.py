"""Superblock: the file system's counters and mount options (fs/ext4/super.c).

All counters are in clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from harness.trace import Event, EventKind
from model.behaviour import Behaviour
from model.indirect_pointers import max_file_bytes
from model.journal_credits import journal_blocks
from model.percpu_counter import BATCH, PerCpuCounter
from model.placement import Placer
from model.units import EOF_BLOCK, MAX_LFS_FILESIZE, PAGE, SECTOR
from workloads.images import Geometry
from workloads.workload import Config

if TYPE_CHECKING:
    from model.extent_status import Run
    from model.folio import Folio
    from model.inode import Inode
    from model.journal_copy import JournalCopies
    from model.page_cache import PageCache
    from model.quota import Quota

__all__ = ["Superblock", "max_extent_file_bytes"]

CREDITS = 128
"""More blocks than any call asks of a transaction for what it changes, file data aside."""
OWN_COMMIT = "so much file data (data=journal) that jbd2 may have committed a part of it by itself"


def max_extent_file_bytes(block_size: int, huge_file: bool) -> int:
    """Size limit of files with extents, in bytes, of blocks of `block_size` bytes; without the
    feature `huge_file` i_blocks counts 2**32 - 1 sectors at most (ext4_max_size)."""
    limit = MAX_LFS_FILESIZE
    if not huge_file:
        limit = ((1 << 32) - 1) // (block_size // SECTOR) * block_size
    return min(EOF_BLOCK * block_size, limit)


class Superblock:
    """Counters, options and events of one mounted file system.

    The mount gives it `copies`, what the journal and the device's page cache have of file data,
    `quota`, and what an operation may ask for: to write back all, or a range of a file, and to
    commit.
    """

    copies: JournalCopies
    quota: Quota
    writeback_all: Callable[[], None]
    flush_range: Callable[[Inode, int, int | None], None]
    commit: Callable[[], None]

    def __init__(
        self, config: Config, geometry: Geometry, behaviour: Behaviour, placer: Placer
    ) -> None:
        self.config, self.geometry, self.behaviour = config, geometry, behaviour
        self.block_size = geometry.block_size
        self.ratio = geometry.cluster_size // geometry.block_size
        self._read_features(config.image.features)
        self.set_options(config.options)
        clusters = geometry.blocks // self.ratio
        self.resv = min(clusters // 50, 4096) if self.extents else 0
        self.r_blocks = geometry.reserved_blocks // self.ratio
        self.watermark = 4 * BATCH * behaviour.nr_cpu
        """Clusters below which the counters are read exactly (EXT4_FREECLUSTERS_WATERMARK)."""
        self.free = PerCpuCounter(geometry.free_blocks // self.ratio)
        self.most_free = self.free.sum()
        self.dirty = PerCpuCounter(0)
        self.transaction = 1
        self.journalled = 0
        """Blocks of file data that the running transaction has at most (data=journal)."""
        self.free_pending = 0
        """Clusters freed since the last commit: free, but not to be had before the next one
        (s_mb_free_pending)."""
        self.waiting: list[tuple[int, int]] = []
        """The device's blocks `[first, end)` that were file data and are among them."""
        self.errors_noted = 0
        """So many errors are noted on disk (s_error_count)."""
        self.space_unknown: str | None = None
        self.pieces_unknown: str | None = None
        """Why nobody knows of what is allocated in this step which pieces it came in."""
        self.pieces_hidden: str | None = None
        """Why there may be more pieces, or fewer, than where blocks lie tells."""
        self.without_trees = False
        """Where blocks are, and so the extent trees and in which pieces blocks were allocated, is
        left out of the run."""
        self.flusher_busy: bool | None = False
        """The flusher thread counts as busy: it has done what the task asked for, and has not
        run since (WB_writeback_running). None: nobody knows."""
        self.io_waits = self.in_worker = False
        self.crashes = False
        """A shutdown will show what each commit has."""
        self.by_flusher = False
        """The flusher thread writes back, not the task, which waits for it."""
        self.passed_over: list[Folio] = []
        """Folios that are under I/O, so that low-space writeback does not write them."""
        self._ending: list[Callable[[], None]] = []
        self._held_in: PageCache | None = None
        self.root = True
        self.read_only = self.shut_down = False
        self.placer = placer
        self.traced = True
        """Somebody reads the reservation tracepoints."""
        self.events: list[Event] = []
        self.because: dict[str, None] = {}
        self.quirks: dict[str, None] = {}

    # --- features and options ---------------------------------------------------------------

    def _read_features(self, features: Set[str]) -> None:
        """What the image's features say (__ext4_fill_super)."""
        self.journal = "^has_journal" not in features
        self.extents = "^extents" not in features
        self.inline = "inline_data" in features
        self.checksums = "^metadata_csum" not in features
        huge_file = "^huge_file" not in features
        self.maxbytes = max_extent_file_bytes(self.block_size, huge_file)
        """Bytes of the longest file (s_maxbytes)."""
        self.bitmap_maxbytes = max_file_bytes(self.block_size, huge_file)
        """Bytes of the longest file without extents (s_bitmap_maxbytes)."""

    def set_options(self, options: Set[str]) -> None:
        """Mount with `options` (ext4_parse_param, __ext4_fill_super)."""
        self.options = options
        self.data_journal = "data=journal" in options
        """data=journal: file data goes through the journal."""
        self.data_ordered = (
            self.journal and not self.data_journal and "data=writeback" not in options
        )
        """data=ordered, the default with a journal."""
        self.delalloc = "nodelalloc" not in options and not self.data_journal
        """Delayed allocation, on unless switched off or data=journal."""
        self.auto_da_alloc = "noauto_da_alloc" not in options
        """What replaces a file is written back at once (EXT4_MOUNT_NO_AUTO_DA_ALLOC)."""
        self.dioread_nolock = self.delalloc and self.extents and "dioread_lock" not in options
        """New blocks are unwritten until written (ext4_should_dioread_nolock)."""
        self.iomap = (
            "buffered_iomap" in options and self.behaviour.iomap and self.extents
            and not self.inline and not self.data_journal
        )  # fmt: skip
        """New regular files take the iomap path (ext4_should_use_buffered_iomap)."""
        largest = min(self.behaviour.max_folio, self.block_size << 11)
        self.max_folio = PAGE if self.data_journal else largest
        """Bytes of the largest folio (ext4_set_inode_mapping_order)."""

    # --- blocks that are freed ---------------------------------------------------------------

    def end_transaction(self) -> None:
        """The running transaction commits: what was freed in it can be had
        (ext4_process_freed_data)."""
        self.transaction += 1
        if not self.is_too_large:  # else the file that asked for it may have needed none
            self.journalled = 0
        self.free_pending = 0
        self.waiting.clear()

    @property
    def is_too_large(self) -> bool:
        """Whether the running transaction may have passed a third of the journal, so that jbd2
        has committed it and begun another one (add_transaction_credits)."""
        journal = journal_blocks(self.config.image, self.geometry.blocks)
        return self.journalled > journal // 3 - CREDITS

    def check_transaction(self) -> None:
        """Raise `NotModelledError` if what is in the running transaction is not known."""
        if self.is_too_large:
            raise NotModelledError(OWN_COMMIT)

    @property
    def max_zeroout(self) -> int:
        """Blocks that are rather zeroed than split from their extent (s_extent_max_zeroout_kb)."""
        return self.behaviour.max_zeroout_kib * 1024 // self.block_size

    @property
    def data_frees_wait(self) -> bool:
        """Blocks of file data that are freed can't be used before the next commit
        (ext4_mb_free_metadata): always with data=ordered or journal."""
        return self.journal and "data=writeback" not in self.options

    def wait_for_commit(self, clusters: int, *, metadata: bool = False) -> None:
        """Freed clusters can't be used before the next commit; those of file data can at once
        with data=writeback, all of them without a journal."""
        if self.data_frees_wait or (metadata and self.journal):
            self.free_pending += clusters

    def data_waits(self, runs: Iterable[Run]) -> None:
        """The blocks of `runs`, which are gone, can't be used before the next commit either."""
        if self.data_frees_wait:
            self.waiting += [
                (run.pblk, run.pblk + run.end - run.start) for run in runs if run.pblk is not None
            ]

    def is_waiting(self, pblk: int) -> bool:
        """Whether the device's block `pblk` was freed since the last commit."""
        return any(first <= pblk < end for first, end in self.waiting)

    def was_elsewhere(self, pblk: int) -> None:
        """The device's block `pblk` is allocated: what was freed since the last commit, and is
        taken to have been there, was somewhere else."""
        if self.waiting:
            self.waiting = [(low, end) for low, end in self.waiting if not low <= pblk < end]

    # --- I/O that ends later -----------------------------------------------------------------

    def after_io(self, end: Callable[[], None]) -> None:
        """`end` the I/O that was just submitted: at once, or with `io_waits` when a worker gets
        to run (ext4_end_io_rsv_work)."""
        self._ending.append(end)
        if not self.io_waits:
            self.end_io()

    @property
    def io_under_way(self) -> bool:
        """Whether I/O has been submitted that has not ended."""
        return bool(self._ending)

    def end_io(self) -> None:
        """The task sleeps or comes to its end, and workers run."""
        self.let_go()
        self.passed_over.clear()
        if not self._ending:
            return
        ending, self._ending = self._ending, []
        self.in_worker = True
        for end in ending:
            end()
        self.in_worker = False

    def worker_holds(self, cache: PageCache, folio: Folio | None) -> None:
        """A worker has ended the I/O to `folio` of `cache`. A task that waited for this goes on
        before the worker lets go of the folio (folio_end_writeback), which is when that task
        sleeps next."""
        self.let_go()
        if self.behaviour.waker_preempted:
            cache.pinned, self._held_in = folio, cache

    def workers_hold(self, cache: PageCache, folios: list[Folio | None]) -> None:
        """Workers have ended several I/Os to `cache`, of which these are the last folios. Which I/O
        came last is not known; that of the last one if nothing else is supposed."""
        self.worker_holds(cache, folios[max(-1 - self.placer.turn, -len(folios))])
        if cache.pinned is not None:
            cache.maybe_pinned = [folio for folio in folios if folio is not None]
            cache.on_doubt = lambda: self.rule("which I/O ended last: folio_end_writeback")

    def let_go(self) -> None:
        """Workers hold no folio any more."""
        if self._held_in is not None:
            self._held_in.pinned = self._held_in.on_doubt = None
            self._held_in = None

    # --- what a step leaves behind ---------------------------------------------------------

    def event(
        self, kind: EventKind, file: str, count: int, reserved: int, claim: bool | None = None
    ) -> None:
        """Note a reservation tracepoint; `count` and `reserved` are clusters
        (include/trace/events/ext4.h)."""
        if self.traced:
            self.events.append(Event(kind, file, count, reserved, claim))

    def rule(self, name: str) -> None:
        """Note that the step exercised the rule `name`."""
        self.because[name] = None

    def quirk(self, name: str) -> bool:
        """Whether the model is to follow the known bug `name`; noted if so."""
        if name not in self.behaviour.quirks:
            return False
        self.quirks[name] = None
        return True

    # --- statfs --------------------------------------------------------------------------

    def delayed_blocks(self) -> int:
        """sysfs delayed_allocation_blocks, in blocks (ext4_attr_show)."""
        return self.dirty.sum() * self.ratio

    def free_blocks(self) -> int:
        """statfs f_bfree, in blocks (ext4_statfs)."""
        return max(self.free.sum() - self.dirty.sum(), 0) * self.ratio

    def available_blocks(self) -> int:
        """statfs f_bavail, in blocks (ext4_statfs)."""
        kept = (self.r_blocks + self.resv) * self.ratio
        return max(self.free_blocks() - kept, 0)
