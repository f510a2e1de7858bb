"""EXT4_IOC_SHUTDOWN, and what is there after the next mount (`ext4_force_shutdown`).

A shutdown ends the journal: what the last commit made durable comes back. The model notes
that state at each commit, but only in workloads that shut the file system down.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import NotModelledError
from model.content import Content
from model.errors import OpError
from model.extent_status import Run
from model.extent_tree import ExtentTree
from model.indirect_tree import IndirectTree
from model.inode import Inode
from model.superblock import PerCpuCounter
from model.units import DELAYED, EOF_BLOCK, WRITTEN
from workloads import ops

if TYPE_CHECKING:
    from model.mount import Mount

__all__ = ["Durable", "shut_down"]

DEFAULT, LOG_FLUSH, NO_LOG_FLUSH = range(3)
"""EXT4_GOING_FLAGS_*."""

_NO_CHANGE = (ops.Read, ops.Seek, ops.Fsync, ops.Fdatasync, ops.SyncRange, ops.Close)
"""Operations on a file that leave its inode alone, but for blocks that are written back."""


class _Saved(NamedTuple):
    """A file as a commit left it.

    `stale` are its written blocks whose content on disk is older than `content`.
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
    content: Content
    stale: frozenset[int]


class Durable:
    """What a crash would leave: files and free clusters as of the last commit."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self._files: dict[str, _Saved] = {}
        self._free = mount.sb.free.sum()
        self._touched: set[str] = set()
        self._flushed: set[int] = set()

    def note(self, op: ops.AnyOp) -> None:
        """The files that `op` named have changes in the running transaction."""
        if isinstance(op, ops.FileOp) and not isinstance(op, _NO_CHANGE):
            self._touched.add(op.file)
            if isinstance(op, ops.CopyRange | ops.Sendfile | ops.Splice | ops.Rename):
                self._touched.add(op.to)

    def flushed(self, inode: Inode) -> None:
        """Data of `inode` is written without a commit."""
        self._flushed.add(id(inode))

    def commit(self) -> None:
        """The running transaction commits (jbd2_journal_commit_transaction)."""
        self._files = {name: self._save(name, file) for name, file in self.mount.files.items()}
        self._free = self.mount.sb.free.sum()
        self._touched.clear()
        self._flushed.clear()

    def sync(self, inode: Inode, datasync: bool) -> None:
        """fsync(2) commits if the inode has changed, fdatasync(2) if more than times have
        (ext4_fsync_journal)."""
        saved = self._files.get(inode.name)
        changed = saved is None or saved.inode is not inode or _map_of(inode) != _saved_map(saved)
        if changed or (not datasync and inode.name in self._touched):
            self.commit()

    def _save(self, name: str, inode: Inode) -> _Saved:
        before = self._files.get(name)
        known = before if before is not None and before.inode is inode else None
        return _Saved(
            inode, inode.disksize, inode.uid, inode.flags, _map_of(inode)[1],
            copy.deepcopy(inode.tree), copy.deepcopy(inode.indirect),
            inode.tree_blocks, inode.tree_unknown, inode.allocated,
            copy.deepcopy(inode.content), frozenset(self._stale(inode, known)),
        )  # fmt: skip

    def _stale(self, inode: Inode, before: _Saved | None) -> Iterable[int]:
        """Written blocks that are dirty still after the commit. In ordered mode it has
        written those that were new (jbd2_submit_inode_data), in journal mode all."""
        sb = inode.sb
        if sb.data_journal:
            return
        old = _written(before.runs) if before is not None else set()
        dirty = _dirty(inode)
        for block in _written(inode.es) & dirty:
            if not sb.data_ordered or block in old:
                yield block

    def recover(self) -> None:
        """Replay the journal and start again from it (ext4_load_journal)."""
        mount = self.mount
        for inode in mount.files.values():
            inode.remove_status(0, EOF_BLOCK)
        files = {name: self._restore(name, saved) for name, saved in self._files.items()}
        mount.files.clear()
        mount.files.update(files)
        mount.sb.free = PerCpuCounter(self._free)
        mount.sb.dirty = PerCpuCounter(0)
        mount.sb.free_pending = 0

    def _restore(self, name: str, saved: _Saved) -> Inode:
        fresh = Inode(self.mount.sb, name)
        fresh.size = fresh.disksize = saved.size
        fresh.uid, fresh.flags = saved.uid, saved.flags
        for run in saved.runs:
            fresh.es.set(run)
        fresh.tree, fresh.indirect = saved.tree, saved.indirect
        fresh.tree_blocks, fresh.tree_unknown = saved.tree_blocks, saved.tree_unknown
        fresh.allocated = saved.allocated
        self._restore_content(fresh, saved)
        return fresh

    def _restore_content(self, fresh: Inode, saved: _Saved) -> None:
        """Content of each written block, as far as it can be told what was on disk."""
        size, live = fresh.sb.block_size, saved.inode
        alive = self.mount.files.get(fresh.name) is live
        dirty, unchanged = _dirty(live), _places(live) & _places(saved) if alive else set()
        for block in sorted(_written(saved.runs)):
            pos = block * size
            if (block in unchanged) and block not in dirty:
                fresh.content.write(pos, live.content.read(pos, size))
            elif block in saved.stale or id(live) in self._flushed:
                fresh.content.lose(pos, pos + size)
            else:
                fresh.content.write(pos, saved.content.read(pos, size))
        fresh.content.zero(fresh.size)


def _map_of(inode: Inode) -> tuple[int, tuple[Run, ...], int]:
    return inode.disksize, tuple(r for r in inode.es if r.state != DELAYED), inode.tree_blocks


def _saved_map(saved: _Saved) -> tuple[int, tuple[Run, ...], int]:
    return saved.size, saved.runs, saved.tree_blocks


def _written(runs: Iterable[Run]) -> set[int]:
    return {b for run in runs if run.state == WRITTEN for b in range(run.start, run.end)}


def _places(file: Inode | _Saved) -> set[int]:
    """Written blocks; of an inode those that are written now."""
    return _written(file.es if isinstance(file, Inode) else file.runs)


def _dirty(inode: Inode) -> set[int]:
    cache = inode.cache
    return {
        cache.first_block(folio) + bit
        for folio in cache.dirty_folios()
        for bit in range(folio.count)
        if folio.dirty >> bit & 1
    }


def shut_down(mount: Mount, flags: int) -> None:
    """Stop the file system. Raises `OpError`, and `NotModelledError` without a journal."""
    if not 0 <= flags <= NO_LOG_FLUSH:
        raise OpError("EINVAL")
    if mount.sb.shut_down:
        return
    if not mount.sb.journal or mount.sb.inline:
        lacking = "without a journal" if not mount.sb.journal else "with inline data"
        raise NotModelledError(f"a shutdown {lacking} is not modelled")
    if flags == DEFAULT:
        mount.sync()
    elif flags == LOG_FLUSH:
        mount.commit()
    mount.sb.rule("shut down: ext4_force_shutdown")
    mount.sb.shut_down = True
