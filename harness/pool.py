"""The same work for many things, on all CPUs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["each"]

_CHUNK = 4
"""Items that a process takes at a time."""
Item = TypeVar("Item")
Done = TypeVar("Done")


def each(
    work: Callable[[Item], Done], items: Sequence[Item], processes: int | None = None
) -> Iterator[Done]:
    """`work` of each of `items`, in their order; `processes` work (default: one a CPU).

    Raises what `work` raises.
    """
    workers = min(processes or os.cpu_count() or 1, len(items))
    if workers < 2:
        yield from map(work, items)
        return
    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        yield from pool.imap(work, items, chunksize=_CHUNK)
