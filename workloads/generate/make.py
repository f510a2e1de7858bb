"""Random programs, one operation after the other, each made for what the ones before left.

`Maker` has one method for each word of the text form; a method draws the operation into the
sketch and returns it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

from workloads import ops
from workloads.generate.dice import Table
from workloads.generate.hand import FILES, USER
from workloads.generate.make_data import Data
from workloads.generate.make_names import Names
from workloads.generate.make_space import Space
from workloads.generate.plan import FEATURES
from workloads.generate.sketch import DIRTY, Sketch
from workloads.ops import AnyOp, Call
from workloads.sections import ALLOWED, default_tag, problem

__all__ = ["Maker"]

FILL = "fill"
MORE = 6
"""Operations that follow a set-up, however long it is."""
LAST = 4
"""Operations that may come after a shutdown: enough to see that they fail."""


class Maker(Data, Space, Names):
    """Makes the operations of one program by its plan."""

    def program(self) -> tuple[AnyOp, ...]:
        """The set-up of the plan's setting, then others up to the length that the plan says,
        and some in any case."""
        made: list[AnyOp] = []
        if self.plan.setting == "full":
            made += self._fill()
        if self.image.name.startswith("quota") and self.random() < 0.8:
            made += self._limited()
        elif self.plan.setting == "crowd":
            made += self._crowd()
        elif self.image.name == "inline" and self.random() < 0.7:
            made += self._small()
        random, at = self.random, self.plan.operations.at
        for number in range(len(made) + 1, max(self.plan.length, len(made) + MORE) + 1):
            self.tag = number
            word = at(random())
            if word == "shutdown" and number < self.plan.length - LAST:
                word = "sync"  # nothing works behind it: not before the end
            made.append(_MAKERS[word](self))
        return tuple(made)

    # --- settings -------------------------------------------------------------------------

    def _fill(self) -> list[AnyOp]:
        """Everything taken but some clusters."""
        size = self.plan.size or self.image.size
        left = int(self.random() ** 3 * 200) * self.cluster
        made: list[AnyOp] = []
        if self.random() < 0.4:  # something that was there before the space ran out
            self.tag = 1
            made.append(_MAKERS["falloc" if self.random() < 0.5 else "pwrite"](self))
        made.append(ops.Falloc(file=FILL, off=0, len=size))
        if left:
            made.append(ops.Punch(file=FILL, off=0, len=left))
            share = self.random()
            if share < 0.5:
                made.append(ops.Sync())
            elif share < 0.75:
                made += self._before_the_commit(left, len(made) + 1)
        return made

    def _before_the_commit(self, left: int, tag: int) -> list[AnyOp]:
        """Most of what was just freed is written again, before the commit that frees it."""
        sketch = self.sketches.setdefault("a", Sketch())
        length = left // 4 * 3
        self._written(sketch, 0, length)
        return [ops.Write(file="a", off=0, len=length, tag=tag), ops.Fsync(file="a")]

    def _limited(self) -> list[AnyOp]:
        """A file of a user with a limit."""
        self.sketches["a"] = sketch = Sketch()
        sketch.fill(0, self.block, DIRTY)
        sketch.size = 1
        hard = (20, 24, 40, 100, 256, 400)[int(self.random() * 6)]
        made: list[AnyOp] = [
            ops.Write(file="a", off=0, len=1, tag=1),
            ops.Chown(file="a", uid=USER),
            ops.QuotaSet(uid=USER, hard=hard),
        ]
        if self.random() < 0.5:
            made.append(ops.Fsync(file="a"))
        return made

    def _crowd(self) -> list[AnyOp]:
        """Files of five delayed extents each, as many as the plan says, then a full disk."""
        made: list[AnyOp] = []
        for name in FILES[: self.plan.files]:
            sketch = self.sketches[name] = Sketch()
            for at in range(5):
                off = 2 * at * self.block
                self._written(sketch, off, self.block)
                made.append(ops.Write(file=name, off=off, len=self.block, tag=len(made) + 1))
        made.append(ops.Falloc(file=FILL, off=0, len=self.plan.size or self.image.size))
        return [*made, *(ops.Fsync(file=name) for name in FILES[: self.plan.files])]

    def _small(self) -> list[AnyOp]:
        """A file whose data fits into its inode, and often something done to that."""
        length = (1, 20, 59, 60, 61, 100, 127, 128)[int(self.random() * 8)]
        self.sketches["a"] = sketch = Sketch()
        self._written(sketch, 0, length)
        made: list[AnyOp] = [ops.Write(file="a", off=0, len=length, tag=1)]
        share = self.random()
        if share < 0.25:
            size = int(self.random() * 2 * length)
            sketch.size = size
            made.append(ops.Truncate(file="a", size=size))
        elif share < 0.5:
            made.append(ops.Falloc(file="a", off=0, len=length))
        elif share < 0.6:
            made.append(ops.Remount())
        return made

    # --- threads --------------------------------------------------------------------------

    def parallel(self) -> AnyOp:
        """Two or three threads of one or two calls each, on the same files."""
        if self.plan.setting in ("full", "low"):
            return self.sync()  # who gets the last space is not told apart
        index = self.tag - 1
        for _ in range(6):
            threads, number = [], 0
            for _ in range(2 + (self.random() < 0.2)):
                calls = []
                for _ in range(1 + (self.random() < 0.5)):
                    self.tag = default_tag(index, number)
                    calls.append(cast(Call, _MAKERS[_together().at(self.random())](self)))
                    number += 1
                threads.append(tuple(calls))
            if problem(threads) is None:
                self._all_flushed()
                return ops.Parallel(threads=tuple(threads), seed=self.dice.below(1000))
        return self.sync()


@functools.cache
def _together() -> Table[str]:
    """What a thread does."""
    return Table({
        word: weight
        for words in FEATURES.values()
        for word, weight in words.items()
        if word != "parallel" and issubclass(ops.BY_WORD[word], ALLOWED)
    })  # fmt: skip


_MAKERS: dict[str, Callable[[Maker], AnyOp]] = {
    word: getattr(Maker, word) for words in FEATURES.values() for word in words
}
"""What makes the operation of each word."""
