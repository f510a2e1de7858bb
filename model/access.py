"""Whether an operation may begin: append-only and immutable files, a file system that was
shut down or is read-only (fs/namei.c `may_open`, fs/open.c, fs/ext4/file.c).

Descriptors matter: an append-only file that is open already still takes pwrite(2) anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from model.after_shutdown import WRITES, check_reach, comes_first, refused
from model.errors import OpError
from model.eviction import read_inode
from model.inode import Inode
from model.mount import Mount
from model.units import MAX_LFS_FILESIZE
from workloads import ops

__all__ = ["APPEND_ONLY", "IMMUTABLE", "check_access", "open_all"]

IMMUTABLE = 0x10
"""EXT4_IMMUTABLE_FL."""
APPEND_ONLY = 0x20
"""EXT4_APPEND_FL."""

_BESIDE: dict[type[ops.Op], str] = {
    ops.Append: "O_APPEND",
    ops.DioWrite: "O_DIRECT",
    ops.SyncWrite: "O_SYNC",
    ops.DsyncWrite: "O_DSYNC",
}
"""Operations that use a second descriptor, and its flag."""

_ALLOCATE = (ops.Falloc, ops.FallocKeep)
_FALLOCATE = (
    *_ALLOCATE, ops.Punch, ops.Zero, ops.ZeroKeep, ops.Collapse, ops.Insert, ops.WriteZeroes,
)  # fmt: skip
_STORE = (ops.MmapWrite, ops.MmapIn, ops.MsyncWrite)
_COPY = (ops.CopyRange, ops.Sendfile, ops.Splice)
_BY_NAME = (ops.Otrunc, ops.Unlink, ops.Rename)


def check_access(mount: Mount, op: ops.AnyOp) -> None:
    """Raise `OpError` if `op` fails before it does anything; note the descriptors it opens."""
    check = _CHECKS.get(type(op))
    if check is not None:
        check(mount, op)
    if mount.sb.shut_down:
        check_reach(mount, op)


def _check_copy(mount: Mount, op: ops.CopyRange | ops.Sendfile | ops.Splice) -> None:
    """What reads one file and writes another opens both."""
    if op.to != op.file:
        _open(mount, op.file)
        mount.file(op.file)
    _check_file(mount, op, op.to)


def _check_one(mount: Mount, op: ops.FileOp) -> None:
    """What has one file opens that."""
    _check_file(mount, op, op.file)


def _check_file(mount: Mount, op: ops.FileOp, written: str) -> None:
    """The descriptors of the file `written`, and what its flags and a shutdown allow."""
    _open(mount, written)
    if type(op) in _BESIDE:
        _open_beside(mount, op.file, _BESIDE[type(op)])
    flags = _flags(mount, written)
    if mount.sb.shut_down and comes_first(op, bool(flags & APPEND_ONLY)):
        check_reach(mount, op)
    if flags & (APPEND_ONLY | IMMUTABLE):
        _check_flags(mount.files[written], op)


def _check_immutable(inode: Inode, flags: int) -> None:
    """Raise `OpError` if a file that stays immutable would get other flags, or has its data
    inline: no caller can give the flag for that, so it is missed
    (ext4_ioctl_check_immutable)."""
    if flags & inode.flags & IMMUTABLE and (flags != inode.flags or inode.inline):
        inode.sb.rule("stays immutable: ext4_ioctl_check_immutable")
        raise OpError("EPERM")


def _flags(mount: Mount, name: str) -> int:
    inode = mount.files.get(name)
    return 0 if inode is None else inode.flags


def _open(mount: Mount, name: str) -> None:
    """open(O_RDWR|O_CREAT) of a file, unless it is open."""
    if name in mount.open:
        return
    _look_up(mount, name)
    if mount.sb.read_only:
        raise OpError("EROFS")
    if _flags(mount, name) & (APPEND_ONLY | IMMUTABLE):
        mount.sb.rule("protected file: may_open")
        raise OpError("EPERM")
    if mount.sb.shut_down:
        raise refused(mount)
    inode = mount.files.get(name)
    if inode is not None:
        read_inode(mount, inode)


def _look_up(mount: Mount, name: str) -> None:
    """The inode is read, which fails if its checksum is wrong (ext4_lookup, ext4_iget)."""
    inode = mount.files.get(name)
    if inode is not None and inode.unreadable:
        raise OpError("EBADMSG")


def open_all(mount: Mount, calls: Iterable[ops.Call]) -> None:
    """Open what the `calls` of a parallel section use, in this order, before any of them begins.
    Raises `OpError`; then none of them is made."""
    for call in calls:
        if not isinstance(call, ops.FileOp):
            continue
        _open(mount, call.file)
        mount.file(call.file)
        if isinstance(call, ops.SyncWrite | ops.DsyncWrite):
            _open_beside(mount, call.file, _BESIDE[type(call)])


def _open_beside(mount: Mount, name: str, flag: str) -> None:
    """open(O_RDWR) once more, with `flag`."""
    opened = mount.beside.setdefault(name, set())
    if flag in opened:
        return
    flags = _flags(mount, name)
    if flags & IMMUTABLE or (flags & APPEND_ONLY and flag != "O_APPEND"):
        mount.sb.rule("protected file: may_open")
        mount.file(name)
        raise OpError("EPERM")
    if mount.sb.shut_down:
        raise refused(mount)
    opened.add(flag)
    if name in mount.files:
        mount.files[name].errors.opened(flag)


def _check_names(mount: Mount, op: ops.Otrunc | ops.Unlink | ops.Rename) -> None:
    """open(O_TRUNC), unlink(2) and rename(2) close the descriptors, then go by name."""
    names = [op.file, op.to] if isinstance(op, ops.Rename) else [op.file]
    protected = any(_flags(mount, name) & (APPEND_ONLY | IMMUTABLE) for name in names)
    if len(set(names)) == 2 and op.file in mount.files and not protected:
        mount.sb.placer.renamed(*names)  # which closing may write back
    for name in names:
        mount.close(name)
    for name in names:
        _look_up(mount, name)
    if not mount.directory.finds(op.file, mount.files.keys()):
        raise OpError(
            "EROFS" if mount.sb.read_only and not isinstance(op, ops.Otrunc) else "ENOENT"
        )
    if mount.sb.read_only:
        raise OpError("EROFS")
    if len(set(names)) == len(names) and protected:
        mount.sb.rule("protected file: may_delete")
        raise OpError("EPERM")
    if mount.sb.shut_down and len(set(names)) == len(names):
        raise refused(mount)


def _check_flags(inode: Inode, op: ops.FileOp) -> None:
    """What an open descriptor of a protected file still may do."""
    if isinstance(op, ops.SetFlags):  # before a transaction is asked for
        _check_immutable(inode, op.flags)
    error = _refusal(inode, op)
    if error:
        inode.sb.rule("protected file: IS_APPEND, IS_IMMUTABLE")
        raise OpError(error)


def _refusal(inode: Inode, op: ops.FileOp) -> str:
    """The errno's name, empty if the operation may go on."""
    immutable = bool(inode.flags & IMMUTABLE)
    if isinstance(op, _FALLOCATE):
        wrong = op.off < 0 or op.len <= 0
        return "EPERM" if not wrong and (immutable or not isinstance(op, _ALLOCATE)) else ""
    if isinstance(op, _STORE):
        return _store_refusal(inode, op)
    if isinstance(op, ops.Truncate):
        return "EPERM" if op.size >= 0 else ""
    if isinstance(op, ops.Chown):
        return "EPERM"
    refused = isinstance(op, ops.CopyRange) or (isinstance(op, WRITES) and _gets_to_ext4(op))
    return "EPERM" if immutable and refused else ""


def _gets_to_ext4(op: ops.FileOp) -> bool:
    """Whether the VFS takes the range of a write (rw_verify_area), and an empty vector not even
    then (vfs_writev)."""
    if isinstance(op, ops.Append):
        return True
    if isinstance(op, ops.Pwritev):
        length = sum(segment for segment, _ in op.segs)
        return length > 0 and 0 <= op.off <= MAX_LFS_FILESIZE - length
    assert isinstance(op, ops.RangeOp | ops.RlimitWrite | ops.UserWrite)
    return 0 <= op.off <= MAX_LFS_FILESIZE - op.len


def _store_refusal(inode: Inode, op: ops.FileOp) -> str:
    """A shared writable mapping of an append-only file is refused (do_mmap). A store to an
    immutable one gets as far as ext4_page_mkwrite."""
    if isinstance(op, ops.MmapIn):
        empty = not inode.size or not op.len
    else:
        assert isinstance(op, ops.RangeOp)
        empty = not op.len or op.off + op.len > inode.size
    return "EACCES" if not empty and inode.flags & APPEND_ONLY else ""


_CHECKS: dict[type[Any], Callable[[Mount, Any], None]] = {
    **{kind: _check_one for kind in ops.BY_WORD.values()
       if issubclass(kind, ops.FileOp) and kind is not ops.Close},
    **dict.fromkeys(_COPY, _check_copy),
    **dict.fromkeys(_BY_NAME, _check_names),
}  # fmt: skip
"""How each operation on files gets at them."""
