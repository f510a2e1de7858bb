"""Inodes that leave memory, and are read again: what of them nobody wrote is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.errseq import WritebackErrors
from model.inode import Inode
from model.units import DELAYED, EOF_BLOCK

if TYPE_CHECKING:
    from model.mount import Mount

__all__ = ["clear_inode", "drop_caches", "read_inode"]


def drop_caches(mount: Mount) -> None:
    """Drop clean folios, and inodes that nobody uses (drop_caches_sysctl_handler); not what
    was changed since the last sync(2), or waits for fsync(2) (inode_lru_isolate)."""
    sb = mount.sb
    gone: set[str] = set()
    for name, inode in mount.files.items():
        inode.cache.drop_clean()
        inode.drop_unsaved()
        waits = inode.unsynced or inode.metadata_writeback
        if name not in mount.open and not len(inode.cache) and not waits:
            if not sb.journal:  # ext4_evict_inode
                sb.copies.write(inode)
            clear_inode(inode)
            inode.left_memory = True
            gone.add(name)
    sb.quota.warnings.dropped(gone)
    if sb.traced:  # whoever observes reads them at once
        for name in gone:
            read_inode(mount, mount.files[name])
    if not (sb.shut_down and sb.journal):
        return
    if mount.directory.drop(mount.files.keys(), mount.open):
        sb.rule("names of the device: jbd2_journal_commit_transaction")


def read_inode(mount: Mount, inode: Inode) -> None:
    """The inode is read if it has left memory: as nobody knows whether the running transaction
    has changed it, fsync(2) and fdatasync(2) wait for that (ext4_iget)."""
    if not inode.left_memory:
        return
    inode.left_memory = False
    if not mount.sb.journal:
        return
    running = mount.sb.transaction
    if mount.directory.changed or any(f.changed_in == running for f in mount.files.values()):
        inode.sb.rule("transaction that may have changed it: ext4_iget")
        inode.change_data()


def clear_inode(inode: Inode) -> None:
    """The inode leaves memory: reservations are released, and what is read back is what
    was on disk (ext4_clear_inode, ext4_iget)."""
    if any(run.state == DELAYED for run in inode.es):
        inode.sb.rule("release at eviction: ext4_clear_inode")
    if inode.checksum_wrong and inode.sb.quirk("failed_conversion_breaks_checksum"):
        inode.unreadable = True
    inode.writeback_start, inode.errors = 0, WritebackErrors()
    inode.remove_status(0, EOF_BLOCK)
    inode.prealloc.discard()
    inode.read_i_blocks()
    inode.alloc_on_close = inode.order_writes = inode.metadata_writeback = False
    inode.delalloc, inode.iomap = inode.sb.delalloc, inode.sb.iomap
    inode.may_inline, inode.inline_copy = inode.inline, None
    if inode.size != inode.disksize:
        inode.size = inode.disksize
        inode.content.zero(inode.size)
