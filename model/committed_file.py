"""What a file has in the running transaction: what fsync(2) waits for, and which of its data the
commit writes first (fs/ext4/ext4_jbd2.h, fs/jbd2/journal.c).
"""

from __future__ import annotations

from model.cached_file import BEHIND, CachedFile
from model.folio import Folio
from model.superblock import Superblock

__all__ = ["CommittedFile"]


class CommittedFile(CachedFile):
    """A file of `disksize` bytes on disk.

    `changed_in` is the transaction that last changed its inode (i_sync_tid), `data_changed_in` the
    one that last changed what fdatasync(2) is about (i_datasync_tid) but for the size, which was
    `committed_size` at the last commit; `unsynced` tells whether it waits for the next sync(2) and
    so can't leave memory (I_DIRTY), `metadata_writeback` whether it waits for fsync(2) likewise
    (I_METADATA_WRITEBACK), `checksum_wrong` whether the inode on disk has changed without
    its checksum, `inline` whether it holds the data, `orphan` whether recovery is to cut it to its
    size (ext4_orphan_add). `ordered` are the bytes that the next commit has on disk first.
    """

    def __init__(self, sb: Superblock) -> None:
        super().__init__(sb)
        self.disksize = self.committed_size = 0
        self.changed_in = self.data_changed_in = sb.transaction
        self.unsynced = self.metadata_writeback = False
        self.checksum_wrong = self.inline = self.orphan = False
        self.ordered: tuple[int, int] | None = None
        self.order_writes = False

    def file_modified(self) -> None:
        """What changes the file begins with its times (file_modified, file_update_time), or ends
        with them and others of its attributes (setattr_copy, mark_inode_dirty)."""
        self.inode_changed()
        self.unsynced = True

    def inode_changed(self) -> None:
        """The inode's fields are in the running transaction (ext4_mark_inode_dirty)."""
        self.mark_iloc_dirty()
        self.checksum_wrong = False

    def mark_iloc_dirty(self) -> None:
        """The running transaction changes the inode. Without a journal its buffer waits for
        fsync(2) from 7.3 on (ext4_mark_iloc_dirty)."""
        self.changed_in = self.sb.transaction
        self.metadata_writeback = not self.sb.journal and self.sb.behaviour.metadata_writeback

    def change_data(self) -> None:
        """The running transaction changes what fdatasync(2) is about
        (ext4_update_inode_fsync_trans)."""
        self.mark_iloc_dirty()
        self.data_changed_in = self.sb.transaction

    def journal_data(self, folio: Folio, bits: int) -> None:
        """A write or store has let `bits` of `folio` be written: with data=journal the running
        transaction has them (ext4_journalled_write_end, ext4_journal_folio_buffers)."""
        if self.sb.data_journal:
            self.log(folio, bits)
            self.sb.journalled += bits.bit_count()
            self.change_data()

    def waits_for_commit(self, datasync: bool) -> bool:
        """Whether fsync(2), or fdatasync(2) with `datasync`, has to commit the running transaction
        (ext4_fsync_journal). That fdatasync(2) takes inline data for no data is a known bug."""
        running = self.sb.transaction
        if self.data_changed_in == running or self.disksize != self.committed_size:
            return True
        if self.changed_in != running or not datasync:
            return self.changed_in == running
        return self.inline and not self.sb.quirk("inline_overwrite_not_synced")

    def kept_from_disk(self) -> list[tuple[int, tuple[bytes | None, str] | None]]:
        """With data=journal: dirty blocks that only the running transaction has, which writeback
        won't commit, each with what `on_disk` says of it (ext4_do_writepages)."""
        if not self.journalled or self.sb.shut_down or self.waits_for_commit(datasync=True):
            return []
        size = self.sb.block_size
        held = [lblk for lblk in self.journalled if self.cache.holds_dirty(lblk * size)]
        return [(lblk, self.on_disk.get(lblk)) for lblk in held]

    def lose_dirty(self, kept: list[tuple[int, tuple[bytes | None, str] | None]]) -> None:
        """Umount has written all but blocks that were `kept` from it. Whether the commit that
        another file asked for came in time for them nobody knows (ext4_evict_inode)."""
        for lblk, before in kept:
            self.sb.quirk(BEHIND)
            if before is not None and lblk not in self.on_disk:
                self.differs_on_disk(lblk, *before)

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
