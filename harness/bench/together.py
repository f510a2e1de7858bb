"""Processes that do the same kind of work at once, for measurements of the whole machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any

from harness.collector import collect_seldom
from harness.errors import Ext4diffError, MachineryError

__all__ = ["Part", "Together", "together"]

Part = Callable[[], AbstractContextManager[Callable[[Any], Any]]]
"""A process's part: a context in which it is ready, and what answers questions there."""


class Together:
    """Processes with a part each, waiting for questions."""

    def __init__(self, ends: list[Connection]) -> None:
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def ask(self, question: object) -> list[Any]:
        """What all answer, who work at once. Raises what a process raises, `MachineryError` if
        one is gone."""
        for end in self._ends:
            with contextlib.suppress(BrokenPipeError):
                end.send(question)
        return [_received(end) for end in self._ends]


@contextmanager
def together(parts: Sequence[Part]) -> Iterator[Together]:
    """A process for each part, once all are ready; they are gone afterwards.

    Raises `Ext4diffError` if one does not get ready.
    """
    context = multiprocessing.get_context("forkserver")
    ends, workers = [], []
    try:
        for part in parts:
            here, there = context.Pipe()
            worker = context.Process(target=_work, args=(there, part), daemon=True)
            worker.start()
            there.close()
            ends.append(here)
            workers.append(worker)
        for end in ends:
            _received(end)
        yield Together(ends)
    finally:
        for end in ends:
            end.close()
        for worker in workers:
            worker.join(timeout=5)
            worker.terminate()
            worker.join(timeout=5)


def _received(end: Connection) -> Any:
    try:
        found = end.recv()
    except (EOFError, ConnectionError) as error:
        raise MachineryError("a process that was measured has died") from error
    if isinstance(found, Ext4diffError):
        raise found
    return found


def _work(end: Connection, part: Part) -> None:
    """Get ready and say so, then answer until nobody asks, or until SIGTERM; tidily."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    collect_seldom()
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            with part() as answer:
                end.send(None)
                while True:
                    end.send(answer(end.recv()))
        except Ext4diffError as error:
            end.send(error)
