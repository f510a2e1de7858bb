"""Executes operations: one function per kind, named by the operation's tag.

An operation arrives as the JSON object that `workloads.ops` encodes to. A function
returns what the system call returned, or raises `OSError`; `execute` turns that into
the errno's name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from . import libc
from .content import pattern
from .files import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Operation = dict[str, Any]
    Outcome = int | str | list[list[int]]

__all__ = ["OPERATIONS", "Context", "data_ranges", "errno_name", "execute"]

PAGE = 4096
PIECE = 65536
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


class Context:
    """What operations act on: the open files and the mount.

    `remount` unmounts and mounts again; `device` is the block device's path. `shut_down`
    tells that the file system was shut down since it was mounted.
    """

    def __init__(self, files: Files, device: str, remount: Callable[[], None]) -> None:
        self.files = files
        self.device = device
        self.remount = remount
        self.shut_down = False


def errno_name(error: OSError) -> str:
    """The errno's name as recordings write it; `E<number>` for one without a name."""
    number = error.errno or 0
    if number == errno.ENOTSUP:
        return "ENOTSUP"
    if number == errno.EAGAIN:
        return "EAGAIN"
    return errno.errorcode.get(number, f"E{number}")


def execute(context: Context, op: Operation) -> Outcome:
    """Execute `op`; its result, or the errno's name. `KeyError` if there is no such kind."""
    function = OPERATIONS[op["op"]]
    try:
        return function(context, op)
    except OSError as error:
        return errno_name(error)


def _write(context: Context, op: Operation) -> Outcome:
    data = pattern(op["tag"], op["off"], op["len"])
    return os.pwrite(context.files.main(op["file"]), data, op["off"])


def _append(context: Context, op: Operation) -> Outcome:
    fd = context.files.also(op["file"], os.O_APPEND)
    return os.write(fd, pattern(op["tag"], os.fstat(fd).st_size, op["len"]))


def _write_fault(context: Context, op: Operation) -> Outcome:
    fd = context.files.main(op["file"])
    with libc.Buffer(op["len"]) as buffer:
        buffer.store(pattern(op["tag"], op["off"], op["len"]))
        buffer.forbid(op["fault"])
        return libc.pwrite_at(fd, buffer.address, op["len"], op["off"])


def _read(context: Context, op: Operation) -> Outcome:
    from .digest import md5  # noqa: PLC0415 - rarely needed

    return md5(os.pread(context.files.main(op["file"]), op["len"], op["off"]))


def _dio_write(context: Context, op: Operation) -> Outcome:
    fd = context.files.also(op["file"], os.O_DIRECT)
    with libc.Buffer(op["len"]) as buffer:
        buffer.store(pattern(op["tag"], op["off"], op["len"]))
        return libc.pwritev_at(fd, [(buffer.address, op["len"])], op["off"])


def _sync_write(context: Context, op: Operation) -> Outcome:
    flag = os.O_SYNC if op["op"] == "sync_write" else os.O_DSYNC
    fd = context.files.also(op["file"], flag)
    return os.pwrite(fd, pattern(op["tag"], op["off"], op["len"]), op["off"])


def _pwritev(context: Context, op: Operation) -> Outcome:
    fd = context.files.main(op["file"])
    buffers, parts, offset = [], [], op["off"]
    try:
        for length, readable in op["segs"]:
            buffer = libc.Buffer(length)
            buffers.append(buffer)
            buffer.store(pattern(op["tag"], offset, length))
            if readable is not None:
                buffer.forbid(readable)
            parts.append((buffer.address, length))
            offset += length
        return libc.pwritev_at(fd, parts, op["off"])
    finally:
        for buffer in buffers:
            buffer.close()


def _rlimit_write(context: Context, op: Operation) -> Outcome:
    import resource  # noqa: PLC0415 - rarely needed

    fd = context.files.main(op["file"])
    data = pattern(op["tag"], op["off"], op["len"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (op["limit"], before[1]))
    try:
        return os.pwrite(fd, data, op["off"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _user_write(context: Context, op: Operation) -> Outcome:
    fd = context.files.main(op["file"])
    data = pattern(op["tag"], op["off"], op["len"])
    os.setegid(op["uid"])
    os.seteuid(op["uid"])
    try:
        return os.pwrite(fd, data, op["off"])
    finally:
        os.seteuid(0)
        os.setegid(0)


def _store(context: Context, op: Operation, offset: int, length: int, sync: bool) -> Outcome:
    """Store through a shared mapping, page by page from the lowest.

    Each page is made writable by MADV_POPULATE_WRITE before its store: the same fault,
    but one that fails (no space, shutdown) becomes a result instead of the agent's death.
    """
    fd = context.files.main(op["file"])
    if offset + length > os.fstat(fd).st_size:
        return "SKIP"
    if length == 0:
        return 0
    first = offset & ~(PAGE - 1)
    data = pattern(op["tag"], offset, length)
    with libc.Buffer(offset + length - first, fd, first) as mapping:
        at = offset
        while at < offset + length:
            end = min((at & ~(PAGE - 1)) + PAGE, offset + length)
            try:
                mapping.advise(libc.MADV_POPULATE_WRITE, (at & ~(PAGE - 1)) - first, PAGE)
            except OSError as error:
                if error.errno == errno.EFAULT:  # where a plain store gets SIGBUS
                    return "SIGBUS"
                raise
            mapping.store(data[at - offset : end - offset], at - first)
            at = end
        if sync:
            mapping.msync()
    return length


def _mmap_write(context: Context, op: Operation) -> Outcome:
    return _store(context, op, op["off"], op["len"], op["op"] == "msync_write")


def _mmap_in(context: Context, op: Operation) -> Outcome:
    size = os.fstat(context.files.main(op["file"])).st_size
    offset = min(int(op["p"] * size), size)
    return _store(context, op, offset, min(op["len"], size - offset), False)


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


def _drop_caches(_context: Context, _op: Operation) -> Outcome:
    fd = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
    try:
        os.write(fd, b"3")
    finally:
        os.close(fd)
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


def _copy_range(context: Context, op: Operation) -> Outcome:
    source, target = context.files.main(op["file"]), context.files.main(op["to"])
    return os.copy_file_range(source, target, op["len"], op["off"], op["dst"])


def _sendfile(context: Context, op: Operation) -> Outcome:
    source, target = context.files.main(op["file"]), context.files.main(op["to"])
    os.lseek(target, op["dst"], os.SEEK_SET)
    return os.sendfile(target, source, op["off"], op["len"])


def _splice(context: Context, op: Operation) -> Outcome:
    source, target = context.files.main(op["file"]), context.files.main(op["to"])
    read_end, write_end = os.pipe()
    done = 0
    try:
        while done < op["len"]:
            want = min(PIECE, op["len"] - done)
            got = os.splice(source, write_end, want, offset_src=op["off"] + done)
            if not got:
                break
            while got:
                put = os.splice(read_end, target, got, offset_dst=op["dst"] + done)
                got -= put
                done += put
    except OSError:
        if not done:
            raise
    finally:
        os.close(read_end)
        os.close(write_end)
    return done


def _quota_set(context: Context, op: Operation) -> Outcome:
    return libc.set_quota(context.device, op["uid"], op["hard"])


def _chown(context: Context, op: Operation) -> Outcome:
    os.fchown(context.files.main(op["file"]), op["uid"], -1)
    return 0


def _seek(context: Context, op: Operation) -> Outcome:
    return data_ranges(context.files.main(op["file"]))


def data_ranges(fd: int) -> list[list[int]]:
    """The `[start, end]` of each data range of `fd` by SEEK_DATA and SEEK_HOLE, in bytes."""
    ranges: list[list[int]] = []
    at = 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return ranges
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append([start, at])


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
    "write": _write,
    "append": _append,
    "write_fault": _write_fault,
    "read": _read,
    "dio_write": _dio_write,
    "mmap_write": _mmap_write,
    "mmap_in": _mmap_in,
    "copy_range": _copy_range,
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
    "pwritev": _pwritev,
    "rlimit_write": _rlimit_write,
    "quota_set": _quota_set,
    "chown": _chown,
    "user_write": _user_write,
    "sync_write": _sync_write,
    "dsync_write": _sync_write,
    "seek": _seek,
    "remount_opts": _remount_opts,
    "shutdown": _shutdown,
    "setflags": _setflags,
    "sendfile": _sendfile,
    "splice": _splice,
    "msync_write": _mmap_write,
}
