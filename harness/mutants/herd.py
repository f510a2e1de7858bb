"""Work that spoils its process, or may never end: each piece in a process of its own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from harness.errors import MachineryError
from vm.process import ending_with_parent

__all__ = ["spread"]

T = TypeVar("T")


def spread(work: Callable[[T], bytes], items: Sequence[T], workers: int) -> Iterator[bytes]:
    """What `work` returns for each of `items`, as it comes; `workers` at a time.

    Each has a copy of this process as it is now, which ends with it. Whatever ends this
    iterator, or this process, ends them all. Raises `MachineryError` if one died.
    """
    tie = ending_with_parent(signal.SIGKILL)
    context = multiprocessing.get_context("fork")
    running: dict[Connection, BaseProcess] = {}
    left = list(reversed(items))
    try:
        while left or running:
            while left and len(running) < workers:
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=_child, args=(tie, work, left.pop(), theirs)
                )
                process.start()
                theirs.close()
                running[ours] = process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                yield _answer(ready, running.pop(ready))
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            process.join()


def _child(
    tie: Callable[[], None], work: Callable[[T], bytes], item: T, answer: Connection
) -> None:
    tie()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    answer.send_bytes(work(item))


def _answer(ready: Connection, process: BaseProcess) -> bytes:
    try:
        return ready.recv_bytes()
    except EOFError:
        process.join()
        raise MachineryError(f"a process of ours died with status {process.exitcode}") from None
    finally:
        process.join()
        ready.close()
