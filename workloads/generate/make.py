"""Random programs, one operation after the other, each made for what the ones before left.

`Maker` has one method for each word of the text form; a method draws the operation into the
sketch and returns it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

from workloads import ops
from workloads.generate.dice import Dice, Table
from workloads.generate.places import PAGE, Places
from workloads.generate.plan import FEATURES, Plan
from workloads.generate.sketch import CLEAN, DIRTY, HOLE, UNWRITTEN, Sketch
from workloads.ops import AnyOp, Call
from workloads.sections import ALLOWED, default_tag, problem

__all__ = ["Maker"]

KIB = 1024
USER = 1000
FILES = ("a", "b")
FILL = "fill"
LAST = 4
"""Operations that may come after a shutdown: enough to see that they fail."""

REMOUNT_OPTIONS = (
    "ro", "rw", "delalloc", "nodelalloc", "dioread_lock", "dioread_nolock", "data=ordered",
    "data=journal", "buffered_iomap", "nobuffered_iomap", "barrier", "commit=60",
    "noauto_da_alloc", "auto_da_alloc",
)  # fmt: skip


class Maker:
    """Makes the operations of one program by `plan`."""

    def __init__(self, dice: Dice, plan: Plan) -> None:
        self.dice, self.random, self.plan = dice, dice.random, plan
        self.image = plan.config.image
        self.block, self.cluster = self.image.block_size, self.image.cluster_size
        self.places = Places(dice.random, self.block, self.cluster, plan.setting)
        self.sketches: dict[str, Sketch] = {}
        self.tag = 0

    def program(self) -> tuple[AnyOp, ...]:
        """The set-up of the plan's setting, then as many operations as the plan says."""
        made: list[AnyOp] = []
        if self.plan.setting == "full":
            made += self._fill()
        if self.image.name.startswith("quota") and self.random() < 0.8:
            made += self._limited()
        random, at = self.random, self.plan.operations.at
        for number in range(len(made) + 1, self.plan.length + 1):
            self.tag = number
            word = at(random())
            if word == "shutdown" and number < self.plan.length - LAST:
                word = "sync"  # nothing works behind it: not before the end
            made.append(_MAKERS[word](self))
        return tuple(made)

    # --- settings -------------------------------------------------------------------------

    def _fill(self) -> list[AnyOp]:
        """Everything taken but some clusters."""
        size = self.plan.size or self.image.size
        left = int(self.random() ** 3 * 200) * self.cluster
        made: list[AnyOp] = []
        if self.random() < 0.4:  # something that was there before the space ran out
            self.tag = 1
            made.append(_MAKERS["falloc" if self.random() < 0.5 else "pwrite"](self))
        made.append(ops.Falloc(file=FILL, off=0, len=size))
        if left:
            made.append(ops.Punch(file=FILL, off=0, len=left))
            if self.random() < 0.5:
                made.append(ops.Sync())
        return made

    def _limited(self) -> list[AnyOp]:
        """A file of a user with a limit."""
        self.sketches["a"] = sketch = Sketch()
        sketch.fill(0, self.block, DIRTY)
        sketch.size = 1
        hard = (20, 24, 40, 100, 256, 400)[int(self.random() * 6)]
        made: list[AnyOp] = [
            ops.Write(file="a", off=0, len=1, tag=1),
            ops.Chown(file="a", uid=USER),
            ops.QuotaSet(uid=USER, hard=hard),
        ]
        if self.random() < 0.5:
            made.append(ops.Fsync(file="a"))
        return made

    # --- parts ----------------------------------------------------------------------------

    def _file(self) -> tuple[str, Sketch]:
        name = FILES[int(self.random() * self.plan.files)]
        sketch = self.sketches.get(name)
        if sketch is None:
            sketch = self.sketches[name] = Sketch()
        return name, sketch

    def _range(self, sketch: Sketch) -> tuple[int, int]:
        off = self.places.offset(sketch)
        return off, abs(self.places.length(sketch, off))

    def _odd_range(self, sketch: Sketch) -> tuple[int, int]:
        """A range for fallocate, which now and then is refused."""
        off, length = self._range(sketch)
        if self.random() < 0.02:
            return self.dice.pick(
                ((-1, 10), (off, 0), (off, -1), (1 << 62, length), (off, 1 << 50))
            )
        return off, length

    def _drawn(self, sketch: Sketch, off: int, length: int, state: int, *, grow: bool) -> None:
        """`[off, off + length)` is `state`; the file grows to its end if `grow`."""
        if length <= 0 or off < 0:
            return
        block = self.block
        end = off + length
        sketch.fill(off - off % block, end + -end % block, state)
        if grow and end > sketch.size:
            sketch.size = end

    def _written(self, sketch: Sketch, off: int, length: int) -> None:
        self._drawn(sketch, off, length, DIRTY, grow=True)

    # --- data -----------------------------------------------------------------------------

    def pwrite(self) -> AnyOp:
        """A buffered write; seldom at the end of the largest file, or of nothing."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        share = self.random()
        if share < 0.01:
            return ops.Write(file=name, off=off, len=0, tag=self.tag)
        if share < 0.02:
            off = 0xFFFFFFFF * self.block - (0, 1, self.block, 10_000)[int(share * 400) % 4]
            return ops.Write(file=name, off=off, len=length, tag=self.tag)
        self._written(sketch, off, length)
        return ops.Write(file=name, off=off, len=length, tag=self.tag)

    def append(self) -> AnyOp:
        """A write at EOF."""
        name, sketch = self._file()
        length = abs(self.places.length(sketch, sketch.size))
        self._written(sketch, sketch.size, length)
        return ops.Append(file=name, len=length, tag=self.tag)

    def _faulty(self, sketch: Sketch) -> tuple[int, int]:
        """Where a write that fails says most: over holes, delayed blocks, at EOF."""
        random = self.random
        share = random()
        if share < 0.4:
            off = self.places.offset(sketch)
        elif share < 0.8:
            off = self.places.in_state(sketch, (HOLE, DIRTY, UNWRITTEN, HOLE)[int(random() * 4)])
            if random() < 0.4:
                off += int(random() * self.block)
        else:
            off = sketch.size
        length = max(abs(self.places.length(sketch, off)), int(random() * 3) * PAGE + 1)
        return off, length

    def pwrite_fault(self) -> AnyOp:
        """A write whose source is gone from its start, a page in, or anywhere."""
        name, sketch = self._file()
        off, length = self._faulty(sketch)
        fault = int(self.random() * (length // PAGE + 1)) * PAGE
        readable = fault if fault < length else length
        self._written(sketch, off, readable)
        return ops.WriteFault(file=name, off=off, len=length, fault=fault, tag=self.tag)

    def pwritev(self) -> AnyOp:
        """A vector of two to four segments, one of which may fault."""
        name, sketch = self._file()
        off, length = self._faulty(sketch)
        segments: list[tuple[int, int | None]] = []
        for _ in range(2 + int(self.random() * 3)):
            part = 1 + int(self.random() * length)
            fault = int(self.random() * (part // PAGE + 1)) * PAGE
            segments.append((part, fault if self.random() < 0.3 else None))
        self._written(sketch, off, length)
        return ops.Pwritev(file=name, off=off, segs=tuple(segments), tag=self.tag)

    def pread(self) -> AnyOp:
        """A read, past EOF too."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        return ops.Read(file=name, off=off, len=length)

    def seek(self) -> AnyOp:
        """The ranges of data."""
        return ops.Seek(file=self._file()[0])

    def dwrite(self) -> AnyOp:
        """A direct write, mostly of whole sectors or blocks."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        if self.random() < 0.9:
            unit = self.block if self.random() < 0.7 else 512
            off, length = off - off % unit, length + -length % unit
        self._drawn(sketch, off, length, CLEAN, grow=True)
        return ops.DioWrite(file=name, off=off, len=length, tag=self.tag)

    def _stored(self) -> tuple[str, int, int]:
        """A range below EOF for a store; now and then one across it."""
        name, sketch = self._file()
        off = self.places.inside(sketch)
        length = abs(self.places.length(sketch, off))
        if off + length > sketch.size and self.random() < 0.95:
            length = max(sketch.size - off, 0)
        if off + length <= sketch.size:
            self._drawn(sketch, off, length, DIRTY, grow=False)
        return name, off, length

    def mwrite(self) -> AnyOp:
        """A store through a mapping."""
        name, off, length = self._stored()
        return ops.MmapWrite(file=name, off=off, len=length, tag=self.tag)

    def mwrite_msync(self) -> AnyOp:
        """A store and msync."""
        name, off, length = self._stored()
        return ops.MsyncWrite(file=name, off=off, len=length, tag=self.tag)

    def mwrite_in(self) -> AnyOp:
        """A store at a share of the size that the file really has."""
        name, sketch = self._file()
        share = int(self.random() * 1000) / 1000
        length = abs(self.places.length(sketch, 0))
        return ops.MmapIn(file=name, p=share, len=length, tag=self.tag)

    def _pair(self) -> tuple[str, int, int, str, int]:
        """Source range and target place of a copy."""
        name, sketch = self._file()
        to, target = self._file()
        off = self.places.inside(sketch)
        length = abs(self.places.length(sketch, off))
        dst = self.places.offset(target)
        self._written(target, dst, max(min(length, sketch.size - off), 0))
        return name, off, length, to, dst

    def copy_range(self) -> AnyOp:
        """copy_file_range, within one file too."""
        name, off, length, to, dst = self._pair()
        return ops.CopyRange(file=name, off=off, len=length, to=to, dst=dst)

    def sendfile(self) -> AnyOp:
        """sendfile."""
        name, off, length, to, dst = self._pair()
        return ops.Sendfile(file=name, off=off, len=length, to=to, dst=dst)

    def splice(self) -> AnyOp:
        """splice through a pipe."""
        name, off, length, to, dst = self._pair()
        return ops.Splice(file=name, off=off, len=length, to=to, dst=dst)

    # --- space ----------------------------------------------------------------------------

    def falloc(self) -> AnyOp:
        """Preallocation."""
        name, sketch = self._file()
        off, length = self._odd_range(sketch)
        self._drawn(sketch, off, min(length, 64 * KIB * KIB), UNWRITTEN, grow=True)
        return ops.Falloc(file=name, off=off, len=length)

    def falloc_keep(self) -> AnyOp:
        """Preallocation, past EOF too."""
        name, sketch = self._file()
        off, length = self._odd_range(sketch)
        self._drawn(sketch, off, min(length, 64 * KIB * KIB), UNWRITTEN, grow=False)
        return ops.FallocKeep(file=name, off=off, len=length)

    def fpunch(self) -> AnyOp:
        """A hole, best where something is."""
        name, sketch = self._file()
        off, length = self._odd_range(sketch)
        if self.random() < 0.3:
            off = self.places.in_state(sketch, DIRTY if self.random() < 0.6 else CLEAN)
        self._drawn(sketch, off, length, HOLE, grow=False)
        return ops.Punch(file=name, off=off, len=length)

    def fzero(self) -> AnyOp:
        """Zeroes."""
        name, sketch = self._file()
        off, length = self._odd_range(sketch)
        self._drawn(sketch, off, min(length, 64 * KIB * KIB), UNWRITTEN, grow=True)
        return ops.Zero(file=name, off=off, len=length)

    def fzero_keep(self) -> AnyOp:
        """Zeroes that leave the size."""
        name, sketch = self._file()
        off, length = self._odd_range(sketch)
        self._drawn(sketch, off, min(length, 64 * KIB * KIB), UNWRITTEN, grow=False)
        return ops.ZeroKeep(file=name, off=off, len=length)

    def write_zeroes(self) -> AnyOp:
        """Zeroes by the device."""
        name, sketch = self._file()
        off, length = self._odd_range(sketch)
        return ops.WriteZeroes(file=name, off=off, len=length)

    def _shifted(self, sketch: Sketch) -> tuple[int, int]:
        """A range of whole clusters, nearly always."""
        off = self.places.inside(sketch)
        length = (1 + int(self.random() ** 2 * 8)) * self.cluster
        return (off - off % self.cluster if self.random() < 0.9 else off), length

    def fcollapse(self) -> AnyOp:
        """A range goes; it has to end before EOF."""
        name, sketch = self._file()
        off, length = self._shifted(sketch)
        if off + length >= sketch.size and off >= length:
            off -= length
        if not off % self.cluster and off + length < sketch.size:
            sketch.collapse(off, length)
            sketch.flushed()
        return ops.Collapse(file=name, off=off, len=length)

    def finsert(self) -> AnyOp:
        """A range comes in before EOF."""
        name, sketch = self._file()
        off, length = self._shifted(sketch)
        if not off % self.cluster and off < sketch.size:
            sketch.insert(off, length)
            sketch.flushed()
        return ops.Insert(file=name, off=off, len=length)

    def truncate(self) -> AnyOp:
        """To an edge, up or down; seldom to a size that is refused."""
        name, sketch = self._file()
        if self.random() < 0.02:
            size = self.dice.pick((-1, 1 << 62, 0xFFFFFFFF * self.block, 5 * KIB * KIB * KIB))
            return ops.Truncate(file=name, size=size)
        size = self.places.offset(sketch)
        sketch.cut(size)
        return ops.Truncate(file=name, size=size)

    # --- writeback, caches, names ---------------------------------------------------------

    def _flushed(self) -> str:
        name, sketch = self._file()
        sketch.flushed()
        return name

    def fsync(self) -> AnyOp:
        """fsync."""
        return ops.Fsync(file=self._flushed())

    def fdatasync(self) -> AnyOp:
        """fdatasync."""
        return ops.Fdatasync(file=self._flushed())

    def _all_flushed(self) -> None:
        for sketch in self.sketches.values():
            sketch.flushed()

    def sync(self) -> AnyOp:
        """sync."""
        self._all_flushed()
        return ops.Sync()

    def sync_range(self) -> AnyOp:
        """Part of a file, best where it is dirty; a length of 0 is all that follows."""
        name, sketch = self._file()
        off = self.places.in_state(sketch, DIRTY)
        length = abs(self.places.length(sketch, off)) if self.random() < 0.95 else 0
        if self.random() < 0.02:
            off = -1
        self._drawn(sketch, off, length, CLEAN, grow=False)
        return ops.SyncRange(file=name, off=off, len=length)

    def pwrite_osync(self) -> AnyOp:
        """A write that is on disk when it returns."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        self._drawn(sketch, off, length, CLEAN, grow=True)
        return ops.SyncWrite(file=name, off=off, len=length, tag=self.tag)

    def pwrite_odsync(self) -> AnyOp:
        """The same with O_DSYNC."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        self._drawn(sketch, off, length, CLEAN, grow=True)
        return ops.DsyncWrite(file=name, off=off, len=length, tag=self.tag)

    def drop_caches(self) -> AnyOp:
        """Drop what is clean."""
        return ops.DropCaches()

    def remount(self) -> AnyOp:
        """umount and mount."""
        self._all_flushed()
        return ops.Remount()

    def remount_opts(self) -> AnyOp:
        """A change of options, of one or two."""
        first, second = self.dice.pick(REMOUNT_OPTIONS), self.dice.pick(REMOUNT_OPTIONS)
        return ops.RemountOpts(opts=first if self.random() < 0.7 else f"{first},{second}")

    def close(self) -> AnyOp:
        """Close a file."""
        return ops.Close(file=self._file()[0])

    def otrunc(self) -> AnyOp:
        """Open with O_TRUNC."""
        name, sketch = self._file()
        sketch.cut(0)
        return ops.Otrunc(file=name)

    def unlink(self) -> AnyOp:
        """Remove a file."""
        name = self._file()[0]
        self.sketches[name] = Sketch()
        return ops.Unlink(file=name)

    def rename(self) -> AnyOp:
        """Rename over the other file."""
        name, sketch = self._file()
        to = "b" if name == "a" else "a"
        self.sketches[to], self.sketches[name] = sketch, Sketch()
        return ops.Rename(file=name, to=to)

    def setflags(self) -> AnyOp:
        """Append-only, immutable, or neither again."""
        return ops.SetFlags(file=self._file()[0], flags=(0, 0x10, 0x20, 0)[self.dice.below(4)])

    def shutdown(self) -> AnyOp:
        """The file system stops; what follows fails, up to the end."""
        return ops.Shutdown(flags=self.dice.below(3))

    # --- threads --------------------------------------------------------------------------

    def parallel(self) -> AnyOp:
        """Two or three threads of one or two calls each, on the same files."""
        if self.plan.setting in ("full", "low"):
            return self.sync()  # who gets the last space is not told apart
        index = self.tag - 1
        for _ in range(6):
            threads, number = [], 0
            for _ in range(2 + (self.random() < 0.2)):
                calls = []
                for _ in range(1 + (self.random() < 0.5)):
                    self.tag = default_tag(index, number)
                    calls.append(cast(Call, _MAKERS[_together().at(self.random())](self)))
                    number += 1
                threads.append(tuple(calls))
            if problem(threads) is None:
                self._all_flushed()
                return ops.Parallel(threads=tuple(threads), seed=self.dice.below(1000))
        return self.sync()

    # --- limits ---------------------------------------------------------------------------

    def rlimit_write(self) -> AnyOp:
        """A write with a limit of the file's size before, in or behind it."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        limit = max(off + int((self.random() * 1.6 - 0.3) * length), 0)
        self._written(sketch, off, min(length, limit - off))
        return ops.RlimitWrite(file=name, limit=limit, off=off, len=length, tag=self.tag)

    def user_write(self) -> AnyOp:
        """A write by the user whose limit it is."""
        name, sketch = self._file()
        off, length = self._range(sketch)
        if self.random() < 0.3:
            length = int(self.random() * 8) * 64 * KIB + length
        self._written(sketch, off, length)
        return ops.UserWrite(file=name, off=off, len=length, tag=self.tag, uid=USER)

    def quota_set(self) -> AnyOp:
        """Another limit, none, or one that is refused."""
        hard = (0, 20, 40, 64, 100, 256, 400, 1 << 20)[self.dice.below(8)]
        return ops.QuotaSet(uid=USER if self.random() < 0.9 else 1001, hard=hard)

    def chown(self) -> AnyOp:
        """The file is the user's, or root's."""
        return ops.Chown(file=self._file()[0], uid=USER if self.random() < 0.7 else 0)


@functools.cache
def _together() -> Table[str]:
    """What a thread does."""
    return Table({
        word: weight
        for words in FEATURES.values()
        for word, weight in words.items()
        if word != "parallel" and issubclass(ops.BY_WORD[word], ALLOWED)
    })  # fmt: skip


_MAKERS: dict[str, Callable[[Maker], AnyOp]] = {
    word: getattr(Maker, word) for words in FEATURES.values() for word in words
}
"""What makes the operation of each word."""
