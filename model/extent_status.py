"""Extent status: what each block of a file is (fs/ext4/extents_status.c and extents.c).

A sorted list of runs, each delayed, unwritten or written; what is between them is a hole.
Runs merge as entries of the kernel's extent status tree do: same state, and for mapped
blocks physically adjacent. Counting goes by clusters, in the closed form of the reserved
clusters: a cluster is reserved if it has a delayed block and no mapped one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter

import msgspec

from harness.trace import Extent
from model.units import DELAYED, EOF_BLOCK, HOLE

__all__ = ["ExtentStatus", "Run"]

_start = attrgetter("start")


class Run(msgspec.Struct, frozen=True, gc=False):
    """Blocks `[start, end)` in one state; `pblk` is the block on the device, if known."""

    start: int
    end: int
    state: int
    pblk: int | None = None

    def cut(self, start: int, end: int) -> Run:
        """The part of this run in `[start, end)`."""
        if start <= self.start and self.end <= end:
            return self
        low = start if start > self.start else self.start
        high = end if end < self.end else self.end
        pblk = None if self.pblk is None else self.pblk + low - self.start
        return Run(low, high, self.state, pblk)

    def become(self, state: int) -> Run:
        """The same blocks in `state`."""
        return Run(self.start, self.end, state, self.pblk)

    def moved(self, delta: int) -> Run:
        """The same blocks of the device, `delta` blocks further in the file."""
        return Run(self.start + delta, self.end + delta, self.state, self.pblk)


def _joined(left: Run, right: Run) -> list[Run]:
    """The two as one run if they are one entry of the extent status tree."""
    if left.state != right.state or left.end != right.start:
        return [left, right]
    if left.state != DELAYED:
        if left.pblk is None or right.pblk is None:
            if left.pblk is not right.pblk:
                return [left, right]
        elif left.pblk + left.end - left.start != right.pblk:
            return [left, right]
    return [Run(left.start, right.end, left.state, left.pblk)]


class ExtentStatus:
    """States of all blocks of one file; `ratio` is blocks per cluster."""

    def __init__(self, ratio: int) -> None:
        self.ratio = ratio
        self._runs: list[Run] = []
        self._starts: list[int] = []
        self.unreserved: int | None = None
        """A cluster for which delayed blocks reserve nothing (see `da_reserve.new_clusters`)."""
        self.seen: tuple[Extent, ...] | None = None
        """What an observer saw last, as long as nothing changes."""

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def lookup(self, lblk: int) -> Run:
        """The run that holds `lblk`, a hole included (ext4_es_lookup_extent)."""
        runs, starts = self._runs, self._starts
        at = bisect_right(starts, lblk)
        start = 0
        if at:
            before = runs[at - 1]
            if lblk < before.end:
                return before
            start = before.end
        return Run(start, starts[at] if at < len(starts) else EOF_BLOCK, HOLE)

    def overlapping(self, start: int, end: int) -> list[Run]:
        """The runs in `[start, end)`, cut to it; holes are left out."""
        runs = self._runs
        low = bisect_right(self._starts, start) - 1
        if low < 0 or runs[low].end <= start:
            low += 1
        found = runs[low : bisect_left(self._starts, end, low)]
        if found:
            if found[0].start < start:
                found[0] = found[0].cut(start, end)
            if found[-1].end > end:
                found[-1] = found[-1].cut(start, end)
        return found

    def pieces(self, start: int, end: int) -> list[Run]:
        """All of `[start, end)` in order, holes included."""
        found, at = [], start
        for run in self.overlapping(start, end):
            if run.start > at:
                found.append(Run(at, run.start, HOLE))
            found.append(run)
            at = run.end
        if at < end:
            found.append(Run(at, end, HOLE))
        return found

    def set(self, run: Run) -> None:
        """Make `[run.start, run.end)` what `run` says (ext4_es_insert_extent)."""
        start, end = run.start, run.end
        if end <= start:
            return
        self.seen = None
        runs, starts = self._runs, self._starts
        low = bisect_left(starts, start)
        if low and runs[low - 1].end >= start:
            low -= 1
        high = bisect_right(starts, end, low)
        if low == high:  # nothing is there, and nothing beside it
            if run.state != HOLE:
                runs.insert(low, run)
                starts.insert(low, start)
            return
        fresh = [] if run.state == HOLE else [run]
        first, last = runs[low], runs[high - 1]
        if first.start < start:
            left = first if first.end <= start else first.cut(first.start, start)
            fresh = _joined(left, run) if fresh else [left]
        if last.end > end:
            right = last if last.start >= end else last.cut(end, last.end)
            fresh[-1:] = _joined(fresh[-1], right) if fresh else [right]
        runs[low:high] = fresh
        starts[low:high] = map(_start, fresh)

    def remove(self, start: int, end: int) -> None:
        """Make `[start, end)` a hole (ext4_es_remove_extent)."""
        self.set(Run(start, end, HOLE))

    def shift(self, first: int, delta: int) -> None:
        """Move all from block `first` on by `delta` blocks (ext4_ext_shift_extents)."""
        tail = [run.moved(delta) for run in self.overlapping(first, EOF_BLOCK)]
        self.remove(first, EOF_BLOCK)
        for run in tail[:1]:  # only this one can join what is before it
            self.set(run)
        self._runs += tail[1:]
        self._starts += [run.start for run in tail[1:]]

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
            delayed = mapped_blocks = 0
            for run in runs:
                if run.state == DELAYED:
                    delayed += run.end - run.start
                else:
                    mapped_blocks += run.end - run.start
            return delayed, mapped_blocks
        mapped: set[int] = set()
        waiting: set[int] = set()
        for run in runs:
            chosen = waiting if run.state == DELAYED else mapped
            chosen.update(range(run.start // ratio, -(-run.end // ratio)))
        waiting -= mapped
        return len(waiting) - (self.unreserved in waiting), len(mapped)
