"""Source: the user's buffer of a write, which may end in pages that fault."""

from __future__ import annotations

from model.units import PAGE, round_down
from workloads.content import pattern_view

__all__ = ["Source"]


class Source:
    """`data` to write; only the first `readable` bytes of it can be read."""

    __slots__ = ("data", "readable")

    def __init__(self, data: bytes | memoryview, readable: int | None = None) -> None:
        self.data = memoryview(data)
        self.readable = len(data) if readable is None else min(readable, len(data))

    @classmethod
    def tagged(cls, tag: int, pos: int, count: int, fault: int | None = None) -> Source:
        """Content of a write with `tag`; pages from byte `fault`, rounded down, are unmapped."""
        readable = None if fault is None else max(round_down(fault, PAGE), 0)
        return cls(pattern_view(tag, pos, count), readable)

    def __len__(self) -> int:
        return len(self.data)

    def cut(self, count: int) -> Source:
        """The first `count` bytes."""
        return Source(self.data[:count], min(self.readable, count))
