"""Bounded-exhaustive programs: all of one, two and three letters, by number.

The letters and the files that they act on are those of `alphabet`. Programs are counted, not
listed: how many continuations each letter has is known for each length, so program `i` is
found by walking down from the first letter (a mixed-radix number whose radix depends on the
letter before), and a run can be split between machines at any number.
"""

from __future__ import annotations

from functools import cached_property

from workloads.generate.alphabet import Letter, Shape, shapes
from workloads.generate.tags import tagged
from workloads.program import Program
from workloads.workload import Config

__all__ = ["LONGEST", "Space"]

LONGEST = 3
"""Letters of the longest programs."""


class Space:
    """The programs of one configuration, numbered from 0, the shorter ones first."""

    def __init__(self, config: Config, longest: int = LONGEST) -> None:
        self.config = config
        self.longest = longest
        self._branches = [_Branches(shape, longest) for shape in shapes(config)]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many programs have one letter, two letters, and so on."""
        return tuple(
            sum(branches.total(length) for branches in self._branches)
            for length in range(1, self.longest + 1)
        )

    def __len__(self) -> int:
        """All programs."""
        return sum(self.counts)

    def program(self, index: int) -> Program:
        """Program number `index`; IndexError if there is none."""
        if index < 0:
            raise IndexError(index)
        rest = index
        for length in range(1, self.longest + 1):
            for branches in self._branches:
                count = branches.total(length)
                if rest < count:
                    return self._built(index, branches.shape, branches.letters(rest, length))
                rest -= count
        raise IndexError(index)

    def _built(self, index: int, shape: Shape, letters: list[Letter]) -> Program:
        over = letters[-1].ends or letters[-1].reads
        operations = (*shape.made_by, *(letter.op for letter in letters))
        return Program(
            f"exhaustive-{index:06}",
            tagged(operations if over else (*operations, shape.read)),
            shows=f"exhaustive program {index}: {len(letters)} operations on a file {shape.name}",
            on=(self.config.name,),
        )


class _Branches:
    """For each letter of a shape what may follow it, and how many programs that makes."""

    def __init__(self, shape: Shape, longest: int) -> None:
        self.shape = shape
        places = range(len(shape.letters))
        self._first = [at for at in places if shape.may_begin(shape.letters[at])]
        self._next = [
            [at for at in places if shape.letters[at].may_follow(before)]
            for before in shape.letters
        ]
        # _after[n][at]: how many ways there are to go on with n letters after `at`
        ones = [1 for _ in places]
        self._after = [ones]
        for _ in range(1, longest):
            shorter = self._after[-1]
            self._after.append([sum(shorter[at] for at in follow) for follow in self._next])

    def total(self, length: int) -> int:
        """Programs of `length` letters."""
        return sum(self._after[length - 1][at] for at in self._first)

    def letters(self, rank: int, length: int) -> list[Letter]:
        """The letters of program `rank` (from 0) of those with `length`."""
        chosen: list[Letter] = []
        among = self._first
        for more in range(length - 1, -1, -1):
            counts = self._after[more]
            for at in among:
                if rank < counts[at]:
                    break
                rank -= counts[at]
            chosen.append(self.shape.letters[at])
            among = self._next[at]
        return chosen
