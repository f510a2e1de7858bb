"""Placement: where the real kernel put the blocks that the model decides to allocate.

The model asks for physical numbers only of blocks that it allocates itself in the step,
and reads nothing else from a placement (see `harness.trace.Placement`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter

from harness.trace import AGAIN, APART, LATE, PIECEMEAL, SHORT, TURNS, Extent, Placement

__all__ = ["Placer", "Shift"]

_MOST_APART = 5
"""So many pieces that nobody saw lie apart, more than the root of an extent tree takes; those
that follow do not."""

_ENDLESS = 1 << 31
"""More blocks than anybody asks for at once."""

Shift = tuple[int, int, int]
"""The first block of a file that moves, how many from there on go, and how far the rest moves."""

_start = attrgetter("start")


class Placer:
    """Looks up physical block numbers in the placement of the current step."""

    def __init__(self, placement: Placement | None, block_size: int) -> None:
        self._placement, self._block_size = placement, block_size
        self._step: dict[str, tuple[Extent, ...]] = {}
        self._alias: dict[str, str] = {}
        self._shifts: dict[str, list[Shift]] = {}
        self._known = self._again = False
        self._pieces, self._last = 0, -1
        self.unseen = False
        """Of what was looked up last nobody saw where it was."""
        self.gone_from: int | None = None
        """Blocks from here on are freed again before the step ends, and wait for a commit: where
        a file has them then is not where they were."""
        self.seen = _ENDLESS
        """So many blocks of what was looked up last lay where they are said to; behind them the
        file has none at the end of the step."""
        self._nowhere = 1 << 62

    def begin(self, step: int) -> None:
        """Blocks are looked up in the state after `step` from now on."""
        placement = self._placement
        found = placement[step] if placement is not None and step < len(placement) else None
        self._known = found is not None
        self._step = found or {}
        self._pieces, self._last = 0, -1
        self._again = AGAIN in self._step
        self._alias.clear()
        self._shifts.clear()

    @property
    def late(self) -> bool:
        """Whether I/O to a part of a folio is supposed to end late in this step (`LATE`)."""
        return LATE in self._step

    def again(self) -> bool:
        """Whether writeback that low space asks for once more is supposed to be done in this step
        (`AGAIN`): the first time that it does."""
        again, self._again = self._again, False
        return again

    @property
    def piecemeal(self) -> bool:
        """Whether it is supposed not to be known in how many pieces blocks that nobody saw are
        freed in this step (`PIECEMEAL`)."""
        return PIECEMEAL in self._step

    @property
    def turn(self) -> int:
        """The number of the order that I/Os are supposed to have ended in, of those that make a
        difference (`TURNS`); 0 is that of their submission."""
        return max((at for at, word in enumerate(TURNS, start=1) if word in self._step), default=0)

    def renamed(self, name: str, to: str) -> None:
        """The file `name` is called `to` at the end of this step, and the one that is called so
        now is gone."""
        self._alias[name], self._alias[to] = to, ""

    def replaced(self, to: str) -> None:
        """The file that is called `to` at the end of this step is called so now."""
        self._alias.pop(to, None)

    def moved(self, name: str, first: int, gone: int, delta: int) -> None:
        """Blocks of the file from `first` on are about to get `delta` further; the `gone` blocks
        from `first` on are freed. In the step's placement they are there already."""
        self._shifts.setdefault(name, []).insert(0, (first, gone, delta))

    def moves(self, shifts: Iterable[tuple[str, Shift]]) -> None:
        """Only these `shifts` of files, in this order, are still to come in this step: calls of
        a parallel section are before them."""
        self._shifts.clear()
        for name, shift in shifts:
            self._shifts.setdefault(name, []).append(shift)

    def lookup(
        self, name: str, lblk: int, near: int | None, length: int = 1
    ) -> tuple[int, int] | None:
        """Device block of `lblk` and the number of blocks that follow it contiguously.

        None without a placement. A block that is not there although the step's placement
        is known was freed in the same step: it is taken to have been before what followed it if it
        is one of those that a shift frees (see `moved`), else before the first of the
        `length` blocks that is there, else at `near`, behind the block before it, else (always
        with `APART` or `SHORT`) where nothing is adjacent to it. Blocks that are not there between
        two that are contiguous with them, or (without `APART`) at the end, count as contiguous too.
        """
        self.unseen, self.seen = False, _ENDLESS
        if not self._known:
            return None
        name = self._alias.get(name, name)
        shifts, found = self._shifts.get(name, []), None
        if self.gone_from is None or lblk < self.gone_from:
            found = self._shifted(name, lblk, shifts)
            if found is not None and not _goes(lblk, shifts):
                return found
        self.unseen = True
        gap, following = self._next(name, lblk, length)
        if not self._lies_apart(lblk):
            if found is not None:
                return found
            if following is not None:
                return following[0] - gap, gap + following[1]
            if near is not None:
                return near, _ENDLESS
        return self.elsewhere()[0], 1 if SHORT in self._step else gap

    def elsewhere(self) -> tuple[int, int]:
        """A place that is adjacent to nothing, as `lookup` returns it."""
        self._nowhere += 1 << 32
        return self._nowhere, _ENDLESS

    def _next(self, name: str, lblk: int, length: int) -> tuple[int, tuple[int, int] | None]:
        """How many blocks from `lblk` on are not there, and where the first one is that is, if
        one of `length` blocks is."""
        if self.gone_from is not None:
            return _ENDLESS, None
        if self._shifts.get(name):
            return self._next_shifted(name, lblk, length)
        size, extents = self._block_size, self._step.get(name, ())
        at, end = bisect_right(extents, lblk * size, key=_start), (lblk + length) * size
        while at < len(extents) and extents[at].physical is None and extents[at].start < end:
            at += 1
        if at == len(extents) or extents[at].start >= end:
            return _ENDLESS, None
        there = extents[at].start // size
        found = self._at(name, there)
        return (there - lblk if found else _ENDLESS), found

    def _next_shifted(
        self, name: str, lblk: int, length: int
    ) -> tuple[int, tuple[int, int] | None]:
        """`_next` for a file of which parts have yet to move."""
        shifts = self._shifts[name]
        for there in sorted(self._before(name, shifts)):
            if lblk < there < lblk + length:
                found = self._shifted(name, there, shifts)
                if found is not None and not _goes(there, shifts):
                    return there - lblk, found
        return _ENDLESS, None

    def _before(self, name: str, shifts: list[Shift]) -> Iterator[int]:
        """Where the extents that the step leaves begin before the file is shifted, and where what
        is behind each shift does."""
        starts = [extent.start // self._block_size for extent in self._step.get(name, ())]
        for first, gone, delta in reversed(shifts):
            behind = first + gone
            starts = [
                at - delta if at >= behind + delta else at for at in (*starts, behind + delta)
            ]
        yield from starts

    def _lies_apart(self, lblk: int) -> bool:
        """Whether block `lblk`, which nobody saw, is supposed not to follow the one before it: the
        first pieces of each attempt are, and where a block comes again another one begins."""
        if self._step.keys().isdisjoint((APART, SHORT)):
            return False
        if lblk != self._last:
            self._pieces = 1 if lblk < self._last else self._pieces + 1
            self._last = lblk
        return self._pieces <= _MOST_APART

    def _shifted(self, name: str, lblk: int, shifts: list[Shift]) -> tuple[int, int] | None:
        """`_at` for a file of which parts have yet to move; what goes is taken to have been
        contiguous with what followed it."""
        if not shifts:
            return self._at(name, lblk)
        (first, gone, delta), later = shifts[0], shifts[1:]
        behind = first + gone
        after = self._shifted(name, behind + delta, later)
        if lblk >= behind:
            return self._shifted(name, lblk + delta, later)
        if lblk >= first:
            return after and (after[0] - (behind - lblk), after[1] + behind - lblk)
        found = self._shifted(name, lblk, later)
        if found is None or found[1] < first - lblk:
            return found
        follows = after is not None and after[0] == found[0] + behind - lblk
        return found[0], behind - lblk + (after[1] if after and follows else 0)

    def _at(self, name: str, lblk: int) -> tuple[int, int] | None:
        extents = self._step.get(name, ())
        pos = lblk * self._block_size
        at = bisect_right(extents, pos, key=_start) - 1
        if at < 0:
            return None
        extent = extents[at]
        skip = pos - extent.start
        if skip >= extent.length or extent.physical is None:
            return None
        physical, end = extent.physical + skip, extent.start + extent.length
        length = extent.length - skip
        for index in range(at + 1, len(extents)):
            following = extents[index]
            if following.physical is None:  # delayed: it tells nothing
                continue
            gap = following.start - end
            if following.physical != physical + length + gap:
                break
            length += gap + following.length
            end = following.start + following.length
        else:
            if not self._shifts.get(name):
                self.seen = length // self._block_size
            if APART not in self._step:
                length = self._block_size * _ENDLESS
        return physical // self._block_size, length // self._block_size


def _goes(lblk: int, shifts: Iterable[Shift]) -> bool:
    """Whether block `lblk` is one of those that `shifts` free."""
    for first, gone, delta in shifts:
        if first <= lblk < first + gone:
            return True
        if lblk >= first:
            lblk += delta
    return False
