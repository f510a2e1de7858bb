"""Operations that move data: writes of every kind, reads, mappings, copies, seeks.

Each takes the context and the operation's JSON object, and returns what the system call
returned or raises `OSError`.
"""

from __future__ import annotations

import errno
import os
import signal

from . import libc
from .content import pattern_view
from .context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Operation, Outcome

__all__ = [
    "append",
    "copy_range",
    "data_ranges",
    "dio_write",
    "mmap_in",
    "mmap_write",
    "pwritev",
    "read",
    "rlimit_write",
    "seek",
    "sendfile",
    "splice",
    "sync_write",
    "user_write",
    "write",
    "write_fault",
]

PAGE = 4096
PIECE = 65536


def write(context: Context, op: Operation) -> Outcome:
    """`pwrite(2)` of the pattern."""
    data = pattern_view(op["tag"], op["off"], op["len"])
    return os.pwrite(context.files.main(op["file"]), data, op["off"])


def append(context: Context, op: Operation) -> Outcome:
    """`write(2)` on an O_APPEND descriptor."""
    fd = context.files.also(op["file"], os.O_APPEND)
    return os.write(fd, pattern_view(op["tag"], os.fstat(fd).st_size, op["len"]))


def _readable(length: int, fault: int) -> int:
    """Bytes that can be read of a buffer of `length` whose pages from byte `fault` on can't be;
    to fill the rest would cost a page fault for each page."""
    return min(length, fault & ~(PAGE - 1))


def write_fault(context: Context, op: Operation) -> Outcome:
    """`pwrite(2)` from a buffer whose pages from byte `fault` on are unreadable."""
    fd = context.files.main(op["file"])
    with libc.Buffer(op["len"]) as buffer:
        buffer.store(pattern_view(op["tag"], op["off"], _readable(op["len"], op["fault"])))
        buffer.forbid(op["fault"])
        return libc.pwrite_at(fd, buffer.address, op["len"], op["off"])


def read(context: Context, op: Operation) -> Outcome:
    """`pread(2)`; the MD5 of what came back."""

    from .digest import md5  # noqa: PLC0415 - rarely needed

    return md5(os.pread(context.files.main(op["file"]), op["len"], op["off"]))


def dio_write(context: Context, op: Operation) -> Outcome:
    """`pwritev(2)` on an O_DIRECT descriptor."""
    fd = context.files.also(op["file"], os.O_DIRECT)
    with libc.Buffer(op["len"]) as buffer:
        buffer.store(pattern_view(op["tag"], op["off"], op["len"]))
        return libc.pwritev_at(fd, [(buffer.address, op["len"])], op["off"])


def sync_write(context: Context, op: Operation) -> Outcome:
    """`pwrite(2)` on an O_SYNC or O_DSYNC descriptor."""
    flag = os.O_SYNC if op["op"] == "sync_write" else os.O_DSYNC
    fd = context.files.also(op["file"], flag)
    return os.pwrite(fd, pattern_view(op["tag"], op["off"], op["len"]), op["off"])


def pwritev(context: Context, op: Operation) -> Outcome:
    """One `pwritev(2)` of segments, each with its own unreadable tail."""
    fd = context.files.main(op["file"])
    buffers, parts, offset = [], [], op["off"]
    try:
        for length, readable in op["segs"]:
            buffer = libc.Buffer(length)
            buffers.append(buffer)
            stored = length if readable is None else _readable(length, readable)
            buffer.store(pattern_view(op["tag"], offset, stored))
            if readable is not None:
                buffer.forbid(readable)
            parts.append((buffer.address, length))
            offset += length
        return libc.pwritev_at(fd, parts, op["off"])
    finally:
        for buffer in buffers:
            buffer.close()


def rlimit_write(context: Context, op: Operation) -> Outcome:
    """`pwrite(2)` under RLIMIT_FSIZE."""

    import resource  # noqa: PLC0415 - rarely needed

    fd = context.files.main(op["file"])
    data = pattern_view(op["tag"], op["off"], op["len"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (op["limit"], before[1]))
    try:
        return os.pwrite(fd, data, op["off"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def user_write(context: Context, op: Operation) -> Outcome:
    """`pwrite(2)` with another effective user and group."""
    fd = context.files.main(op["file"])
    data = pattern_view(op["tag"], op["off"], op["len"])
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
    data = pattern_view(op["tag"], offset, length)
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


def mmap_write(context: Context, op: Operation) -> Outcome:
    """A store through a shared mapping, with msync(MS_SYNC) for `msync_write`."""
    return _store(context, op, op["off"], op["len"], op["op"] == "msync_write")


def mmap_in(context: Context, op: Operation) -> Outcome:
    """A store at a fraction of the file's size, cut to the size."""
    size = os.fstat(context.files.main(op["file"])).st_size
    offset = min(int(op["p"] * size), size)
    return _store(context, op, offset, min(op["len"], size - offset), False)


def copy_range(context: Context, op: Operation) -> Outcome:
    """`copy_file_range(2)`."""
    source, target = context.files.main(op["file"]), context.files.main(op["to"])
    return os.copy_file_range(source, target, op["len"], op["off"], op["dst"])


def sendfile(context: Context, op: Operation) -> Outcome:
    """`sendfile(2)`, to the target's byte `dst`."""
    source, target = context.files.main(op["file"]), context.files.main(op["to"])
    os.lseek(target, op["dst"], os.SEEK_SET)
    return os.sendfile(target, source, op["off"], op["len"])


def splice(context: Context, op: Operation) -> Outcome:
    """`splice(2)` through a pipe, in pieces of 64 KiB."""
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


def seek(context: Context, op: Operation) -> Outcome:
    """The data ranges by SEEK_DATA and SEEK_HOLE."""
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
