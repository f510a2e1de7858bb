"""Freeing: how many clusters go with each call (fs/ext4/extents.c, ext4_remove_blocks).

The counters come to the same; a cheap read of one, and what users are told of their quota, do not.
"""

from __future__ import annotations

from model.extent_status import ExtentStatus, Run
from model.units import DELAYED

__all__ = ["freed_pieces"]


def freed_pieces(es: ExtentStatus, runs: list[Run]) -> list[int]:
    """How many clusters each call frees now that `runs` have gone, the last first
    (ext4_remove_blocks)."""
    mapped = [run for run in reversed(runs) if run.state != DELAYED]
    if es.ratio == 1:
        return [run.end - run.start for run in mapped]
    pieces = []
    for run, before in zip(mapped, [*mapped[1:], None], strict=True):
        shared = -1 if before is None else (before.end - 1) // es.ratio
        pieces += _of_one(es, run, shared)
    return pieces


def _of_one(es: ExtentStatus, run: Run, shared: int) -> list[int]:
    """The same for one extent: a cluster that it has only in part goes by itself, and one
    that is `shared` with the extent before it goes with that. What is reserved again
    stays charged."""
    ratio = es.ratio
    first, last = run.start // ratio, (run.end - 1) // ratio
    inner_first, inner_last = -(-run.start // ratio), run.end // ratio - 1
    tail = [last] if last > inner_last else []
    head = [first] if first < inner_first and first not in tail else []
    groups = (tail, range(inner_first, inner_last + 1), head)
    counts = (
        sum(es.clusters(at * ratio, at * ratio + ratio) == (0, 0) for at in group if at != shared)
        for group in groups
    )
    return [count for count in counts if count]
