"""Which operations of a program write which bytes, as far as their arguments tell."""

from __future__ import annotations

from collections.abc import Iterable

from workloads.ops import (
    AnyOp,
    CopyRange,
    Otrunc,
    Pwritev,
    RangeOp,
    Read,
    RlimitWrite,
    Sendfile,
    Splice,
    SyncRange,
    Truncate,
)

__all__ = ["range_of", "writers"]

LARGEST = 1 << 63
"""Past the end of any file."""

Range = tuple[str, int, int]
"""A file, the first byte and the one after the last."""


def range_of(op: AnyOp) -> Range | None:
    """The bytes that `op` names: those that it writes, if it writes; None if it names none.

    Of a truncate those past the new size, which read as zeros when the file grows again.
    """
    if isinstance(op, CopyRange | Sendfile | Splice):
        return op.to, op.dst, op.dst + op.len
    if isinstance(op, Truncate | Otrunc):
        return op.file, getattr(op, "size", 0), LARGEST
    if isinstance(op, Pwritev):
        return op.file, op.off, op.off + sum(length for length, _ in op.segs)
    if isinstance(op, RangeOp | RlimitWrite):
        return op.file, op.off, op.off + op.len
    return None


def writers(ops: Iterable[AnyOp], wanted: Range) -> tuple[int, ...]:
    """The indexes of the operations that write, zero, punch or move bytes of `wanted`.

    What an append writes depends on the size: it is not among them, nor are the calls of
    parallel sections.
    """
    file, first, stop = wanted
    found = []
    for index, op in enumerate(ops):
        named = None if isinstance(op, Read | SyncRange) else range_of(op)
        if named is not None and named[0] == file and named[1] < stop and first < named[2]:
            found.append(index)
    return tuple(found)
