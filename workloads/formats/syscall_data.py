"""What system calls on data, space, writeback and mappings are in a workload."""

from __future__ import annotations

from typing import Any

from workloads.formats.paths import Elsewhere
from workloads.formats.syscalls import (
    O_APPEND,
    O_DIRECT,
    O_DSYNC,
    O_SYNC,
    Call,
    Description,
    Handler,
    Process,
    Table,
    Unusable,
    signed,
)
from workloads.ops import (
    Append,
    Chown,
    Collapse,
    CopyRange,
    DioWrite,
    DsyncWrite,
    Falloc,
    FallocKeep,
    Fdatasync,
    Fsync,
    Insert,
    Op,
    Punch,
    Pwritev,
    Read,
    Sendfile,
    Sync,
    SyncRange,
    SyncWrite,
    Truncate,
    Write,
    WriteZeroes,
    Zero,
    ZeroKeep,
)

__all__ = ["DATA"]

MODES: dict[int, type[Op]] = {
    0: Falloc, 1: FallocKeep, 3: Punch, 0x10: Zero, 0x11: ZeroKeep, 8: Collapse, 0x20: Insert,
    0x80: WriteZeroes,
}  # fmt: skip
"""Operations by the mode of fallocate(2) (include/uapi/linux/falloc.h)."""
MAP_SHARED_TYPES = (1, 3)
PROT_WRITE = 2
MS_SYNC = 4


def _position(found: Description) -> int:
    if found.position is None:
        raise Unusable("the file's position is not known")
    return found.position


def _put(table: Table, call: Call, found: Description, off: int | None, length: int) -> None:
    """A write of `length` bytes at `off`, or at the position and moving it."""
    if not found.writes:
        raise Unusable("the descriptor is for reading only")
    if off is not None and off < 0:
        table.builder.fail(call.line, f"{call.name}: the offset {off} is negative")
    file = found.file
    if found.flags & O_APPEND:
        table.add(call, Append, file=file, len=length)
        if off is None:
            found.position = table.sizes[file or ""]
        return
    at = _position(found) if off is None else off
    cls: type[Op] = Write
    if found.flags & O_DIRECT:
        cls = DioWrite
    elif found.flags & O_SYNC == O_SYNC:
        cls = SyncWrite
    elif found.flags & O_DSYNC:
        cls = DsyncWrite
    table.add(call, cls, file=file, off=at, len=length)
    if off is None and call.error is None:
        found.position = at + (length if call.result is None else call.result)


def _write(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    _put(table, call, found, None, table.length(call, call.args[2]))


def _pwrite(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    length = table.length(call, call.args[2])
    _put(table, call, found, signed(call.args[3]), length)


def _lengths(table: Table, call: Call) -> list[int]:
    """The lengths of the vectors in argument 1."""
    vectors = call.args[1]
    if not isinstance(vectors, list):
        raise Unusable("the text does not tell the vectors")
    found = [each["iov_len"] if isinstance(each, dict) else each[1] for each in vectors]
    return [table.length(call, each) for each in found]


def _writev(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    lengths = _lengths(table, call)
    plain = not found.flags & (O_APPEND | O_DIRECT | O_DSYNC) and found.writes
    positioned = call.name != "writev"
    off = signed(call.args[3]) if positioned else None
    if positioned and off == -1:  # pwritev2(2) then uses the position
        off = None
    if call.name == "pwritev2" and call.args[-1]:
        table.builder.change(call.line, call.text, "flags of pwritev2(2) are left out")
    if not plain:
        table.builder.change(call.line, call.text, "vectors became one buffer")
        _put(table, call, found, off, sum(lengths))
        return
    at = _position(found) if off is None else off
    segs = tuple((length, None) for length in lengths)
    table.add(call, Pwritev, file=found.file, off=at, segs=segs)
    if off is None and call.error is None:
        found.position = at + (sum(lengths) if call.result is None else call.result)


def _get(table: Table, call: Call, found: Description, off: int | None, length: int) -> None:
    at = _position(found) if off is None else off
    if found.flags & O_DIRECT:
        table.builder.change(call.line, call.text, "a read with O_DIRECT became pread(2)")
    table.add(call, Read, file=found.file, off=at, len=length)
    if off is None and call.error is None:
        there = max(0, min(length, table.sizes[found.file or ""] - at))
        found.position = at + (there if call.result is None else call.result)


def _read(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    off = signed(call.args[3]) if call.name == "pread64" else None
    _get(table, call, found, off, table.length(call, call.args[2]))


def _readv(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    off = None if call.name == "readv" else signed(call.args[3])
    table.builder.change(call.line, call.text, "vectors became one buffer")
    _get(table, call, found, off, sum(_lengths(table, call)))


def _offset(value: Any) -> int | None:
    """The offset behind a pointer, which strace shows as `[4096]`; None for NULL."""
    return signed(value[0]) if isinstance(value, list) else None


def _copy(  # noqa: PLR0917
    table: Table, call: Call, cls: type[Op], source: Description, off: int | None,
    target: Description, dst: int | None, length: int,
) -> None:  # fmt: skip
    """A copy between two files; an offset of None is the position, which moves."""
    if target.flags & O_APPEND or not target.writes:
        raise Unusable("the destination can't be written to at an offset")
    at = _position(source) if off is None else off
    to = _position(target) if dst is None else dst
    there = max(0, min(length, table.sizes[source.file or ""] - at))
    table.add(call, cls, file=source.file, off=at, len=length, to=target.file, dst=to)
    count = (there if call.result is None else call.result) if call.error is None else 0
    if off is None:
        source.position = at + count
    if dst is None:
        target.position = to + count


def _copy_file_range(table: Table, process: Process, call: Call) -> None:
    source, target = table.file(process, call, 0), table.file(process, call, 2)
    off, dst = _offset(call.args[1]), _offset(call.args[3])
    _copy(table, call, CopyRange, source, off, target, dst, table.length(call, call.args[4]))


def _sendfile(table: Table, process: Process, call: Call) -> None:
    target, source = table.file(process, call, 0), table.file(process, call, 1)
    length = table.length(call, call.args[3])
    _copy(table, call, Sendfile, source, _offset(call.args[2]), target, None, length)


def _splice(table: Table, process: Process, call: Call) -> None:
    ends = [table.description(process, call.args[index]) for index in (0, 2)]
    if not any(end is not None and end.file is not None for end in ends):
        raise Elsewhere(call.name)
    raise Unusable("one end of a splice is a pipe, whose other end is not followed")


# --- space and writeback -----------------------------------------------------------------------


def _fallocate(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    cls = MODES.get(call.args[1])
    if cls is None:
        raise Unusable(f"no workload has the mode {call.args[1]:#x}")
    off, length = table.length(call, call.args[2]), table.length(call, call.args[3])
    table.add(call, cls, file=found.file, off=off, len=length)


def _ftruncate(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    table.add(call, Truncate, file=found.file, size=table.length(call, call.args[1]))


def _on_file(cls: type[Op]) -> Handler:
    def run(table: Table, process: Process, call: Call) -> None:
        table.add(call, cls, file=table.file(process, call).file)

    return run


def _sync(table: Table, process: Process, call: Call) -> None:
    if call.name == "syncfs":
        found = table.description(process, call.args[0])
        if found is None:
            raise Elsewhere(call.name)
    table.add(call, Sync)


def _sync_range(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    off, length = table.length(call, call.args[1]), table.length(call, call.args[2])
    if call.args[3] != 7:
        why = "sync_file_range(2) became one that waits before and after"
        table.builder.change(call.line, call.text, why)
    table.add(call, SyncRange, file=found.file, off=off, len=length)


def _fchown(table: Table, process: Process, call: Call) -> None:
    found = table.file(process, call)
    table.add(call, Chown, file=found.file, uid=call.args[1])


def _left_out(why: str) -> Handler:
    """Calls on a descriptor that no workload has."""

    def run(table: Table, process: Process, call: Call) -> None:
        table.file(process, call)
        raise Unusable(why)

    return run


# --- mappings ------------------------------------------------------------------------------------


def _mmap(table: Table, process: Process, call: Call) -> None:
    found = table.description(process, call.args[4])
    if found is None or found.file is None or call.error is not None:
        raise Elsewhere(call.name)
    shared = call.args[3] & 15 in MAP_SHARED_TYPES and call.args[2] & PROT_WRITE
    if not shared:
        raise Elsewhere(call.name)
    start = call.result if call.result is not None else call.args[0]
    if isinstance(start, int):
        table.mappings.append((start, call.args[1], found))
    raise Unusable("stores through a mapping are not in the text")


def _msync(table: Table, _process: Process, call: Call) -> None:
    if not call.args[2] & MS_SYNC:
        raise Elsewhere(call.name)
    for start, length, found in table.mappings:
        if found.file is not None and start <= call.args[0] < start + length:
            table.builder.change(call.line, call.text, "msync(MS_SYNC) became fsync")
            table.add(call, Fsync, file=found.file)
            return
    raise Elsewhere(call.name)


def _asynchronous(_table: Table, _process: Process, _call: Call) -> None:
    raise Unusable("what it does is not in the text")


DATA: dict[str, Handler] = {
    "write": _write, "pwrite64": _pwrite, "writev": _writev, "pwritev": _writev,
    "pwritev2": _writev, "read": _read, "pread64": _read, "readv": _readv, "preadv": _readv,
    "preadv2": _readv, "copy_file_range": _copy_file_range, "sendfile": _sendfile,
    "sendfile64": _sendfile, "splice": _splice, "fallocate": _fallocate, "ftruncate": _ftruncate,
    "ftruncate64": _ftruncate, "fsync": _on_file(Fsync), "fdatasync": _on_file(Fdatasync),
    "sync": _sync, "syncfs": _sync, "sync_file_range": _sync_range, "fchown": _fchown,
    "mmap": _mmap, "mmap2": _mmap, "msync": _msync,
    "fchmod": _left_out("workloads change no modes"),
    "ioctl": _left_out("ioctls are not followed"),
    "fsetxattr": _left_out("workloads have no extended attributes"),
    "fadvise64": _left_out("advice is not followed"), "io_submit": _asynchronous,
    "io_uring_enter": _asynchronous,
}  # fmt: skip
"""Calls on what is in files, by their own name."""
