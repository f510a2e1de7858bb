"""Words of xfs_io that importer and exporter share, and what xfs_io prints."""

from __future__ import annotations

import errno
import os

from workloads.ops import (
    AnyOp,
    Append,
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
    Read,
    Seek,
    Sendfile,
    SyncRange,
    SyncWrite,
    Truncate,
    Write,
    Zero,
    ZeroKeep,
)

__all__ = ["CONTENT", "DEFAULT_BUFFER", "END", "RANGES", "WRITES", "is_cut", "is_error", "printed"]

DEFAULT_BUFFER = 4096
"""Bytes that pwrite and pread move at once without -b, on other file systems than XFS."""

END = "# what is left, once it is written back"
"""The line of an exported script behind which it only looks."""

CONTENT = "writes hold the workload's own patterns; in xfs_io they repeat one byte (-S)"

RANGES: dict[type[Op], str] = {
    Falloc: "falloc",
    FallocKeep: "falloc -k",
    Punch: "fpunch",
    Zero: "fzero",
    ZeroKeep: "fzero -k",
    Collapse: "fcollapse",
    Insert: "finsert",
    SyncRange: "sync_range -abw",
}
"""Commands that take OFF LEN and print nothing if all is well."""

WRITES: dict[type[Op], str] = {
    Write: "",
    Append: "a",
    DioWrite: "d",
    SyncWrite: "s",
    DsyncWrite: "",
}
"""Writes, and the option with which xfs_io opens the file for them."""

_FAILING: dict[type[Op], str] = {
    **dict.fromkeys(WRITES, "pwrite"),
    Read: "pread",
    **dict.fromkeys(RANGES, "fallocate"),
    SyncRange: "sync_file_range",
    Truncate: "ftruncate",
    Fsync: "fsync",
    Fdatasync: "fdatasync",
    CopyRange: "copy_range",
    Sendfile: "sendfile",
}
"""What xfs_io gives perror(3) where the call of an operation fails."""


_VERBS: dict[type[Op], str] = {**dict.fromkeys(WRITES, "wrote"), Read: "read", Sendfile: "sent"}


def printed(op: AnyOp, result: int | str | list[list[int]], size: int = 0) -> list[str]:
    """The lines that xfs_io prints for `op` with `result`, without those on throughput.

    `size` is the file's before it, in bytes: a read's result is a digest, and a seek's does
    not tell an empty file from a hole.
    """
    if is_error(result):
        number = getattr(errno, str(result))
        return [f"{_FAILING[type(op)]}: {os.strerror(number)}"] if type(op) in _FAILING else []
    if isinstance(op, Seek) and isinstance(result, list):
        rows = [] if result and result[0][0] == 0 else ["HOLE\t0"]
        for start, end in result:
            rows += [f"DATA\t{start}", f"HOLE\t{end}"]
        return ["Whence\tResult", *(rows if size else ["DATA\tEOF"])]
    verb = next((verb for cls, verb in _VERBS.items() if isinstance(op, cls)), None)
    if verb is None:
        return []
    count = max(0, min(op.len, size - op.off)) if isinstance(op, Read) else result
    return [f"{verb} {count}/{op.len} bytes at offset {getattr(op, 'off', 0)}"]  # type: ignore[union-attr]


def is_cut(op: AnyOp, result: int | str | list[list[int]], size: int) -> bool:
    """Whether `op` is a copy, from a file of `size` bytes, that ended before the source did: it
    came to a limit. xfs_io goes on with the rest, so it does something else then."""
    if not isinstance(op, CopyRange | Sendfile) or not isinstance(result, int):
        return False
    return result < min(op.len, size - op.off)


def is_error(result: object) -> bool:
    """Whether `result` is an errno's name."""
    return isinstance(result, str) and result.startswith("E") and hasattr(errno, result)
