"""Operations that read, write and copy bytes."""

from __future__ import annotations

from workloads import ops
from workloads.generate.hand import KIB, USER, Hand
from workloads.generate.places import PAGE
from workloads.generate.sketch import CLEAN, DIRTY, HOLE, UNWRITTEN, Sketch
from workloads.ops import AnyOp

__all__ = ["Data"]


class Data(Hand):
    """A method for each word; it draws the operation into the sketch and returns it."""

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
        if name == to and off < dst < off + length:
            length = min(length, 64 * (dst - off))  # it feeds itself, so many bytes at a time
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
