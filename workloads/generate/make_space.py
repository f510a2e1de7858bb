"""Operations on the space of a file: fallocate and truncate."""

from __future__ import annotations

from workloads import ops
from workloads.generate.hand import KIB, Hand
from workloads.generate.sketch import CLEAN, DIRTY, HOLE, UNWRITTEN, Sketch
from workloads.ops import AnyOp

__all__ = ["Space"]


class Space(Hand):
    """A method for each word; it draws the operation into the sketch and returns it."""

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
