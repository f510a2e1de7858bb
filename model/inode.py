"""Inode: what the model carries for one file, and how its map may change.

Every change of the map goes through here, so that the counters of inode and file system,
the extent tree and the reservation events stay in step with it (fs/ext4/extents_status.c,
`ext4_es_insert_extent`, `ext4_es_remove_extent`).
"""

from __future__ import annotations

import stat

from harness.errors import NotModelledError
from harness.trace import EventKind
from model.content import Content
from model.extent_status import ExtentStatus, Run
from model.extent_tree import ExtentTree
from model.indirect_tree import IndirectTree
from model.page_cache import PageCache
from model.prealloc import Preallocations
from model.readahead import Readahead
from model.superblock import Superblock
from model.units import DELAYED, EOF_BLOCK, HOLE, PAGE, SECTOR, UNWRITTEN, WRITTEN, ceil_div

__all__ = ["Inode"]

UNKNOWN_PLACE = "physical placement of a block is not known, so neither is the extent tree"


class Inode:
    """A regular file; `size` and `disksize` in bytes, `reserved` and `allocated` in clusters,
    and `uncharged`, those that were allocated and not counted in i_blocks. `changed_in` is the
    transaction that last changed it (i_sync_tid); `unsynced` tells whether it waits for the
    next sync(2) and so can't leave memory (I_DIRTY). Nobody can open it again once it is
    `unreadable`: it has left memory with its checksum wrong."""

    def __init__(self, sb: Superblock, name: str) -> None:
        self.sb, self.name = sb, name
        self.size = self.disksize = 0
        self.reserved = self.allocated = 0
        self.uncharged = 0
        self.es = ExtentStatus(sb.ratio)
        self.changed_in = sb.transaction
        self.unsynced = False
        self.extents = sb.extents
        self.iomap = sb.iomap
        self.tree = ExtentTree(sb.block_size)
        self.indirect = IndirectTree(sb.block_size)
        self.tree_blocks = self.most_mapped = 0
        self.tree_unknown: str | None = None
        self.states_unknown: str | None = None
        self.content = Content()
        self.cache = PageCache(sb.block_size, sb.max_folio, sb.iomap)
        self.prealloc = Preallocations()
        self.readahead = Readahead(sb.behaviour.readahead // PAGE)
        self.writers = 0
        self.writeback_start = 0
        self.ordered: tuple[int, int] | None = None
        self.order_writes = False
        self.writeback_error: str | None = None
        self.unsaved: list[tuple[int, int]] = []
        self.on_disk: dict[int, tuple[bytes | None, str]] = {}
        self.alloc_on_close = False
        self.uid = self.gid = self.flags = 0
        self.mode = stat.S_IFREG | 0o644
        self.delalloc = sb.delalloc
        self.inline, self.may_inline = False, sb.inline
        self.inline_size = 0
        self.checksum_wrong = self.unreadable = False
        self.inline_copy: bytes | None = None

    # --- size ----------------------------------------------------------------------------

    @property
    def eof_block(self) -> int:
        """Blocks up to EOF, the last one rounded up."""
        return ceil_div(self.size, self.sb.block_size)

    @property
    def disk_sectors(self) -> int:
        """i_blocks: data and tree blocks in sectors. Raises `NotModelledError` below 0."""
        unit = self.sb.block_size // SECTOR * self.sb.ratio
        charged = self.allocated + self.tree_blocks - self.uncharged
        if charged < 0:
            raise NotModelledError("i_blocks below 0, after last_cluster_taken_for_mapped")
        return charged * unit

    @property
    def sectors(self) -> int:
        """st_blocks: on-disk and reserved, in sectors, and what inline data would take
        (ext4_file_getattr)."""
        inline = ceil_div(self.size, SECTOR) if self.inline else 0
        reserved = self.reserved * self.sb.ratio * self.sb.block_size // SECTOR
        return self.disk_sectors + reserved + inline

    def drop_unsaved(self) -> None:
        """Folios have been dropped: of blocks that are not on disk as they were there what is on
        disk shows, which nobody knows of written ones."""
        size, kept = self.sb.block_size, []
        for low, high in self.unsaved:
            folio = self.cache.get(low * size // PAGE)
            if folio is not None:
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

    def order(self, start: int, end: int, *, submitted: bool = False) -> None:
        """The next commit writes bytes `[start, end)` first, and what lies between them and
        those it was told before (ext4_jbd2_inode_add_write). What is `submitted` already it waits
        for only (ext4_jbd2_inode_add_wait), unless the file was ever in a commit that wrote:
        that mark stays while the inode is in memory (JI_WRITE_DATA)."""
        if self.iomap or not self.sb.data_ordered:
            return
        low, high = self.ordered or (start, end)
        self.ordered = min(low, start), max(high, end)
        self.order_writes |= not submitted

    # --- the map -------------------------------------------------------------------------

    def _recount(self, start: int, end: int, before: tuple[int, int]) -> tuple[int, int]:
        """Changes of reserved and allocated clusters in `[start, end)` since `before`."""
        reserved, allocated = self.es.clusters(start, end)
        self.allocated += allocated - before[1]
        return reserved - before[0], allocated - before[1]

    def insert_delayed(self, start: int, end: int) -> None:
        """Make holes delayed; the caller has reserved (ext4_es_insert_delayed_extent)."""
        self.es.set(Run(start, end, DELAYED))

    def insert_mapped(self, run: Run, claim: bool) -> None:
        """Map blocks that were holes or delayed (ext4_es_insert_extent).

        Reservations that the new blocks replace are used up; `claim` if the quota charged
        them with the reservation rather than at allocation.
        """
        used, held = self.es.clusters(run.start, run.end)
        self.es.set(run)
        ratio = self.sb.ratio  # each cluster that the run touches is allocated now
        first, end = run.start // ratio, -(-run.end // ratio)
        self.allocated += end - first - held
        if self.es.unreserved is not None and first <= self.es.unreserved < end:
            self.es.unreserved = None
            self.uncharged += claim  # else the allocation itself was charged
        # What is claimed was charged before, and is once while tree blocks are freed.
        if used > 0 and claim:
            self.da_update_reserve_space(used, claim)
        self.tree_insert(run)
        self.most_mapped = max(self.most_mapped, self.allocated * self.sb.ratio)
        if used > 0 and not claim:
            self.da_update_reserve_space(used, claim)

    def convert(self, start: int, end: int, state: int) -> None:
        """Change mapped blocks to `state` in map and tree (ext4_convert_unwritten_extents)."""
        self.changed_in = self.sb.transaction
        for run in self.es.overlapping(start, end):
            if run.state not in (state, DELAYED):
                self.es.set(run.become(state))
        if self.extents and self.tree_unknown is None:
            self.tree.convert(start, end - start, to_unwritten=state == UNWRITTEN)
            self.tree_changed()

    def remove_status(self, start: int, end: int) -> None:
        """Forget delayed blocks, release what they reserved (ext4_es_remove_extent)."""
        delayed = [run for run in self.es.overlapping(start, end) if run.state == DELAYED]
        if not delayed:
            return
        before = self.es.clusters(start, end)
        for run in delayed:
            self.es.set(run.become(HOLE))
        freed = -self._recount(start, end, before)[0]
        if freed > 0:
            self.da_release_space(freed)

    def remove_mapped(self, start: int, end: int) -> None:
        """Free mapped blocks; a cluster that keeps a delayed block is reserved again
        (ext4_ext_remove_space, ext4_rereserve_cluster)."""
        runs = self.es.overlapping(start, end)
        if runs and end < EOF_BLOCK and self.extents and self.tree_unknown is None:
            self.tree.split_at(end)
            self.tree_changed()
        before = self.es.clusters(start, end)
        for run in runs:
            self.es.set(run.become(HOLE))
        if self.sb.copies:
            self.sb.copies.freed(self, start, end)
        if self.unsaved:
            self.saved(start, end)
        again, freed = self._recount(start, end, before)
        if again > 0:
            self.reserved += again
            self.sb.dirty.add(again)
        if freed:
            pieces = [-freed] if len(runs) == 1 and self.sb.ratio == 1 else self._pieces(runs)
            for clusters in pieces:  # a cheap read of the counter tells the difference
                self.sb.free.add(clusters)
            self.sb.free.add(-freed - sum(pieces))
            self.sb.wait_for_commit(-freed)
            self.sb.data_waits(runs)
            if self.sb.quota.tracked:
                self.sb.quota.warnings.freed_pieces(self, pieces)
        self.tree_remove(start, end, bool(runs))

    def _pieces(self, runs: list[Run]) -> list[int]:
        """How many clusters each call frees now that `runs` have gone, the last first
        (ext4_remove_blocks)."""
        mapped = [run for run in reversed(runs) if run.state != DELAYED]
        if self.sb.ratio == 1:
            return [run.end - run.start for run in mapped]
        pieces = []
        for run, before in zip(mapped, [*mapped[1:], None], strict=True):
            shared = -1 if before is None else (before.end - 1) // self.sb.ratio
            pieces += self._cluster_pieces(run, shared)
        return pieces

    def _cluster_pieces(self, run: Run, shared: int) -> list[int]:
        """The same for one extent: a cluster that it has only in part goes by itself, and one
        that is `shared` with the extent before it goes with that. What is reserved again
        stays charged."""
        ratio = self.sb.ratio
        first, last = run.start // ratio, (run.end - 1) // ratio
        inner_first, inner_last = -(-run.start // ratio), run.end // ratio - 1
        tail = [last] if last > inner_last else []
        head = [first] if first < inner_first and first not in tail else []
        groups = (tail, range(inner_first, inner_last + 1), head)
        counts = (
            sum(
                self.es.clusters(at * ratio, at * ratio + ratio) == (0, 0)
                for at in group
                if at != shared
            )
            for group in groups
        )
        return [count for count in counts if count]

    # --- the tree ------------------------------------------------------------------------

    def tree_insert(self, run: Run) -> None:
        """Put a newly allocated extent into the tree (ext4_ext_insert_extent)."""
        if not self.extents:
            self.indirect.insert(run.start, run.end - run.start)
        elif self.tree_unknown is None:
            if run.pblk is None:
                self.lose_tree(UNKNOWN_PLACE)
            else:
                length = run.end - run.start
                self.tree.insert(run.start, length, run.pblk, run.state == UNWRITTEN)
        self.tree_changed()

    def tree_remove(self, start: int, end: int, any_mapped: bool) -> None:
        """Take blocks out of the tree; an empty tree is known again."""
        if not self.extents:
            self._indirect_remove(start, end)
        elif not self.allocated:
            self.tree, self.tree_unknown = ExtentTree(self.sb.block_size), None
            self.most_mapped, self.states_unknown = 0, None
        elif self.tree_unknown is None and any_mapped:
            self._extent_remove(start, end)
        self.tree_changed()

    def _indirect_remove(self, start: int, end: int) -> None:
        if end >= EOF_BLOCK:
            self.indirect.remove(start)
        else:
            self.indirect.remove(start, end - 1)

    def _extent_remove(self, start: int, end: int) -> None:
        if end >= EOF_BLOCK:
            self.tree.remove(start)
        else:
            self.tree.remove(start, end - 1)

    def lose_tree(self, reason: str) -> None:
        """The tree's shape can't be told from here on, nor what depends on it."""
        self.tree_unknown = reason
        self.sb.space_unknown = reason

    def tree_changed(self) -> None:
        """Charge or free tree blocks (ext4_new_meta_blocks, ext4_free_blocks)."""
        self.changed_in = self.sb.transaction
        if not self.extents:
            blocks = self.indirect.blocks()
        elif self.tree_unknown is None:
            blocks = self.tree.blocks()
        else:
            return
        passing = min(self.tree.freed, self.tree.freed + blocks - self.tree_blocks)
        self.tree.freed = 0
        for _ in range(passing):  # they are gone already
            self.sb.free.add(-1)
            self.tree_blocks += 1
            self._free_tree_blocks(1, unsure=self.sb.in_worker)
        if blocks < self.tree_blocks:
            self._free_tree_blocks(self.tree_blocks - blocks)
        elif blocks > self.tree_blocks:
            self.sb.free.add(self.tree_blocks - blocks)
            self.tree_blocks = blocks

    def _free_tree_blocks(self, count: int, *, unsure: bool = False) -> None:
        """Free tree blocks one by one; `unsure` whether they ever were."""
        self.tree_blocks -= count
        if self.sb.quota.tracked:
            self.sb.quota.warnings.freed_pieces(self, [1] * count, unsure=unsure)
        self.sb.free.add(count)
        self.sb.wait_for_commit(count, metadata=True)

    # --- reservations ---------------------------------------------------------------------

    def da_reserve_space(self, clusters: int) -> None:
        """Reserve in one step; the caller has claimed (ext4_da_reserve_space)."""
        self.reserved += clusters
        self.sb.event(EventKind.RESERVE, self.name, clusters, self.reserved)

    def da_reserve_singly(self, clusters: int) -> None:
        """Claim and reserve cluster by cluster (ext4_da_reserve_space, so many times)."""
        if self.sb.traced:
            for reserved in range(self.reserved + 1, self.reserved + clusters + 1):
                self.sb.event(EventKind.RESERVE, self.name, 1, reserved)
        self.reserved += clusters
        self.sb.dirty.add_ones(clusters)

    def da_release_space(self, clusters: int) -> None:
        """Give a reservation back (ext4_da_release_space)."""
        self.sb.event(EventKind.RELEASE, self.name, clusters, self.reserved)
        if self.sb.quota.tracked:
            self.sb.quota.warnings.freed(self, clusters)
        self.reserved -= clusters
        self.sb.dirty.add(-clusters)

    def da_update_reserve_space(self, clusters: int, claim: bool) -> None:
        """A reservation has become blocks (ext4_da_update_reserve_space)."""
        self.sb.event(EventKind.UPDATE, self.name, clusters, self.reserved, claim)
        if not claim and self.sb.quota.tracked:
            self.sb.quota.warnings.freed(self, clusters)
        self.reserved -= clusters
        self.sb.dirty.add(-clusters)
        if not self.reserved and not self.writers:
            self.prealloc.discard()
