"""Inode: what the model carries for one file, and how its map may change.

Every change of the map goes through here, so that the counters of inode and file system,
the extent tree and the reservation events stay in step with it (fs/ext4/extents_status.c,
`ext4_es_insert_extent`, `ext4_es_remove_extent`).
"""

from __future__ import annotations

import stat

from harness.errors import NotModelledError
from harness.trace import EventKind
from model.committed_file import CommittedFile
from model.errseq import WritebackErrors
from model.extent_status import Run
from model.extent_tree import ExtentTree
from model.freed_pieces import freed_pieces
from model.indirect_tree import IndirectTree
from model.prealloc import Preallocations
from model.readahead import Readahead
from model.superblock import Superblock
from model.units import DELAYED, EOF_BLOCK, HOLE, PAGE, SECTOR, UNWRITTEN, WRITTEN, ceil_div

__all__ = ["Inode"]

UNKNOWN_PLACE = "physical placement of a block is not known, so neither is the extent tree"


class Inode(CommittedFile):
    """A regular file; `reserved` and `allocated` in clusters, and `uncharged`, those that were
    allocated and not counted in i_blocks; `beyond` are sectors that the inode on disk could not
    hold when it was written, in the transaction beside them. It may have `left_memory`, and nobody
    can open it again once it is `unreadable`: it has left memory with its checksum wrong."""

    def __init__(self, sb: Superblock, name: str) -> None:
        super().__init__(sb)
        self.name = name
        self.reserved = self.allocated = 0
        self.uncharged = 0
        self.beyond = (0, 0)
        self.extents = sb.extents
        self.tree = ExtentTree(sb.block_size)
        self.indirect = IndirectTree(sb.block_size)
        self.tree_blocks = self.most_mapped = 0
        self.tree_unknown: str | None = None
        self.states_unknown: str | None = None
        self.prealloc = Preallocations()
        self.readahead = Readahead(sb.behaviour.readahead // PAGE)
        self.writers = 0
        self.writeback_start = 0
        self.errors = WritebackErrors()
        self.behind_size = False
        self.alloc_on_close = False
        self.uid = self.gid = self.flags = 0
        self.mode = stat.S_IFREG | 0o644
        self.delalloc = sb.delalloc
        self.may_inline = sb.inline
        self.inline_size = 0
        self.unreadable = self.left_memory = False
        self.inline_copy: bytes | None = None

    # --- size ----------------------------------------------------------------------------

    @property
    def eof_block(self) -> int:
        """Blocks up to EOF, the last one rounded up."""
        return ceil_div(self.size, self.sb.block_size)

    @property
    def i_blocks(self) -> int:
        """Data and tree blocks that were counted, in sectors; below 0 if more are freed than that
        (inode_sub_bytes), after last_cluster_taken_for_mapped."""
        unit = self.sb.block_size // SECTOR * self.sb.ratio
        return (self.allocated + self.tree_blocks - self.uncharged) * unit

    @property
    def disk_sectors(self) -> int:
        """What is on disk of i_blocks, in sectors: 48 bits, of blocks where sectors do not fit
        (ext4_inode_blocks_set)."""
        return self.i_blocks % (self.sb.block_size // SECTOR << 48)

    @property
    def sectors(self) -> int:
        """st_blocks: on-disk and reserved, in sectors, and what inline data would take
        (ext4_file_getattr)."""
        inline = ceil_div(self.size, SECTOR) if self.inline else 0
        reserved = self.reserved * self.sb.ratio * self.sb.block_size // SECTOR
        return self.i_blocks + reserved + inline

    def read_i_blocks(self) -> None:
        """i_blocks becomes what is on disk of it (ext4_inode_blocks)."""
        more = self.disk_sectors - self.i_blocks
        self.beyond = (max(-more, 0), self.changed_in)
        if more:
            self.uncharged -= more // (self.sb.block_size // SECTOR * self.sb.ratio)
            self.sb.quota.part(self.uid, -more * SECTOR)

    def check_behind_size(self) -> None:
        """Raise `NotModelledError` if a truncation that failed has left blocks behind the size:
        what shows of them in a file that is written to is not known."""
        if self.behind_size:
            raise NotModelledError("writing to a file of which a truncation has failed")

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
        if run.state == WRITTEN:
            self.change_data()
        self.most_mapped = max(self.most_mapped, self.allocated * self.sb.ratio)
        if used > 0 and not claim:
            self.da_update_reserve_space(used, claim)

    def convert(self, start: int, end: int, state: int) -> None:
        """Change mapped blocks to `state` in map and tree (ext4_convert_unwritten_extents)."""
        self.change_data()
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
            pieces = (
                [-freed] if len(runs) == 1 and self.sb.ratio == 1 else freed_pieces(self.es, runs)
            )
            for clusters in pieces:  # a cheap read of the counter tells the difference
                self.sb.free.add(clusters)
            self.sb.free.add(-freed - sum(pieces))
            self.sb.wait_for_commit(-freed)
            self.sb.data_waits(runs)
            if self.sb.quota.tracked:
                self.sb.quota.warnings.freed_pieces(self, pieces)
        self.tree_remove(start, end, bool(runs))

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
        """Take blocks `[start, end)` out of the tree; an empty tree is known again
        (ext4_ext_remove_space)."""
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
        self.mark_iloc_dirty()
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
