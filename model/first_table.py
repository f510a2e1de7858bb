"""The operations on data, space, writeback and names: what carries out each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from harness.trace import Result
from model import fallocate, shift_range
from model.copy_range import copy_file_range
from model.direct_io import dio_write
from model.errors import OpError
from model.eviction import drop_caches
from model.file_write import buffered_write, max_size, rw_verify_area
from model.mmap import tagged_store
from model.mount import Mount
from model.readahead import read_pages
from model.source import Source
from model.truncate import setattr_size
from model.units import MAX_LFS_FILESIZE
from workloads import ops
from workloads.content import pattern_view

__all__ = ["HANDLERS"]


# --- data -----------------------------------------------------------------------------


def _write(mount: Mount, op: ops.Write) -> Result:
    inode = mount.file(op.file)
    return buffered_write(inode, op.off, Source.tagged(op.tag, op.off, op.len))


def _append(mount: Mount, op: ops.Append) -> Result:
    inode = mount.file(op.file)
    pos = inode.size
    return buffered_write(inode, pos, Source.tagged(op.tag, pos, op.len))


def _write_fault(mount: Mount, op: ops.WriteFault) -> Result:
    inode = mount.file(op.file)
    return buffered_write(inode, op.off, Source.tagged(op.tag, op.off, op.len, op.fault))


def _read(mount: Mount, op: ops.Read) -> Result:
    inode = mount.file(op.file)
    rw_verify_area(op.off, op.len)
    count = max(min(op.len, inode.size - op.off), 0)
    if count:
        count = read_pages(inode, op.off, op.len) - op.off
    return hashlib.md5(inode.content.read(op.off, count)).hexdigest()


def _dio_write(mount: Mount, op: ops.DioWrite) -> Result:
    return dio_write(mount.file(op.file), op.off, pattern_view(op.tag, op.off, op.len))


def _mmap_write(mount: Mount, op: ops.MmapWrite) -> Result:
    inode = mount.file(op.file)
    if op.off + op.len > inode.size:
        return "SKIP"
    tagged_store(inode, op.off, op.len, op.tag)
    return op.len


def _mmap_in(mount: Mount, op: ops.MmapIn) -> Result:
    inode = mount.file(op.file)
    if not inode.size:
        return 0
    pos = int(op.p * inode.size)
    count = min(op.len, inode.size - pos)
    tagged_store(inode, pos, count, op.tag)
    return count


def _copy_range(mount: Mount, op: ops.CopyRange) -> Result:
    source, target = mount.file(op.file), mount.file(op.to)
    return copy_file_range(source, op.off, target, op.dst, op.len)


# --- space ----------------------------------------------------------------------------


def _falloc(mount: Mount, op: ops.Falloc) -> Result:
    fallocate.allocate(mount.file(op.file), op.off, op.len, keep_size=False)
    return 0


def _falloc_keep(mount: Mount, op: ops.FallocKeep) -> Result:
    fallocate.allocate(mount.file(op.file), op.off, op.len, keep_size=True)
    return 0


def _punch(mount: Mount, op: ops.Punch) -> Result:
    fallocate.punch_hole(mount.file(op.file), op.off, op.len)
    return 0


def _zero(mount: Mount, op: ops.Zero) -> Result:
    fallocate.zero_range(mount.file(op.file), op.off, op.len, keep_size=False)
    return 0


def _zero_keep(mount: Mount, op: ops.ZeroKeep) -> Result:
    fallocate.zero_range(mount.file(op.file), op.off, op.len, keep_size=True)
    return 0


def _collapse(mount: Mount, op: ops.Collapse) -> Result:
    shift_range.collapse_range(mount.file(op.file), op.off, op.len)
    return 0


def _insert(mount: Mount, op: ops.Insert) -> Result:
    shift_range.insert_range(mount.file(op.file), op.off, op.len)
    return 0


def _truncate(mount: Mount, op: ops.Truncate) -> Result:
    inode = mount.file(op.file)
    if op.size < 0:
        raise OpError("EINVAL")
    if op.size > max_size(inode):
        raise OpError("EFBIG")
    setattr_size(inode, op.size)
    return 0


# --- writeback and caches -------------------------------------------------------------


def _fsync(mount: Mount, op: ops.Fsync | ops.Fdatasync) -> Result:
    mount.fsync(mount.file(op.file), 0, None, datasync=isinstance(op, ops.Fdatasync))
    return 0


def _sync_range(mount: Mount, op: ops.SyncRange) -> Result:
    inode = mount.file(op.file)
    if op.off < 0 or op.len < 0 or op.off + op.len > MAX_LFS_FILESIZE:
        raise OpError("EINVAL")
    mount.check_writeback(inode)
    mount.flush_range(inode, op.off, op.off + op.len if op.len else None)
    mount.check_writeback(inode)
    return 0


def _sync(mount: Mount, _op: ops.Sync) -> Result:
    mount.sync_all()
    return 0


def _drop_caches(mount: Mount, _op: ops.DropCaches) -> Result:
    drop_caches(mount)
    return 0


def _remount(mount: Mount, _op: ops.Remount) -> Result:
    mount.remount()
    return 0


# --- names and descriptors --------------------------------------------------------------


def _close(mount: Mount, op: ops.Close) -> Result:
    mount.close(op.file)
    return 0


def _otrunc(mount: Mount, op: ops.Otrunc) -> Result:
    mount.close(op.file)
    inode = mount.files.get(op.file)
    if inode is None:
        raise OpError("ENOENT")
    setattr_size(inode, 0)
    mount.release(inode)
    return 0


def _unlink(mount: Mount, op: ops.Unlink) -> Result:
    mount.close(op.file)
    if op.file not in mount.files:
        raise OpError("ENOENT")
    mount.remove(op.file)
    return 0


def _rename(mount: Mount, op: ops.Rename) -> Result:
    mount.close(op.file)
    mount.close(op.to)
    inode = mount.files.get(op.file)
    if inode is None:
        raise OpError("ENOENT")
    if op.file == op.to:
        return 0
    if op.to in mount.files:
        if mount.sb.auto_da_alloc:
            mount.alloc_da_blocks(inode)
        mount.remove(op.to)
    mount.files[op.to] = mount.files.pop(op.file)
    mount.directory.changed = True
    inode.name = op.to
    inode.inode_changed()
    mount.sb.placer.replaced(op.to)
    return 0


HANDLERS: dict[type[Any], Callable[[Mount, Any], Result]] = {
    ops.Write: _write,
    ops.Append: _append,
    ops.WriteFault: _write_fault,
    ops.Read: _read,
    ops.DioWrite: _dio_write,
    ops.MmapWrite: _mmap_write,
    ops.MmapIn: _mmap_in,
    ops.CopyRange: _copy_range,
    ops.Falloc: _falloc,
    ops.FallocKeep: _falloc_keep,
    ops.Punch: _punch,
    ops.Zero: _zero,
    ops.ZeroKeep: _zero_keep,
    ops.Collapse: _collapse,
    ops.Insert: _insert,
    ops.Truncate: _truncate,
    ops.Fsync: _fsync,
    ops.Fdatasync: _fsync,
    ops.SyncRange: _sync_range,
    ops.Sync: _sync,
    ops.DropCaches: _drop_caches,
    ops.Remount: _remount,
    ops.Close: _close,
    ops.Otrunc: _otrunc,
    ops.Unlink: _unlink,
    ops.Rename: _rename,
}
"""How each operation of the first table is carried out."""
