"""Placement: where the real kernel put the blocks that the model decides to allocate.

The model asks for physical numbers only of blocks that it allocates itself in the step,
and reads nothing else from a placement (see `harness.trace.Placement`).
"""

from __future__ import annotations

from bisect import bisect_right

from harness.trace import Extent, Placement

__all__ = ["Placer"]


class Placer:
    """Looks up physical block numbers in the placement of the current step."""

    def __init__(self, placement: Placement | None, block_size: int) -> None:
        self._placement, self._block_size = placement, block_size
        self._step: dict[str, tuple[Extent, ...]] = {}
        self._alias: dict[str, str] = {}
        self._moved: dict[str, tuple[int, int, int]] = {}

    def begin(self, step: int) -> None:
        """Blocks are looked up in the state after `step` from now on."""
        known = self._placement is not None and step < len(self._placement)
        self._step = self._placement[step] if self._placement and known else {}
        self._alias.clear()
        self._moved.clear()

    def renamed(self, name: str, to: str) -> None:
        """The file `name` is called `to` at the end of this step."""
        self._alias[name] = to

    def moved(self, name: str, first: int, gone: int, delta: int) -> None:
        """Blocks of the file from `first` on are `delta` further at the end of this step;
        the `gone` blocks from `first` on are freed in it."""
        self._moved[name] = (first, gone, delta)

    def lookup(self, name: str, lblk: int) -> tuple[int, int] | None:
        """Device block of `lblk` and the number of blocks that follow it contiguously."""
        limit = None
        if name in self._moved:
            first, gone, delta = self._moved[name]
            if lblk >= first + gone:
                lblk += delta
            elif lblk >= first:
                return None
            else:
                limit = first - lblk
        extents = self._step.get(self._alias.get(name, name), ())
        pos = lblk * self._block_size
        at = bisect_right(extents, pos, key=lambda extent: extent.start) - 1
        if at < 0:
            return None
        extent = extents[at]
        skip = pos - extent.start
        if skip >= extent.length or extent.physical is None:
            return None
        length = (extent.length - skip) // self._block_size
        return (extent.physical + skip) // self._block_size, min(length, limit or length)
