"""Chance that is the same everywhere: on every machine and every version of Python.

Only `random.Random(int)` and its method `random()` are used: these are what Python promises
to keep. Other methods (`choice`, `shuffle`, `randrange`) have changed their sequence before.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Generic, TypeVar

__all__ = ["Dice", "Table"]

T = TypeVar("T")


class Table(Generic[T]):
    """Things to choose from and how often each is chosen, relative to the others."""

    __slots__ = ("_sums", "_things", "_total")

    def __init__(self, weights: dict[T, float]) -> None:
        """`ValueError` if nothing has a weight."""
        self._things = [thing for thing, weight in weights.items() if weight > 0]
        self._sums = list(accumulate(weights[thing] for thing in self._things))
        if not self._things:
            raise ValueError("a table needs something that can be chosen")
        self._total = self._sums[-1]

    def at(self, share: float) -> T:
        """The thing at `share` (from 0 to less than 1) of all weight."""
        where = bisect_right(self._sums, share * self._total)
        return self._things[min(where, len(self._things) - 1)]


class Dice:
    """A stream of chance that follows from `words` alone."""

    __slots__ = ("random",)

    def __init__(self, *words: object) -> None:
        text = "/".join(str(word) for word in words)
        digest = hashlib.sha256(text.encode()).digest()
        self.random = random.Random(int.from_bytes(digest[:16], "big")).random

    def below(self, count: int) -> int:
        """A number from 0 to `count - 1`."""
        return int(self.random() * count)

    def pick(self, things: Sequence[T]) -> T:
        """One of `things`."""
        return things[int(self.random() * len(things))]

    def chance(self, share: float) -> bool:
        """True in `share` of all cases."""
        return self.random() < share

    def choose(self, table: Table[T]) -> T:
        """One thing of `table`, by weight."""
        return table.at(self.random())
