"""EXT4_IOC_SHUTDOWN, and what is there after the next mount (`ext4_force_shutdown`).

A shutdown ends the journal: what the last commit made durable comes back. Without a journal
all metadata is written at umount, so that files are as they were at the shutdown, but for data
that was never written. The model notes what is durable at each commit or sync, but only in
workloads that shut the file system down.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import NotModelledError
from model.cached_file import BEHIND
from model.content import Content
from model.errors import OpError
from model.extent_status import Run
from model.extent_tree import ExtentTree
from model.indirect_tree import IndirectTree
from model.inode import Inode
from model.ordered import write_ordered
from model.percpu_counter import PerCpuCounter
from model.truncate import truncate
from model.units import DELAYED, EOF_BLOCK, WRITTEN

if TYPE_CHECKING:
    from model.mount import Mount

__all__ = ["Durable", "shut_down"]

DEFAULT, LOG_FLUSH, NO_LOG_FLUSH = range(3)
"""EXT4_GOING_FLAGS_*."""


class _Saved(NamedTuple):
    """A file as a commit left it.

    `stale` are its written blocks whose content on disk is older than `content`, `inline` the
    bytes of inline data.
    """

    inode: Inode
    size: int
    uid: int
    flags: int
    runs: tuple[Run, ...]
    tree: ExtentTree
    indirect: IndirectTree
    tree_blocks: int
    tree_unknown: str | None
    allocated: int
    uncharged: int
    content: Content
    stale: frozenset[int]
    inline: int | None
    checksum_wrong: bool
    orphan: bool


class Durable:
    """What a crash would leave: files and free clusters as of the last commit."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self._files: dict[str, _Saved] = {}
        self._free = mount.sb.free.sum()
        self._flushed: set[int] = set()

    def flushed(self, inode: Inode) -> None:
        """Data of `inode` is written without a commit."""
        self._flushed.add(id(inode))

    def commit(self) -> None:
        """The running transaction commits (jbd2_journal_commit_transaction)."""
        write_ordered(self.mount.files.values())
        self._files = {name: self._save(file) for name, file in self.mount.files.items()}
        self._free = self.mount.sb.free.sum()
        self._flushed.clear()

    def written(self, inode: Inode) -> None:
        """All that `inode` has is written, without a journal (ext4_fsync_nojournal)."""
        self._files[inode.name] = self._save(inode)
        self._flushed.discard(id(inode))

    def _save(self, inode: Inode) -> _Saved:
        return _Saved(
            inode, inode.disksize, inode.uid, inode.flags,
            tuple(run for run in inode.es if run.state != DELAYED),
            copy.deepcopy(inode.tree), copy.deepcopy(inode.indirect),
            inode.tree_blocks, inode.tree_unknown, inode.allocated, inode.uncharged,
            _content_on_disk(inode), frozenset(_stale(inode)),
            inode.inline_size if inode.inline else None, inode.checksum_wrong, inode.orphan,
        )  # fmt: skip

    def stopped(self) -> None:
        """A file system without a journal is shut down: what was done to metadata will be
        written all the same, with the device's own page cache (ext4_put_super)."""
        self._files = {name: self._stop(file) for name, file in self.mount.files.items()}
        self._free = self.mount.sb.free.sum()

    def _stop(self, inode: Inode) -> _Saved:
        before = next((saved for saved in self._files.values() if saved.inode is inode), None)
        now = self._save(inode)
        if before is None or id(inode) in self._flushed:
            return now
        old, new = _written(before.runs), _written(now.runs)
        same = {block for block in now.stale if block in old and old[block] == new[block]}
        stale = (now.stale - same) | before.stale
        return now._replace(content=before.content, stale=stale)

    def recover(self) -> None:
        """Replay the journal and start again from it (ext4_load_journal). Files that were about to
        grow are cut to their size (ext4_orphan_cleanup)."""
        mount = self.mount
        if mount.sb.quota.apart:
            raise NotModelledError("a crash where the quota was not what the files have")
        for inode in mount.files.values():
            inode.remove_status(0, EOF_BLOCK)
        files = {name: self._restore(name, saved) for name, saved in self._files.items()}
        again = {saved.inode: files[name] for name, saved in self._files.items()}
        mount.files.clear()
        mount.files.update(files)
        mount.sb.copies.replay(again, mount.sb.transaction)
        mount.sb.free = PerCpuCounter(self._free)
        mount.sb.dirty = PerCpuCounter(0)
        for inode in files.values():
            if inode.orphan:
                mount.sb.rule("a file that was to grow: ext4_orphan_cleanup")
                truncate(inode)
                inode.orphan = False
        mount.sb.end_transaction()
        self.commit()

    def _restore(self, name: str, saved: _Saved) -> Inode:
        fresh = Inode(self.mount.sb, name)
        fresh.size = fresh.disksize = fresh.committed_size = saved.size
        fresh.uid, fresh.flags = saved.uid, saved.flags
        fresh.checksum_wrong, fresh.orphan = saved.checksum_wrong, saved.orphan
        for run in saved.runs:
            fresh.es.set(run)
        fresh.tree, fresh.indirect = saved.tree, saved.indirect
        fresh.tree_blocks, fresh.tree_unknown = saved.tree_blocks, saved.tree_unknown
        fresh.allocated, fresh.uncharged = saved.allocated, saved.uncharged
        if saved.inline is not None:
            fresh.inline, fresh.inline_size = True, saved.inline
            fresh.content.take(saved.content, 0, saved.size)
        else:
            self._restore_content(fresh, saved)
        return fresh

    def _restore_content(self, fresh: Inode, saved: _Saved) -> None:
        """Content of each written block, as far as it can be told what was on disk."""
        size, live = fresh.sb.block_size, saved.inode
        alive = self.mount.files.get(fresh.name) is live
        dirty, now = _dirty(live), _written(live.es) if alive else {}
        flushed = id(live) in self._flushed
        for block, place in _written(saved.runs).items():
            pos = block * size
            same = block in now and now[block] == place and not (flushed and place is None)
            if same and block not in dirty:
                fresh.content.take(live.content, pos, pos + size)
            elif block in saved.stale or flushed:
                fresh.content.lose(pos, pos + size)
            else:
                fresh.content.take(saved.content, pos, pos + size)
            if same and block in live.on_disk and live.on_disk[block][1] != BEHIND:
                fresh.show_on_disk(block, *live.on_disk[block])
        fresh.content.zero(fresh.size)


def _written(runs: Iterable[Run]) -> dict[int, int | None]:
    """Written blocks, and where on the device they are if that is known."""
    return {
        block: None if run.pblk is None else run.pblk + block - run.start
        for run in runs
        if run.state == WRITTEN
        for block in range(run.start, run.end)
    }


def _stale(inode: Inode) -> set[int]:
    """Written blocks that are dirty still after a commit; data=journal has written all."""
    return set() if inode.sb.data_journal else _written(inode.es).keys() & _dirty(inode)


def _content_on_disk(inode: Inode) -> Content:
    """A copy of the content; of inline data that the page cache has too what is in the inode."""
    if not inode.inline or inode.inline_copy is None:
        return inode.content.copy()
    content = Content()
    content.write(0, inode.inline_copy)
    return content


def _dirty(inode: Inode) -> set[int]:
    cache = inode.cache
    return {
        folio.first + bit
        for folio in cache.dirty_folios()
        for bit in range(folio.count)
        if folio.dirty >> bit & 1
    }


def shut_down(mount: Mount, flags: int) -> None:
    """Stop the file system. Raises `OpError`, and `NotModelledError` where nobody knows what the
    journal has.

    Freezing it first writes everything back and empties the journal (ext4_freeze).
    """
    if not 0 <= flags <= NO_LOG_FLUSH:
        raise OpError("EINVAL")
    if mount.sb.shut_down:
        return
    durable = mount.durable
    assert durable is not None, "noted from the start in workloads that shut down"
    if flags == DEFAULT:
        mount.sync_filesystem()
        mount.sb.copies.emptied()
    elif flags == LOG_FLUSH and mount.sb.journal:
        mount.commit()
        mount.sb.journalled = 0
    else:
        mount.sb.check_transaction()
    if not mount.sb.journal:
        durable.stopped()
    mount.sb.rule("shut down: ext4_force_shutdown")
    mount.sb.shut_down = True
