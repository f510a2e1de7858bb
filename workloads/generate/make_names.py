"""Writeback, caches, names and flags."""

from __future__ import annotations

from workloads import ops
from workloads.generate.hand import Hand
from workloads.generate.sketch import CLEAN, DIRTY, Sketch
from workloads.ops import AnyOp

__all__ = ["Names"]

REMOUNT_OPTIONS = (
    "ro", "rw", "delalloc", "nodelalloc", "dioread_lock", "dioread_nolock", "data=ordered",
    "data=journal", "buffered_iomap", "nobuffered_iomap", "barrier", "commit=60",
    "noauto_da_alloc", "auto_da_alloc",
)  # fmt: skip


class Names(Hand):
    """A method for each word; it draws the operation into the sketch and returns it."""

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
