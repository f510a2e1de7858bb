"""Executes operations: one function per kind, found by the operation's tag.

An operation arrives as the JSON object that `workloads.ops` encodes to. A function
returns what the system call returned, or raises `OSError`; `execute` turns that into
the errno's name.
"""

from __future__ import annotations

import fcntl
import os

from . import data, libc
from .context import Context, errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Operation, Outcome

__all__ = ["OPERATIONS", "drop_caches", "execute"]

FALLOCATE_MODES = {
    "falloc": 0,
    "falloc_keep": 1,
    "punch": 3,
    "zero": 0x10,
    "zero_keep": 0x11,
    "collapse": 8,
    "insert": 0x20,
    "write_zeroes": 0x80,
}
EXT4_IOC_SHUTDOWN = 0x8004587D
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
APPEND_ONLY_OR_IMMUTABLE = 0x30
SYNC_RANGE_WAIT_WRITE_WAIT = 7
DROP_CACHES = (b"3", b"2", b"2", b"3")
"""What is dropped in each round: 1 is pages, 2 names and inodes. A used name, and then a used
inode, each get a second chance; looking through all pages is what takes long."""


def execute(context: Context, op: Operation) -> Outcome:
    """Execute `op`; its result, or the errno's name. `KeyError` if there is no such kind."""
    function = OPERATIONS[op["op"]]
    try:
        return function(context, op)
    except OSError as error:
        return errno_name(error)


def _fallocate(context: Context, op: Operation) -> Outcome:
    fd = context.files.main(op["file"])
    return libc.fallocate(fd, FALLOCATE_MODES[op["op"]], op["off"], op["len"])


def _truncate(context: Context, op: Operation) -> Outcome:
    os.ftruncate(context.files.main(op["file"]), op["size"])
    return 0


def _fsync(context: Context, op: Operation) -> Outcome:
    os.fsync(context.files.main(op["file"]))
    return 0


def _fdatasync(context: Context, op: Operation) -> Outcome:
    os.fdatasync(context.files.main(op["file"]))
    return 0


def _sync_range(context: Context, op: Operation) -> Outcome:
    fd = context.files.main(op["file"])
    return libc.sync_file_range(fd, op["off"], op["len"], SYNC_RANGE_WAIT_WRITE_WAIT)


def _sync(_context: Context, _op: Operation) -> Outcome:
    os.sync()
    return 0


def drop_caches() -> None:
    """Drop all that is clean and that nobody uses.

    Once is not enough: names and inodes that were used since the last time get a second
    chance, and whether the kernel goes round again by itself depends on how much else it
    found to free (drop_slab).
    """
    fd = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
    try:
        for what in DROP_CACHES:
            os.pwrite(fd, what, 0)  # anywhere else it is not looked at
    finally:
        os.close(fd)


def _drop_caches(_context: Context, _op: Operation) -> Outcome:
    drop_caches()
    return 0


def _remount(context: Context, _op: Operation) -> Outcome:
    context.remount()
    context.shut_down = False
    return 0


def _remount_opts(context: Context, op: Operation) -> Outcome:
    flags = libc.MS_REMOUNT | libc.MS_NOATIME
    libc.mount(context.device, context.files.root, "ext4", flags, op["opts"])
    return 0


def _close(context: Context, op: Operation) -> Outcome:
    context.files.close(op["file"])
    return 0


def _otrunc(context: Context, op: Operation) -> Outcome:
    context.files.close(op["file"])
    os.close(os.open(context.files.path(op["file"]), os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC))
    return 0


def _unlink(context: Context, op: Operation) -> Outcome:
    context.files.close(op["file"])
    os.unlink(context.files.path(op["file"]))
    return 0


def _rename(context: Context, op: Operation) -> Outcome:
    context.files.close(op["file"])
    context.files.close(op["to"])
    os.rename(context.files.path(op["file"]), context.files.path(op["to"]))
    return 0


def _quota_set(context: Context, op: Operation) -> Outcome:
    return libc.set_quota(context.device, op["uid"], op["hard"])


def _chown(context: Context, op: Operation) -> Outcome:
    os.fchown(context.files.main(op["file"]), op["uid"], -1)
    return 0


def _shutdown(context: Context, op: Operation) -> Outcome:
    fd = os.open(context.files.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, op["flags"].to_bytes(4, "little"))
    finally:
        os.close(fd)
    context.shut_down = True
    return 0


def _setflags(context: Context, op: Operation) -> Outcome:
    fd = context.files.main(op["file"])
    old = int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(4)), "little")
    new = old & ~APPEND_ONLY_OR_IMMUTABLE | op["flags"]
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, new.to_bytes(4, "little"))
    return 0


OPERATIONS: dict[str, Callable[[Context, Operation], Outcome]] = {
    "write": data.write,
    "append": data.append,
    "write_fault": data.write_fault,
    "read": data.read,
    "dio_write": data.dio_write,
    "mmap_write": data.mmap_write,
    "mmap_in": data.mmap_in,
    "copy_range": data.copy_range,
    **dict.fromkeys(FALLOCATE_MODES, _fallocate),
    "truncate": _truncate,
    "fsync": _fsync,
    "fdatasync": _fdatasync,
    "sync_range": _sync_range,
    "sync": _sync,
    "drop_caches": _drop_caches,
    "remount": _remount,
    "close": _close,
    "otrunc": _otrunc,
    "unlink": _unlink,
    "rename": _rename,
    "pwritev": data.pwritev,
    "rlimit_write": data.rlimit_write,
    "quota_set": _quota_set,
    "chown": _chown,
    "user_write": data.user_write,
    "sync_write": data.sync_write,
    "dsync_write": data.sync_write,
    "seek": data.seek,
    "remount_opts": _remount_opts,
    "shutdown": _shutdown,
    "setflags": _setflags,
    "sendfile": data.sendfile,
    "splice": data.splice,
    "msync_write": data.mmap_write,
}
