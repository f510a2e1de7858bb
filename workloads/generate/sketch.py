"""A sketch of a file while a program is made: how long it is, and what lies where.

It is no model. It follows what operations are for, not what a kernel makes of them (a write
that fails is drawn as if it had worked), and is there so that offsets can be chosen that land
on edges. Everything is in bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

__all__ = ["CLEAN", "DIRTY", "HOLE", "UNWRITTEN", "Sketch"]

HOLE, DIRTY, UNWRITTEN, CLEAN = range(4)
"""Nothing; written but not flushed; preallocated; written and flushed."""


class Sketch:
    """`at` are the bytes where a run begins, in order and from 0 on; `state` what it is.

    A run ends where the next one begins, the last one never.
    """

    __slots__ = ("at", "size", "state")

    def __init__(self) -> None:
        self.size = 0
        self.at = [0]
        self.state = [HOLE]

    def fill(self, start: int, end: int, state: int) -> None:
        """`[start, end)` is now `state`; the edges of older runs inside it are gone."""
        at = self.at
        low, high = bisect_left(at, start), bisect_right(at, end)
        after = self.state[high - 1]
        at[low:high] = (start, end)
        self.state[low:high] = (state, after)

    def cut(self, size: int) -> None:
        """The file is `size` bytes long; nothing is behind that."""
        low = bisect_left(self.at, size)
        self.at[low:] = (size,) if low else (0,)
        self.state[low:] = (HOLE,)
        self.size = size

    def flushed(self) -> None:
        """All that was written is on disk."""
        self.state = [CLEAN if state == DIRTY else state for state in self.state]

    def collapse(self, start: int, length: int) -> None:
        """`[start, start + length)` goes, and what is behind it moves down."""
        self.fill(start, start + length, HOLE)
        low, high = bisect_left(self.at, start), bisect_left(self.at, start + length)
        self.at[low:] = [place - length for place in self.at[high:]]
        self.state[low:] = self.state[high:]
        self.size = max(self.size - length, 0)

    def insert(self, start: int, length: int) -> None:
        """A hole of `length` at `start`, and what is behind it moves up."""
        low = bisect_left(self.at, start)
        if low == len(self.at) or self.at[low] != start:
            self.at.insert(low, start)
            self.state.insert(low, self.state[low - 1])
        self.at[low:] = [start, *(place + length for place in self.at[low:])]
        self.state.insert(low, HOLE)
        self.size += length
