"""Classes of arguments and results, in the manner of IOCov: a suite that has tried one value
of a class is taken to have tried them all, and a class that it never tried is a gap.

Positions are classed twice, by what they are aligned to and by where they lie of EOF; lengths
by powers of two; flags and options by value; results by how much was done, or the errno.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harness.trace import Result
from workloads import ops
from workloads.fields import fields_of
from workloads.images import Image
from workloads.ops import BY_WORD, AnyOp, Op

__all__ = ["ALIGNED", "LENGTHS", "PLACES", "classes", "possible", "result_class"]

PAGE = 4096
ALIGNED = ("0", "cluster", "page", "block", "sector", "odd")
PLACES = ("negative", "below EOF", "in the EOF block", "at EOF", "past EOF")
LENGTHS = ("negative", "0", *(f"2^{power}" for power in range(23)), "more")
FAULTS = ("at once", "after a page or more", "never")
LIMITS = ("at or below the offset", "inside", "beyond")
SEGMENTS = ("whole", "fault in the first", "fault in a later one")
_POSITIONS = ("off", "dst", "size")


def classes(op: AnyOp, size: int, image: Image) -> Iterator[tuple[str, str]]:
    """(argument, class) of each argument of `op`, on a file of `size` bytes before it."""
    for field in fields_of(type(op)):
        value: Any = getattr(op, field.name)
        if field.name in _POSITIONS:
            yield f"{field.name} aligned to", _alignment(value, image)
            yield f"{field.name} of EOF", _place(value, size, image.block_size)
        elif field.name in ("len", "hard"):
            yield field.name, _power(value)
        elif field.name == "fault":
            assert isinstance(op, ops.WriteFault)
            yield "fault", _fault(value, op.len)
        elif field.name == "limit":
            assert isinstance(op, ops.RlimitWrite)
            yield "limit", LIMITS[(value > op.off) + (value >= op.off + op.len > op.off)]
        elif field.name == "segs":
            yield "segs", _segments(value)
        elif field.name == "flags":
            yield "flags", hex(value)
        elif field.name == "opts":
            yield from (("opts", word) for word in value.split(","))
        elif field.name == "to":
            assert isinstance(op, ops.CopyRange | ops.Sendfile | ops.Splice | ops.Rename)
            yield "to", "itself" if op.to == op.file else "another file"


def _alignment(value: int, image: Image) -> str:
    if value == 0:
        return "0"
    units = (image.cluster_size, PAGE, image.block_size, 512)
    found = (name for name, unit in zip(ALIGNED[1:], units, strict=False) if value % unit == 0)
    return next(found, "odd")


def _place(value: int, size: int, block: int) -> str:
    if value < 0:
        return "negative"
    if value == size:
        return "at EOF"
    if value > size:
        return "past EOF"
    return "in the EOF block" if value >= size - size % block else "below EOF"


def _power(value: int) -> str:
    if value <= 0:
        return "0" if value == 0 else "negative"
    power = value.bit_length() - 1
    return f"2^{power}" if power < 23 else "more"


def _fault(fault: int, length: int) -> str:
    first = fault - fault % PAGE
    if first >= length:
        return "never"
    return "at once" if first == 0 else "after a page or more"


def _segments(value: tuple[tuple[int, int | None], ...]) -> str:
    for number, (length, readable) in enumerate(value):
        if readable is not None and readable - readable % PAGE < length:
            return SEGMENTS[1 if number == 0 else 2]
    return SEGMENTS[0]


# --- results --------------------------------------------------------------------------------

_COUNTED = (
    ops.Write, ops.Append, ops.WriteFault, ops.DioWrite, ops.RlimitWrite, ops.UserWrite,
    ops.SyncWrite, ops.DsyncWrite, ops.CopyRange, ops.Sendfile, ops.Splice,
)  # fmt: skip


def result_class(op: AnyOp, result: Result) -> str:
    """`whole`, `part` or `nothing` of what was asked for, the errno, or `done`."""
    if isinstance(result, str):
        return result if result.isupper() and len(result) < 12 else "done"
    if isinstance(op, _COUNTED) and isinstance(result, int):
        asked = op.len
        return "whole" if result == asked else "part" if result else "nothing"
    return "done"


_ANY = ("EPERM", "EROFS", "EIO")
_WRITES = ("whole", "part", "EFBIG", "ENOSPC", *_ANY)
_ALLOCATES = ("done", "EINVAL", "EFBIG", "ENOSPC", "ENOTSUP", *_ANY)
_STORES = ("done", "SKIP", "SIGBUS", "EACCES", *_ANY)
_NAMES = ("done", "ENOENT", *_ANY)
_COPIES = ("whole", "part", "EINVAL", "ENOSPC", *_ANY)
_FLUSHES = ("done", "EIO", "EROFS", "EPERM")
_RESULTS: dict[str, tuple[str, ...]] = {
    "pwrite": _WRITES, "append": _WRITES, "pwrite_fault": (*_WRITES, "EFAULT"),
    "dwrite": (*_WRITES, "EINVAL"), "rlimit_write": _WRITES, "pwrite_osync": _WRITES,
    "pwrite_odsync": _WRITES, "user_write": (*_WRITES, "EDQUOT"),
    "pwritev": ("done", "EFAULT", "EFBIG", "ENOSPC", *_ANY), "pread": ("done", *_ANY),
    "mwrite": _STORES, "mwrite_in": _STORES, "mwrite_msync": _STORES,
    "falloc": _ALLOCATES, "falloc_keep": _ALLOCATES, "fzero": _ALLOCATES,
    "fzero_keep": _ALLOCATES, "write_zeroes": ("ENOTSUP", "EINVAL", "EFBIG", *_ANY),
    "fpunch": ("done", "EINVAL", "EFBIG", *_ANY),
    "fcollapse": ("done", "EINVAL", "ENOTSUP", *_ANY),
    "finsert": ("done", "EINVAL", "EFBIG", "ENOTSUP", *_ANY),
    "truncate": ("done", "EINVAL", "EFBIG", *_ANY), "fsync": _FLUSHES, "fdatasync": _FLUSHES,
    "sync_range": (*_FLUSHES, "EINVAL"), "otrunc": _NAMES, "unlink": _NAMES, "rename": _NAMES,
    "copy_range": _COPIES, "sendfile": _COPIES, "splice": _COPIES,
    "quota_set": ("done", "ESRCH", "ERANGE", "EIO"), "chown": ("done", *_ANY),
    "seek": ("done", "EIO", "EPERM", "EROFS"), "setflags": ("done", "EIO", "EPERM", "EROFS"),
    "remount_opts": ("done", "EINVAL", "EBUSY", "EROFS"),
}  # fmt: skip
"""What each operation may come to; others are `done` always."""


class Possible(msgspec.Struct, frozen=True):
    """The classes of one operation: by argument, and of its result."""

    arguments: dict[str, tuple[str, ...]]
    results: tuple[str, ...]


def possible(word: str) -> Possible:
    """All classes that the operation `word` has and a suite can reach."""
    cls = BY_WORD[word]
    return Possible(dict(_arguments(cls)), _RESULTS.get(word, ("done",)))


def _arguments(cls: type[Op]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for field in fields_of(cls):
        if field.name in _POSITIONS:
            yield f"{field.name} aligned to", ALIGNED
            yield f"{field.name} of EOF", PLACES[0 if field.low < 0 else 1 :]
        elif field.name in ("len", "hard"):
            yield field.name, LENGTHS[0 if field.low < 0 else 1 : -1]
        elif field.name == "fault":
            yield "fault", FAULTS
        elif field.name == "limit":
            yield "limit", LIMITS
        elif field.name == "segs":
            yield "segs", SEGMENTS
        elif field.name == "to":
            yield "to", ("itself", "another file")
