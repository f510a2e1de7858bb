"""Placement: where the real kernel put the blocks that the model decides to allocate.

The model asks for physical numbers only of blocks that it allocates itself in the step,
and reads nothing else from a placement (see `harness.trace.Placement`).
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from harness.trace import Extent, Placement

__all__ = ["Placer"]

_start = attrgetter("start")


class Placer:
    """Looks up physical block numbers in the placement of the current step."""

    def __init__(self, placement: Placement | None, block_size: int) -> None:
        self._placement, self._block_size = placement, block_size
        self._step: dict[str, tuple[Extent, ...]] = {}
        self._alias: dict[str, str] = {}
        self._moved: dict[str, tuple[int, int, int]] = {}
        self._known = False
        self._nowhere = 1 << 62

    def begin(self, step: int) -> None:
        """Blocks are looked up in the state after `step` from now on."""
        placement = self._placement
        self._known = placement is not None and step < len(placement)
        self._step = placement[step] if placement is not None and self._known else {}
        self._alias.clear()
        self._moved.clear()

    def renamed(self, name: str, to: str) -> None:
        """The file `name` is called `to` at the end of this step."""
        self._alias[name] = to

    def moved(self, name: str, first: int, gone: int, delta: int) -> None:
        """Blocks of the file from `first` on are `delta` further at the end of this step;
        the `gone` blocks from `first` on are freed in it."""
        self._moved[name] = (first, gone, delta)

    def lookup(self, name: str, lblk: int, near: int | None) -> tuple[int, int] | None:
        """Device block of `lblk` and the number of blocks that follow it contiguously.

        None without a placement. A block that is not there although the step's placement
        is known was freed in the same step: it is taken to have been at `near`, behind
        the block before it, or where nothing is adjacent to it. Blocks that are not there
        between two that are contiguous with them, or at the end, count as contiguous too.
        """
        if not self._known:
            return None
        name = self._alias.get(name, name)
        found = self._moved_lookup(name, lblk) if name in self._moved else self._at(name, lblk)
        if found is not None:
            return found
        if near is not None:
            return near, 1 << 31
        self._nowhere += 1 << 32
        return self._nowhere, 1 << 31

    def _moved_lookup(self, name: str, lblk: int) -> tuple[int, int] | None:
        """`_at` for a file of which a part moves in this step; what is gone is taken to
        have been contiguous with what followed it."""
        first, gone, delta = self._moved[name]
        behind = first + gone
        after = self._at(name, behind + delta)
        if lblk >= behind:
            return self._at(name, lblk + delta)
        if lblk >= first:
            if after is None:
                return None
            return after[0] - (behind - lblk), after[1] + behind - lblk
        found = self._at(name, lblk)
        if found is None or found[1] < first - lblk:
            return found
        if after is not None and after[0] == found[0] + behind - lblk:
            return found[0], behind - lblk + after[1]
        return found[0], behind - lblk

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
            gap = following.start - end
            if following.physical != physical + length + gap:
                break
            length += gap + following.length
            end = following.start + following.length
        else:
            length = self._block_size << 31
        return physical // self._block_size, length // self._block_size
