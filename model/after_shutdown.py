"""How far an operation gets on a file system that was shut down (`ext4_emergency_state`).

What fails before ext4 is asked fails as ever, and what changes nothing succeeds as ever. The
rest is EIO: at the check that most of ext4's entries begin with, or where a transaction would
start (ext4_journal_check_start). `check_access` has seen to the descriptors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model.errors import OpError
from model.file_write import max_size
from model.inode import Inode
from model.mount import Mount
from model.units import MAX_LFS_FILESIZE, PAGE, PIPE_BUFFERS
from workloads import ops

__all__ = ["MAX_SEGMENTS", "WRITES", "check_reach", "comes_first", "not_predicted", "refused"]

MAX_SEGMENTS = 1024
"""IOV_MAX."""

PAGES_UNKNOWN = "what a failed operation has left of the page cache since the shutdown is not known"
DIRTY_UNKNOWN = "whether the last commits wrote all that was dirty is not known"

_Reach = Callable[[Mount, Inode, Any], bool]


def check_reach(mount: Mount, op: ops.Op) -> None:
    """Raise `OpError` (EIO) if `op`, whose files are open, gets as far as ext4's refusal."""
    if isinstance(op, ops.QuotaSet):
        if mount.sb.quota.tracked:
            raise refused(mount)
        return
    reaches = _REACHES.get(type(op))
    if reaches is None:
        return
    assert isinstance(op, ops.FileOp)
    inode = mount.files[op.file]
    if reaches(mount, inode, op):
        if isinstance(op, _DROP_PAGES):
            inode.states_unknown = PAGES_UNKNOWN
        raise refused(mount)


def refused(mount: Mount) -> OpError:
    """What ext4 says once it was shut down."""
    mount.sb.rule("shut down: ext4_emergency_state")
    return OpError("EIO")


def comes_first(op: ops.FileOp, append_only: bool) -> bool:
    """Whether ext4 refuses `op` before anyone looks at the file's flags: those of an immutable
    file the VFS leaves to ext4 (ext4_file_write_iter, ext4_setattr), or it reads first."""
    if isinstance(op, (*_STORES, ops.Truncate)):
        return not append_only
    return isinstance(op, (*WRITES, ops.Sendfile, ops.Splice))


def not_predicted(mount: Mount, op: ops.SyncRange) -> str:
    """Why nobody can know what `op` returned after a shutdown, empty if it is known."""
    if not mount.sb.shut_down or op.file not in mount.open:
        return ""
    unknown = _is_range(op) and _is_dirty(mount.files[op.file]) is None
    return DIRTY_UNKNOWN if unknown else ""


# --- operations -------------------------------------------------------------------------

WRITES = (
    ops.Write, ops.Append, ops.WriteFault, ops.DioWrite, ops.Pwritev, ops.RlimitWrite,
    ops.UserWrite, ops.SyncWrite, ops.DsyncWrite,
)  # fmt: skip
_STORES = (ops.MmapWrite, ops.MmapIn, ops.MsyncWrite)
_DROP_PAGES = (ops.Punch, ops.Zero, ops.ZeroKeep, ops.Collapse, ops.Insert)
"""What drops pages before it starts a transaction (ext4_truncate_page_cache_block_range,
truncate_pagecache)."""


def _always(_mount: Mount, _inode: Inode, _op: ops.FileOp) -> bool:
    return True


def _is_range(op: ops.RangeOp | ops.RlimitWrite) -> bool:
    """Whether the VFS takes the range (rw_verify_area, ksys_sync_file_range)."""
    return op.off >= 0 and op.len >= 0 and op.off + op.len <= MAX_LFS_FILESIZE


def _in_range(_mount: Mount, _inode: Inode, op: ops.RangeOp | ops.RlimitWrite) -> bool:
    return _is_range(op)


def _writes_segments(_mount: Mount, _inode: Inode, op: ops.Pwritev) -> bool:
    """Nothing is written of an empty vector (vfs_writev), nor of one that is too long."""
    total = sum(length for length, _ in op.segs)
    return op.off >= 0 and 0 < total <= MAX_LFS_FILESIZE - op.off and len(op.segs) <= MAX_SEGMENTS


def _writes_directly(_mount: Mount, _inode: Inode, op: ops.DioWrite) -> bool:
    return _is_range(op) and op.len > 0


def _truncates(_mount: Mount, _inode: Inode, op: ops.Truncate) -> bool:
    return op.size >= 0


def _stores(_mount: Mount, inode: Inode, op: ops.RangeOp) -> bool:
    """Mapping fails (ext4_file_mmap_prepare), if the range calls for one."""
    return op.len > 0 and op.off + op.len <= inode.size


def _stores_in(_mount: Mount, inode: Inode, op: ops.MmapIn) -> bool:
    return op.len > 0 and int(op.p * inode.size) < inode.size


def _copies(mount: Mount, inode: Inode, op: ops.CopyRange) -> bool:
    """What is past EOF is not copied, nor what overlaps (generic_copy_file_checks)."""
    if op.off < 0 or op.dst < 0 or op.len < 0 or op.dst >= inode.sb.maxbytes:
        return False
    count = max(min(op.len, inode.size - op.off), 0)
    overlaps = mount.files[op.to] is inode and op.off < op.dst + count and op.dst < op.off + count
    return count > 0 and not overlaps


def _sends(mount: Mount, inode: Inode, op: ops.Sendfile) -> bool:
    """Reading fails, past EOF too (ext4_file_splice_read), if lseek(2) has found the byte to write
    to, and the file could have the one to read (do_sendfile)."""
    found = op.dst <= max_size(mount.files[op.to])
    return found and op.len > 0 and _is_range(op) and op.off < inode.sb.maxbytes


def _splices(_mount: Mount, _inode: Inode, op: ops.Splice) -> bool:
    """The same for as much as the pipe takes at a time (do_splice)."""
    return op.len > 0 and op.off + min(op.len, PIPE_BUFFERS * PAGE) <= MAX_LFS_FILESIZE


def _syncs_range(_mount: Mount, inode: Inode, op: ops.SyncRange) -> bool:
    """Any dirty page of the file lets ext4_writepages refuse, in the range or not
    (filemap_writeback)."""
    return _is_range(op) and bool(_is_dirty(inode))


# --- fallocate(2) -----------------------------------------------------------------------


def _allocates(_mount: Mount, inode: Inode, op: ops.RangeOp) -> bool:
    """Without extents there is nothing to start for (ext4_do_fallocate, ext4_zero_range)."""
    return _is_fallocate(inode, op) and (inode.inline or inode.extents)


def _punches(_mount: Mount, inode: Inode, op: ops.Punch) -> bool:
    """Past EOF there is nothing to punch (ext4_punch_hole)."""
    if not _is_fallocate(inode, op):
        return False
    if inode.inline:
        return True
    size = inode.sb.block_size
    last = inode.sb.maxbytes if inode.extents else inode.sb.bitmap_maxbytes - size
    return op.off < min(inode.size, last)


def _collapses(_mount: Mount, inode: Inode, op: ops.Collapse) -> bool:
    return _shifts(inode, op, op.off + op.len)


def _inserts(_mount: Mount, inode: Inode, op: ops.Insert) -> bool:
    return _shifts(inode, op, op.off) and inode.size + op.len <= inode.sb.maxbytes


def _shifts(inode: Inode, op: ops.RangeOp, until: int) -> bool:
    """Whole clusters are shifted, within the file (ext4_collapse_range, ext4_insert_range)."""
    if not _is_fallocate(inode, op):
        return False
    if inode.inline:
        return True
    cluster = inode.sb.block_size * inode.sb.ratio
    return inode.extents and not op.off % cluster and not op.len % cluster and until < inode.size


def _is_fallocate(inode: Inode, op: ops.RangeOp) -> bool:
    """Whether the VFS takes the range (vfs_fallocate). Inline data would be converted next
    (ext4_convert_inline_data), which takes a transaction."""
    return op.off >= 0 and op.len > 0 and op.off + op.len <= inode.sb.maxbytes


# --- dirty pages ------------------------------------------------------------------------


def _is_dirty(inode: Inode) -> bool | None:
    """Whether the page cache of the file has a dirty page; None if that is not known.

    With data=journal pages become dirty when a commit has written the journal, which the
    model does not follow.
    """
    sb, cache = inode.sb, inode.cache
    if inode.states_unknown is not None:
        return None
    if not cache.dirty:
        return False
    return None if sb.data_journal else True


_REACHES: dict[type[Any], _Reach] = {
    **dict.fromkeys(WRITES, _in_range),
    ops.Append: _always,
    ops.Pwritev: _writes_segments,
    ops.DioWrite: _writes_directly,
    ops.Read: _in_range,
    ops.Truncate: _truncates,
    ops.Chown: _always,
    ops.SetFlags: _always,
    ops.Fsync: _always,
    ops.Fdatasync: _always,
    ops.SyncRange: _syncs_range,
    ops.MmapWrite: _stores,
    ops.MsyncWrite: _stores,
    ops.MmapIn: _stores_in,
    ops.CopyRange: _copies,
    ops.Sendfile: _sends,
    ops.Splice: _splices,
    ops.Falloc: _allocates,
    ops.FallocKeep: _allocates,
    ops.Zero: _allocates,
    ops.ZeroKeep: _allocates,
    ops.Punch: _punches,
    ops.Collapse: _collapses,
    ops.Insert: _inserts,
}
