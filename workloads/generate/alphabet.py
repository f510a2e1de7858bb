"""What bounded-exhaustive programs are made of: files of known shape, and letters.

A *shape* is a file that some operations have made; a *letter* is one operation with its
arguments, whose offsets lie on the edges of the shape. Both follow from the configuration's
block and cluster size, so that an edge is an edge on each of them. Tags are left 0; the
program that a letter stands in gives it one by its place.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from workloads import ops
from workloads.ops import AnyOp
from workloads.workload import Config

__all__ = ["IDLE_AFTER", "Letter", "Shape", "shapes"]

PAGE = 4096
FILE = "a"


class Letter(msgspec.Struct, frozen=True):
    """An operation, and what is known of it that makes programs needless.

    `kind` is its row in `IDLE_AFTER`, if any. `reads` changes no file. `ends` takes the file
    away, so that what follows would act on a new one. `idle` does nothing to an empty file.
    """

    op: AnyOp
    kind: str = ""
    reads: bool = False
    ends: bool = False
    idle: bool = False

    def may_follow(self, before: Letter) -> bool:
        """Whether `before`, then this one, say something that no shorter program says.

        Left out: what follows the end of the file (the space of the empty shape has it on a
        new file); what follows a letter that only reads; and what `IDLE_AFTER` lists.
        """
        return not (before.ends or before.reads or self.kind in IDLE_AFTER[before.kind])


FLUSH, RANGE, CLOSE, DROP, MOUNT = "flush", "range", "close", "drop", "mount"
IDLE_AFTER: dict[str, frozenset[str]] = {
    "": frozenset(),
    RANGE: frozenset(),
    FLUSH: frozenset({FLUSH, RANGE}),
    CLOSE: frozenset({CLOSE}),
    DROP: frozenset({DROP}),
    MOUNT: frozenset({FLUSH, RANGE, CLOSE, DROP, MOUNT}),
}
"""By kind of letter, the kinds that have nothing to do right after it: what was written back
just now is clean, what was closed is closed, and after a mount nothing is cached or open."""


class Shape(msgspec.Struct, frozen=True):
    """A file to begin with: what makes it, the letters that act on it, and how it is read
    when they have, so that the page cache is compared as well as what is on disk."""

    name: str
    made_by: tuple[AnyOp, ...]
    letters: tuple[Letter, ...]
    read: AnyOp

    def may_begin(self, letter: Letter) -> bool:
        """Whether a program of this shape may begin with `letter`."""
        return bool(self.made_by) or not letter.idle


def shapes(config: Config) -> tuple[Shape, ...]:
    """The shapes on `config`, the empty file first."""
    block, cluster = config.image.block_size, config.image.cluster_size
    unit = max(2 * PAGE, cluster)
    return (_empty(block, cluster, unit), _mixed(block, cluster, unit))


# --- the empty file -------------------------------------------------------------------


def _empty(block: int, cluster: int, unit: int) -> Shape:
    """No file yet; what is `idle` comes second at best."""
    ranges = ((0, 1), (0, block), (block - 1, 2), (0, unit + 100), (unit, block))
    letters = [
        *(Letter(ops.Write(file=FILE, off=off, len=size, tag=0)) for off, size in ranges),
        *_faults([(0, unit, 0), (0, 2 * unit, unit), (100, 2 * unit, unit), (unit, unit, PAGE)]),
        Letter(ops.Append(file=FILE, len=100, tag=0)),
        Letter(ops.DioWrite(file=FILE, off=0, len=block, tag=0)),
        Letter(ops.DioWrite(file=FILE, off=unit, len=unit, tag=0)),
        Letter(ops.MmapWrite(file=FILE, off=0, len=100, tag=0), idle=True),
        *(Letter(ops.Truncate(file=FILE, size=size)) for size in (100, unit + 1, 0)),
        *(Letter(ops.Falloc(file=FILE, off=off, len=size)) for off, size in ranges[2:]),
        Letter(ops.FallocKeep(file=FILE, off=0, len=2 * unit)),
        *(Letter(ops.Zero(file=FILE, off=off, len=size)) for off, size in (*ranges[2:], (0, unit))),
        Letter(ops.ZeroKeep(file=FILE, off=0, len=2 * unit)),
        *(Letter(ops.Punch(file=FILE, off=off, len=size), idle=True) for off, size in ranges[1:4]),
        Letter(ops.Insert(file=FILE, off=0, len=cluster), idle=True),
        Letter(ops.SyncRange(file=FILE, off=0, len=block), RANGE, idle=True),
        *_flushes(),
        Letter(ops.Rename(file=FILE, to="b"), ends=True, idle=True),
        Letter(ops.Read(file=FILE, off=0, len=2 * unit), reads=True, idle=True),
    ]
    return Shape("empty", (), tuple(letters), ops.Read(file=FILE, off=0, len=4 * unit))


# --- a file with every state ----------------------------------------------------------


def _mixed(block: int, cluster: int, unit: int) -> Shape:
    """Written, unwritten, delayed, a hole, delayed to an odd EOF, unwritten past EOF.

    Each part is `unit` bytes long, the last ones differ by `block`.
    """
    eof = 5 * unit - block + 100
    made_by: tuple[AnyOp, ...] = (
        ops.Write(file=FILE, off=0, len=unit, tag=0),
        ops.Fsync(file=FILE),
        ops.FallocKeep(file=FILE, off=unit, len=unit),
        ops.FallocKeep(file=FILE, off=5 * unit, len=unit),
        ops.Write(file=FILE, off=2 * unit, len=unit, tag=0),
        ops.Write(file=FILE, off=4 * unit, len=eof - 4 * unit, tag=0),
    )
    letters = [
        *_writes(block, unit, eof),
        *_space(block, unit, eof),
        *_shifts(cluster, unit),
        *(
            Letter(ops.Truncate(file=FILE, size=size))
            for size in (0, unit - 1, 2 * unit, 3 * unit + block, eof - 1, eof, eof + 1, 6 * unit)
        ),
        Letter(ops.SyncRange(file=FILE, off=2 * unit + block, len=1), RANGE),
        Letter(ops.SyncRange(file=FILE, off=4 * unit, len=unit), RANGE),
        *_flushes(),
        Letter(ops.Otrunc(file=FILE), ends=True),
        Letter(ops.Unlink(file=FILE), ends=True),
        Letter(ops.Rename(file=FILE, to="b"), ends=True),
        Letter(ops.Read(file=FILE, off=unit, len=4 * unit), reads=True),
        Letter(ops.Seek(file=FILE), reads=True),
    ]
    return Shape("mixed", made_by, tuple(letters), ops.Read(file=FILE, off=0, len=8 * unit))


def _writes(block: int, unit: int, eof: int) -> Iterator[Letter]:
    for off, size in (
        (0, 1), (unit - 1, 2), (2 * unit - block, 2 * block), (3 * unit - 1, 2),
        (3 * unit + block, block), (eof - 1, 2), (eof, 100), (6 * unit + 1, block),
        (unit // 2, 3 * unit),
    ):  # fmt: skip
        yield Letter(ops.Write(file=FILE, off=off, len=size, tag=0))
    yield from _faults([
        (unit // 2, 4 * unit, 0), (unit // 2 + 100, 4 * unit, unit),
        (3 * unit, 2 * PAGE, PAGE), (3 * unit + 100, 2 * PAGE, PAGE),
        (eof, 2 * PAGE, 0), (eof - 1, 2 * PAGE, PAGE), (eof + unit, 2 * PAGE, PAGE),
    ])  # fmt: skip
    yield Letter(ops.Append(file=FILE, len=block, tag=0))
    yield Letter(ops.SyncWrite(file=FILE, off=3 * unit - 1, len=2, tag=0))
    for off, size in ((unit - 512, 1024), (3 * unit, block), (4 * unit, 2 * unit)):
        yield Letter(ops.DioWrite(file=FILE, off=off, len=size, tag=0))
    for off, size in ((unit - 1, 2), (3 * unit - 1, 2), (eof - 1, 1)):
        yield Letter(ops.MmapWrite(file=FILE, off=off, len=size, tag=0))
    yield Letter(ops.CopyRange(file=FILE, off=unit - 1, len=unit + 2, to=FILE, dst=3 * unit))


def _faults(cases: list[tuple[int, int, int]]) -> Iterator[Letter]:
    for off, size, fault in cases:
        yield Letter(ops.WriteFault(file=FILE, off=off, len=size, fault=fault, tag=0))


def _space(block: int, unit: int, eof: int) -> Iterator[Letter]:
    """fallocate: allocate, punch, zero, on the same few edges."""
    within, across, wide = (3 * unit + 1, 2), (2 * unit - 1, unit + 2), (unit // 2, 4 * unit)
    tail, behind = (eof - 1, unit), (5 * unit, unit + block)
    for off, size in (within, across, wide, tail, behind):
        yield Letter(ops.Falloc(file=FILE, off=off, len=size))
    for off, size in (wide, behind):
        yield Letter(ops.FallocKeep(file=FILE, off=off, len=size))
    for off, size in ((1, 2), (unit - block, 2 * block), across, wide, tail, behind, (0, 7 * unit)):
        yield Letter(ops.Punch(file=FILE, off=off, len=size))
    over = (4 * unit, 2 * unit)
    for off, size in ((1, 2), (unit - block, 2 * block), across, wide, tail, over, behind):
        yield Letter(ops.Zero(file=FILE, off=off, len=size))
    for off, size in (across, behind):
        yield Letter(ops.ZeroKeep(file=FILE, off=off, len=size))


def _shifts(cluster: int, unit: int) -> Iterator[Letter]:
    for off in (0, unit, 2 * unit):
        yield Letter(ops.Collapse(file=FILE, off=off, len=cluster))
    for off in (0, 2 * unit, 2 * unit + cluster):
        yield Letter(ops.Insert(file=FILE, off=off, len=cluster))


def _flushes() -> Iterator[Letter]:
    yield Letter(ops.Fsync(file=FILE), FLUSH, idle=True)
    yield Letter(ops.Fdatasync(file=FILE), FLUSH, idle=True)
    yield Letter(ops.Sync(), FLUSH, idle=True)
    yield Letter(ops.Close(file=FILE), CLOSE, idle=True)
    yield Letter(ops.DropCaches(), DROP, idle=True)
    yield Letter(ops.Remount(), MOUNT, idle=True)
