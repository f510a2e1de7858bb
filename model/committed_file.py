"""What a file has in the running transaction: what fsync(2) waits for, and which of its data the
commit writes first (fs/ext4/ext4_jbd2.h, fs/jbd2/journal.c).
"""

from __future__ import annotations

from model.cached_file import CachedFile
from model.superblock import Superblock

__all__ = ["CommittedFile"]


class CommittedFile(CachedFile):
    """A file of `disksize` bytes on disk.

    `changed_in` is the transaction that last changed its inode (i_sync_tid), `data_changed_in` the
    one that last changed what fdatasync(2) is about (i_datasync_tid) but for the size, which was
    `committed_size` at the last commit; `unsynced` tells whether it waits for the next sync(2) and
    so can't leave memory (I_DIRTY). `ordered` are the bytes that the next commit has on disk first.
    """

    def __init__(self, sb: Superblock) -> None:
        super().__init__(sb)
        self.disksize = self.committed_size = 0
        self.changed_in = self.data_changed_in = sb.transaction
        self.unsynced = False
        self.ordered: tuple[int, int] | None = None
        self.order_writes = False

    def change_data(self) -> None:
        """The running transaction changes what fdatasync(2) is about
        (ext4_update_inode_fsync_trans)."""
        self.changed_in = self.data_changed_in = self.sb.transaction

    def waits_for_commit(self, datasync: bool) -> bool:
        """Whether fsync(2), or fdatasync(2) with `datasync`, has to commit the running transaction
        (ext4_fsync_journal). Journalled data is what fdatasync(2) is about, too."""
        if not datasync or self.sb.data_journal:
            return self.changed_in == self.sb.transaction
        return self.data_changed_in == self.sb.transaction or self.disksize != self.committed_size

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
