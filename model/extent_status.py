"""Extent status: what each block of a file is (fs/ext4/extents_status.c and extents.c).

A sorted list of runs, each delayed, unwritten or written; what is between them is a hole.
Runs merge as entries of the kernel's extent status tree do: same state, and for mapped
blocks physically adjacent. Counting goes by clusters, in the closed form of the reserved
clusters: a cluster is reserved if it has a delayed block and no mapped one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from harness.trace import Extent
from model.units import DELAYED, EOF_BLOCK, HOLE

__all__ = ["ExtentStatus", "Run"]


class Run(NamedTuple):
    """Blocks `[start, end)` in one state; `pblk` is the block on the device, if known."""

    start: int
    end: int
    state: int
    pblk: int | None = None

    def cut(self, start: int, end: int) -> Run:
        """The part of this run in `[start, end)`."""
        if start <= self.start and self.end <= end:
            return self
        low, high = max(self.start, start), min(self.end, end)
        pblk = None if self.pblk is None else self.pblk + low - self.start
        return Run(low, high, self.state, pblk)


def _adjoin(left: Run, right: Run) -> bool:
    if left.state != right.state or left.end != right.start:
        return False
    if left.state == DELAYED:
        return True
    if left.pblk is None or right.pblk is None:
        return left.pblk is right.pblk
    return left.pblk + left.end - left.start == right.pblk


class ExtentStatus:
    """States of all blocks of one file; `ratio` is blocks per cluster."""

    def __init__(self, ratio: int) -> None:
        self.ratio = ratio
        self._runs: list[Run] = []
        self._starts: list[int] = []
        self.seen: tuple[Extent, ...] | None = None
        """What an observer saw last, as long as nothing changes."""

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def lookup(self, lblk: int) -> Run:
        """The run that holds `lblk`, a hole included (ext4_es_lookup_extent)."""
        at = bisect_right(self._starts, lblk) - 1
        if at >= 0 and lblk < self._runs[at].end:
            return self._runs[at]
        start = self._runs[at].end if at >= 0 else 0
        end = self._starts[at + 1] if at + 1 < len(self._starts) else EOF_BLOCK
        return Run(start, end, HOLE)

    def overlapping(self, start: int, end: int) -> list[Run]:
        """The runs in `[start, end)`, cut to it; holes are left out."""
        at = bisect_right(self._starts, start) - 1
        if at < 0 or self._runs[at].end <= start:
            at += 1
        found = []
        while at < len(self._runs) and self._runs[at].start < end:
            found.append(self._runs[at].cut(start, end))
            at += 1
        return found

    def pieces(self, start: int, end: int) -> Iterator[Run]:
        """All of `[start, end)` in order, holes included."""
        at = start
        for run in self.overlapping(start, end):
            if run.start > at:
                yield Run(at, run.start, HOLE)
            yield run
            at = run.end
        if at < end:
            yield Run(at, end, HOLE)

    def set(self, run: Run) -> None:
        """Make `[run.start, run.end)` what `run` says (ext4_es_insert_extent)."""
        if run.end <= run.start:
            return
        self.seen = None
        low = bisect_right(self._starts, run.start) - 1
        if low < 0 or self._runs[low].end < run.start:
            low += 1
        high = low
        while high < len(self._runs) and self._starts[high] <= run.end:
            high += 1
        touched = self._runs[low:high]
        fresh = [old.cut(old.start, run.start) for old in touched[:1] if old.start < run.start]
        if run.state != HOLE:
            fresh.append(run)
        fresh += [old.cut(run.end, old.end) for old in touched[-1:] if old.end > run.end]
        merged: list[Run] = []
        for piece in fresh:
            if merged and _adjoin(merged[-1], piece):
                merged[-1] = merged[-1]._replace(end=piece.end)
            else:
                merged.append(piece)
        self._runs[low:high] = merged
        self._starts[low:high] = [piece.start for piece in merged]

    def remove(self, start: int, end: int) -> None:
        """Make `[start, end)` a hole (ext4_es_remove_extent)."""
        self.set(Run(start, end, HOLE))

    def shift(self, first: int, delta: int) -> None:
        """Move all from block `first` on by `delta` blocks (ext4_ext_shift_extents)."""
        moved = self.overlapping(first, EOF_BLOCK)
        self.remove(first, EOF_BLOCK)
        for run in moved:
            self.set(run._replace(start=run.start + delta, end=run.end + delta))

    def next_mapped(self, lblk: int) -> int:
        """The first unwritten or written block after `lblk` (ext4_ext_next_allocated_block)."""
        at = bisect_right(self._starts, lblk)
        while at < len(self._runs) and self._runs[at].state == DELAYED:
            at += 1
        return self._starts[at] if at < len(self._runs) else EOF_BLOCK

    def last_mapped_before(self, lblk: int) -> int:
        """The last unwritten or written block before `lblk`, -1 if there is none."""
        at = bisect_right(self._starts, lblk - 1) - 1
        while at >= 0 and self._runs[at].state == DELAYED:
            at -= 1
        return min(self._runs[at].end, lblk) - 1 if at >= 0 else -1

    def clusters(self, start: int, end: int) -> tuple[int, int]:
        """Of the clusters that blocks `[start, end)` touch: how many are reserved (delayed
        and not mapped), how many are allocated (mapped)."""
        ratio = self.ratio
        low, high = start // ratio, -(-end // ratio)
        runs = self.overlapping(low * ratio, high * ratio)
        if ratio == 1:
            delayed = sum(run.end - run.start for run in runs if run.state == DELAYED)
            return delayed, sum(run.end - run.start for run in runs) - delayed
        mapped: set[int] = set()
        waiting: set[int] = set()
        for run in runs:
            chosen = waiting if run.state == DELAYED else mapped
            chosen.update(range(run.start // ratio, -(-run.end // ratio)))
        return len(waiting - mapped), len(mapped)
