"""The same work for many things, on all CPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from harness.collector import collect_seldom
from harness.errors import MachineryError

__all__ = ["each"]

_CHUNK = 4
"""Items that a process takes at a time."""
Item = TypeVar("Item")
Done = TypeVar("Done")


def _get_ready() -> None:
    """Of a process: Ctrl-C is its parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()


def each(
    work: Callable[[Item], Done], items: Sequence[Item], processes: int | None = None
) -> Iterator[Done]:
    """`work` of each of `items`, in their order; `processes` work (default: one a CPU).

    Raises what `work` raises, and `MachineryError` if a process dies. None of them is left then,
    nor if the caller stops asking.
    """
    workers = min(processes or os.cpu_count() or 1, len(items))
    if workers < 2:
        yield from map(work, items)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("forkserver"),
        initializer=_get_ready,
    )
    try:
        yield from pool.map(work, items, chunksize=_CHUNK)
    except BrokenProcessPool as error:
        raise MachineryError(
            f"one of {workers} processes died, killed for want of memory perhaps; -j 1 takes none"
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(cancel_futures=True)
