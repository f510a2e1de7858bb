"""The operations on limits, quota, flags and copies: what carries out each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.errors import NotModelledError
from harness.trace import Result
from model.access import APPEND_ONLY, IMMUTABLE
from model.after_shutdown import MAX_SEGMENTS
from model.errors import OpError
from model.fallocate import write_zeroes
from model.file_write import buffered_write
from model.limits import limited_write
from model.mmap import tagged_store
from model.mount import Mount
from model.remount_options import remount_options
from model.seek import data_ranges
from model.shutdown import shut_down
from model.source import Source
from model.splice import sendfile, splice
from model.units import PAGE, round_down, round_up
from workloads import ops
from workloads.content import pattern_view

__all__ = ["HANDLERS"]


def _pwritev(mount: Mount, op: ops.Pwritev) -> Result:
    if len(op.segs) > MAX_SEGMENTS:
        raise OpError("EINVAL")
    return buffered_write(mount.file(op.file), op.off, segments(op))


def segments(op: ops.Pwritev) -> Source:
    """The vector as one buffer that can be read up to the first page that faults."""
    total = sum(length for length, _ in op.segs)
    readable = 0
    for length, limit in op.segs:
        first = length if limit is None else max(round_down(limit, PAGE), 0)
        if first < length:
            return Source(pattern_view(op.tag, op.off, total), readable + first)
        readable += length
    return Source(pattern_view(op.tag, op.off, total))


def _rlimit_write(mount: Mount, op: ops.RlimitWrite) -> Result:
    source = Source.tagged(op.tag, op.off, op.len)
    return limited_write(mount.file(op.file), op.off, source, op.limit)


def _quota_set(mount: Mount, op: ops.QuotaSet) -> Result:
    mount.sb.quota.set_limit(op.uid, op.hard)
    return 0


def _chown(mount: Mount, op: ops.Chown) -> Result:
    """Usage and reservation go along; root may exceed the new owner's limit
    (dquot_transfer)."""
    inode = mount.file(op.file)
    old = inode.uid
    mount.sb.quota.warnings.transferred(inode, op.uid)
    inode.uid = op.uid
    if mount.sb.quota.tracked and old != op.uid:
        mount.sb.quota.freed(old)
    inode.file_modified()
    mount.sb.quota.enter(op.uid)
    return 0


def _user_write(mount: Mount, op: ops.UserWrite) -> Result:
    inode = mount.file(op.file)
    mount.sb.root = op.uid == 0
    try:
        return buffered_write(inode, op.off, Source.tagged(op.tag, op.off, op.len))
    finally:
        mount.sb.root = True


def _sync_write(mount: Mount, op: ops.SyncWrite | ops.DsyncWrite) -> Result:
    """Only the range written is flushed (generic_write_sync)."""
    inode = mount.file(op.file)
    wrote = buffered_write(inode, op.off, Source.tagged(op.tag, op.off, op.len))
    if wrote:
        datasync = isinstance(op, ops.DsyncWrite)
        descriptor = "O_DSYNC" if datasync else "O_SYNC"
        mount.fsync(inode, op.off, op.off + wrote, datasync, descriptor)
    return wrote


def _seek(mount: Mount, op: ops.Seek) -> Result:
    return data_ranges(mount.file(op.file))


def _remount_opts(mount: Mount, op: ops.RemountOpts) -> Result:
    remount_options(mount, op.opts)
    return 0


def _shutdown(mount: Mount, op: ops.Shutdown) -> Result:
    shut_down(mount, op.flags)
    return 0


def _setflags(mount: Mount, op: ops.SetFlags) -> Result:
    """A file that becomes immutable is written back first (ext4_ioctl_setflags)."""
    if other := op.flags & ~(APPEND_ONLY | IMMUTABLE):
        raise NotModelledError(f"setflags {other:#x}: append-only and immutable are modelled")
    inode = mount.file(op.file)
    if op.flags & IMMUTABLE and not inode.flags & IMMUTABLE:
        mount.sb.rule("write back before immutable: ext4_ioctl_setflags")
        mount.flush_and_tell(inode, 0, None)
    inode.flags = op.flags
    inode.inode_changed()
    return 0


def _sendfile(mount: Mount, op: ops.Sendfile) -> Result:
    source, target = mount.file(op.file), mount.file(op.to)
    return sendfile(source, op.off, target, op.dst, op.len)


def _splice(mount: Mount, op: ops.Splice) -> Result:
    source, target = mount.file(op.file), mount.file(op.to)
    return splice(source, op.off, target, op.dst, op.len)


def _write_zeroes(mount: Mount, op: ops.WriteZeroes) -> Result:
    write_zeroes(mount.file(op.file), op.off, op.len)
    return 0


def _msync_write(mount: Mount, op: ops.MsyncWrite) -> Result:
    """msync(2) of the whole pages that the mapping covers."""
    inode = mount.file(op.file)
    end = op.off + op.len
    if end > inode.size:
        return "SKIP"
    if op.len:
        tagged_store(inode, op.off, op.len, op.tag)
        mount.fsync(inode, round_down(op.off, PAGE), round_up(end, PAGE), datasync=False)
    return op.len


HANDLERS: dict[type[Any], Callable[[Mount, Any], Result]] = {
    ops.Pwritev: _pwritev,
    ops.RlimitWrite: _rlimit_write,
    ops.QuotaSet: _quota_set,
    ops.Chown: _chown,
    ops.UserWrite: _user_write,
    ops.SyncWrite: _sync_write,
    ops.DsyncWrite: _sync_write,
    ops.Seek: _seek,
    ops.RemountOpts: _remount_opts,
    ops.Shutdown: _shutdown,
    ops.SetFlags: _setflags,
    ops.Sendfile: _sendfile,
    ops.Splice: _splice,
    ops.WriteZeroes: _write_zeroes,
    ops.MsyncWrite: _msync_write,
}
