"""Fewer operations: what follows the mismatch goes first, then large pieces, then small ones.

The whole is delta debugging over the operations (ddmin, complements only), with two guesses
ahead that a mismatch found by chance mostly confirms: that a few operations before it are
enough, or those on the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from harness.minimize.calls import names_of
from harness.verdict import Place
from workloads.ops import AnyOp, Parallel, calls
from workloads.sections import problem

__all__ = ["Shrinking", "fewer_operations"]

Ops = tuple[AnyOp, ...]


class Shrinking(Protocol):
    """What this needs of a search."""

    @property
    def ops(self) -> Ops:
        """The operations of the best so far."""

    @property
    def place(self) -> Place:
        """Where the best so far shows the mismatch."""

    def try_ops(self, ops: Ops) -> bool:
        """Take `ops` for the best if they are simpler and show the mismatch."""


def fewer_operations(search: Shrinking) -> None:
    """Take away operations until none alone can go."""
    _cut(search)
    for guess in _guesses(search.ops, search.place):
        if search.try_ops(guess):
            break
    _pieces(search)
    _sections(search)


def _cut(search: Shrinking) -> None:
    """Take away what follows the step of the mismatch."""
    if isinstance(search.place, int):
        search.try_ops(search.ops[: search.place + 1])


def _guesses(ops: Ops, place: Place) -> Iterator[Ops]:
    """The last 1, 2, 4, ... operations, and those that have to do with the last one's files."""
    length = 1
    while length <= len(ops) // 2:
        yield ops[-length:]
        if length == 2:
            files = set(names_of(calls(ops[-1:] if isinstance(place, int) else ops[:1])))
            yield tuple(op for op in ops if not files or files & set(names_of(calls([op]))))
        length *= 2


def _pieces(search: Shrinking) -> None:
    """Take away pieces of half the program, a quarter, ..., of one operation."""
    size = max(1, len(search.ops) // 2)
    while True:
        before = len(search.ops)
        end = before
        while end > 0:
            start = max(0, end - size)
            ops = search.ops
            if ops[:start] + ops[end:] and search.try_ops(ops[:start] + ops[end:]):
                _cut(search)
            end = min(start, len(search.ops))
        if size == 1 and len(search.ops) == before:
            return
        size = max(1, size // 2)


def _sections(search: Shrinking) -> None:
    """Simplify parallel sections until nothing more can go."""
    index = 0
    while index < len(search.ops):
        op = search.ops[index]
        if isinstance(op, Parallel):
            ops = search.ops
            if any(
                search.try_ops((*ops[:index], *instead, *ops[index + 1 :]))
                for instead in _simpler_sections(op)
            ):
                continue  # look at the same place again
        index += 1


def _simpler_sections(section: Parallel) -> Iterator[Ops]:
    """No threads, but their calls one after the other; a thread less; a call less."""
    threads = section.threads
    yield tuple(call for thread in threads for call in thread)
    for at in range(len(threads)):
        yield from _section(section, threads[:at] + threads[at + 1 :])
    for at, thread in enumerate(threads):
        for number in range(len(thread)):
            shorter = thread[:number] + thread[number + 1 :]
            left = (shorter,) if shorter else ()
            yield from _section(section, (*threads[:at], *left, *threads[at + 1 :]))


def _section(section: Parallel, threads: tuple[tuple[object, ...], ...]) -> Iterator[Ops]:
    """A section of these threads, or the calls of the only one; nothing if it can be none."""
    made = msgspec.structs.replace(section, threads=threads, order=())
    if len(threads) == 1:
        yield tuple(made.threads[0])
    elif problem(made.threads) is None:
        yield (made,)
