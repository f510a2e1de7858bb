"""The size that an operation leaves a file with, if it succeeds."""

from __future__ import annotations

from workloads.ops import (
    AnyOp,
    Append,
    Collapse,
    CopyRange,
    DioWrite,
    DsyncWrite,
    Falloc,
    Insert,
    MmapIn,
    MmapWrite,
    MsyncWrite,
    Otrunc,
    Pwritev,
    RangeOp,
    Rename,
    RlimitWrite,
    Sendfile,
    Splice,
    SyncWrite,
    Truncate,
    Unlink,
    UserWrite,
    Write,
    WriteZeroes,
    Zero,
)

__all__ = ["change_sizes"]

_EXTENDING = (
    Write, DioWrite, SyncWrite, DsyncWrite, UserWrite, RlimitWrite, Falloc, Zero, WriteZeroes,
)  # fmt: skip


def change_sizes(sizes: dict[str, int], op: AnyOp) -> None:
    """Do to `sizes` (bytes, by file) what `op` does to the files, if all of it succeeds."""
    if isinstance(op, CopyRange | Sendfile | Splice):
        length = max(0, min(op.len, sizes.get(op.file, 0) - op.off))
        end = op.dst + length if length else 0
        sizes[op.to] = max(sizes.get(op.to, 0), end)
    elif isinstance(op, Rename):
        sizes[op.to] = sizes.pop(op.file, 0)
    elif isinstance(op, Unlink):
        sizes.pop(op.file, None)
    elif isinstance(op, _EXTENDING):
        sizes[op.file] = max(sizes.get(op.file, 0), op.off + op.len)
    elif isinstance(op, Pwritev):
        end = op.off + sum(length for length, _ in op.segs)
        sizes[op.file] = max(sizes.get(op.file, 0), end)
    elif isinstance(op, Truncate):
        sizes[op.file] = op.size
    elif isinstance(op, Otrunc):
        sizes[op.file] = 0
    elif isinstance(op, Append | Insert):
        sizes[op.file] = sizes.get(op.file, 0) + op.len
    elif isinstance(op, Collapse):
        sizes[op.file] = sizes.get(op.file, 0) - op.len
    elif isinstance(op, RangeOp | MmapWrite | MsyncWrite | MmapIn):
        sizes.setdefault(op.file, 0)
