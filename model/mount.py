"""A mounted file system: its files, its descriptors, and what sync and umount do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.behaviour import Behaviour
from model.directory import Directory
from model.errors import OpError
from model.eviction import clear_inode
from model.inline_data import destroy_inline_data
from model.inode import Inode
from model.journal_copy import JournalCopies
from model.ordered import write_ordered
from model.percpu_counter import PerCpuCounter
from model.placement import Placer
from model.quota import Quota
from model.readahead import Readahead
from model.superblock import Superblock
from model.truncate import evict
from model.units import PAGE, SECTOR
from model.writeback_bh import cyclic_writepages, writepages
from model.writeback_iomap import iomap_writepages
from workloads.images import Geometry
from workloads.workload import Config

if TYPE_CHECKING:
    from model.shutdown import Durable

__all__ = ["Mount"]


class Mount:
    """Files by name, which of them are open, and the superblock."""

    def __init__(
        self, config: Config, geometry: Geometry, behaviour: Behaviour, placer: Placer
    ) -> None:
        self.sb = Superblock(config, geometry, behaviour, placer)
        self.sb.writeback_all = self.writeback_inside
        self.sb.flush_range = self.flush_and_tell
        self.sb.commit = self.commit
        self.files: dict[str, Inode] = {}
        self.directory = Directory(())
        self.open: set[str] = set()
        self.beside: dict[str, set[str]] = {}
        self.durable: Durable | None = None
        self.sb.quota = Quota(self.sb, self.files)
        self.sb.copies = JournalCopies(self.files)

    # --- names and descriptors ---------------------------------------------------------------

    def file(self, name: str) -> Inode:
        """Open `name` if it is not open, create it if it does not exist (O_RDWR|O_CREAT;
        ext4_create)."""
        inode = self.files.get(name)
        if inode is None:
            inode = self.files[name] = Inode(self.sb, name)
            self.directory.changed = True
            inode.mark_iloc_dirty()  # ext4_add_nondir
        if name not in self.open:
            self.open.add(name)
            inode.errors.opened("")
        inode.writers = 1
        return inode

    def close(self, name: str) -> None:
        """Close the file's descriptors if it has any (ext4_release_file)."""
        self.beside.pop(name, None)
        if name in self.open:
            self.open.discard(name)
            inode = self.files[name]
            self.release(inode)
            if not inode.reserved:
                inode.prealloc.discard()
            inode.writers = 0
            inode.errors.closed()
            inode.readahead = Readahead(self.sb.behaviour.readahead // PAGE)

    def release(self, inode: Inode) -> None:
        """A descriptor is closed: after a truncation to 0 the file is written back
        (ext4_release_file)."""
        if inode.alloc_on_close:
            inode.alloc_on_close = False
            self.alloc_da_blocks(inode)

    def alloc_da_blocks(self, inode: Inode) -> None:
        """Start writeback if anything is delayed (ext4_alloc_da_blocks)."""
        if inode.reserved:
            self.sb.rule("flush: ext4_alloc_da_blocks")
            self.flush_or_refuse(inode, 0, None)

    # --- writeback -------------------------------------------------------------------------

    def flush_range(self, inode: Inode, start: int, end: int | None) -> None:
        """Write back bytes `[start, end)` and wait (filemap_write_and_wait_range)."""
        if self.sb.shut_down:
            return
        if self.durable is not None and not self.sb.data_journal:  # which writes what is committed
            self.durable.flushed(inode)
        if self.sb.data_journal and inode.cache.dirty and inode.waits_for_commit(datasync=True):
            self.sb.rule("commit journalled data: ext4_do_writepages")
            self.commit()
        destroy_inline_data(inode)
        if inode.cache.dirty_folios(start, end):
            self.sb.let_go()
        held = inode.hold_back() if inode.journalled else []
        if inode.iomap:
            iomap_writepages(inode, start, end)
        else:
            writepages(inode, start, end)
        for folio, bits in held:
            inode.cache.mark_dirty(folio, bits)

    def flush_or_refuse(self, inode: Inode, start: int, end: int | None) -> None:
        """`flush_range` inside an operation that a failure would end somewhere in between.
        Raises `NotModelledError` for such a failure."""
        before = inode.errors.failures
        self.flush_range(inode, start, end)
        if inode.errors.failures != before:
            raise NotModelledError("writeback inside an operation finds no space")

    def flush_and_tell(self, inode: Inode, start: int, end: int | None) -> None:
        """The same, and tell what earlier writeback of the file, whatever part of it, could not
        write, if neither fsync(2) nor another such flush has told it (filemap_check_errors). Raises
        `OpError`."""
        self.flush_or_refuse(inode, start, end)
        error = inode.errors.take_mark()
        if error is not None:
            inode.sb.rule("an old error is told: filemap_check_errors")
            raise OpError(error)

    def check_writeback(self, inode: Inode, descriptor: str = "") -> None:
        """Tell each `descriptor` once that writeback of `inode` failed: the one that most calls
        use, or another one of the file (file_check_and_advance_wb_err). Raises `OpError`."""
        error = inode.errors.untold(descriptor)
        if error is not None:
            inode.sb.rule("writeback failed: file_check_and_advance_wb_err")
            raise OpError(error)

    def sync_all(self) -> None:
        """sync(2), which wakes the flusher thread too (wakeup_flusher_threads). That goes first,
        or takes what is left when the task waits: a folio past EOF at most, and not what waits for
        the commit as well."""
        if self.sb.behaviour.cyclic_sync:
            self.flusher_pass()
            self.sync()
        else:
            late = [inode for inode in self.files.values() if inode.kept_from_disk()]
            self.sync()
            self.flusher_pass(late)

    def flusher_pass(self, late: Sequence[Inode] = ()) -> None:
        """The flusher thread writes all files but those that are `late` (wb_check_start_all)."""
        if self.sb.shut_down:
            return
        for inode in self.files.values():
            if inode.iomap or inode.inline or inode in late:
                continue
            if self.durable is not None:
                self.durable.flushed(inode)
            cyclic_writepages(inode)

    def writeback(self) -> None:
        """Write back all files (writeback_inodes_sb, sync_inodes_sb)."""
        self._write_all(self.flush_range)

    def writeback_inside(self) -> None:
        """The same inside an operation (try_to_writeback_inodes_sb)."""
        self._write_all(self.flush_or_refuse)

    def _write_all(self, flush: Callable[[Inode, int, int | None], None]) -> None:
        self.sb.by_flusher = True
        for inode in self.files.values():
            flush(inode, 0, None)
            inode.unsynced = False
        self.sb.by_flusher = False

    def sync(self) -> None:
        """sync(2): write back, then commit, then the device's own page cache."""
        self.writeback()
        self.commit()
        self.sb.journalled = 0
        self.sb.copies.write()
        if not self.sb.shut_down:
            self.directory.synced(self.files)

    def sync_filesystem(self) -> None:
        """What umount, freezing and a remount to read-only do: `sync` in two passes, of which the
        first doesn't wait for a commit (sync_filesystem)."""
        if self.sb.data_journal:
            self.sb.copies.write_before_data(self.sb.transaction)
        self.sync()

    def commit(self) -> None:
        """Commit the running transaction (jbd2_journal_force_commit)."""
        if self.sb.shut_down:
            return
        write_ordered(self.files.values())
        before_io = self._commits_before_io()
        self.sb.end_io()  # the task sleeps, and what is freed can be had at the end of it only
        self.sb.let_go()
        self._end_transaction()
        self.sb.flusher_busy = False
        if self.durable is not None and not before_io:
            self.durable.commit()

    def _commits_before_io(self) -> bool:
        """A crash shows whether what I/O that is under way has written is converted in this
        transaction or in the next one; in the latter if that is supposed of the step."""
        if self.durable is None or not self.sb.io_under_way:
            return False
        self.sb.rule("conversion behind a commit: ext4_end_io_rsv_work")
        if self.sb.placer.late:
            self.durable.commit()
        return self.sb.placer.late

    def fsync(
        self, inode: Inode, start: int, end: int | None, datasync: bool, descriptor: str = ""
    ) -> None:
        """Write back bytes `[start, end)`, then commit what the inode waits for: nothing if it
        has not changed since the last commit, with `datasync` nothing but times, say
        (ext4_sync_file, jbd2_complete_transaction)."""
        self.flush_range(inode, start, end)
        self.check_writeback(inode, descriptor)
        if self.sb.journal:
            if inode.waits_for_commit(datasync):
                self.commit()
            return
        inode.unsynced = inode.metadata_writeback = False  # ext4_fsync_nojournal
        self.sb.copies.write(inode)
        if self.durable is not None:
            self.durable.written(inode)

    def _end_transaction(self) -> None:
        """The running transaction is in the journal."""
        self.directory.commit()
        self.sb.copies.committed(self.sb.data_journal)
        for inode in self.files.values():
            inode.committed_size = inode.disksize
        self.sb.end_transaction()

    def remount(self) -> None:
        """Close all, umount, mount (generic_shutdown_super, __ext4_fill_super)."""
        for name in list(self.open):
            self.close(name)
        late = [(inode, inode.kept_from_disk()) for inode in self.files.values()]
        self.sync_filesystem()
        for inode, blocks in late:
            inode.lose_dirty(blocks)
        self.sb.set_options(self.sb.config.options)
        self.sb.read_only = False
        if self.sb.shut_down:
            assert self.durable is not None
            self.durable.recover()
            self.sb.shut_down = False
        for inode in self.files.values():
            clear_inode(inode)
            inode.cache.clear()
            inode.drop_unsaved()
        self.settled()
        self.sb.free = PerCpuCounter(self.sb.free.sum())
        self.sb.dirty = PerCpuCounter(0)

    def settled(self) -> None:
        """Behind umount, and a remount to read-only, the journal is empty, and quotas are
        forgotten (ext4_mark_recovery_complete, dquot_suspend)."""
        self.directory.mounted(self.files)
        self.sb.copies.emptied()
        self.sb.quota.warnings.unmounted()

    def remove(self, name: str) -> None:
        """The last name of a file goes (ext4_unlink, ext4_evict_inode)."""
        inode, warnings = self.files[name], self.sb.quota.warnings
        mapped = bool(inode.i_blocks)
        if not mapped:
            warnings.inode_freed(inode)
        evict(inode)
        if mapped:
            warnings.inode_freed(inode)
        self.sb.quota.part(inode.uid, inode.i_blocks * SECTOR)
        del self.files[name]
        self.directory.changed = True
