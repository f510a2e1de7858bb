"""Steering: programs that reach something new of the model are kept and changed.

A corpus is a folder of workload files. What a round of steering makes follows from its seed,
the number of programs and the corpus that it began with: it makes one program after the
other, half of them mutants of the corpus, and keeps each that reaches a combination of rules,
or a line of the model, that neither the corpus nor an earlier program has reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.coverage.reached import Coverage, Novelty
from harness.whole_file import write_whole
from workloads import generate
from workloads.files import load
from workloads.generate.dice import Dice
from workloads.generate.mutate import mutated
from workloads.program import Note, Program
from workloads.syntax import SUFFIX, format_program, workloads

__all__ = ["Corpus", "Found", "steer"]

MUTANTS = 0.5
"""The share of programs that are mutants, once there is a corpus."""
TOLD = 3
"""Of what is new, as many are named in the file."""


class Corpus:
    """The programs of a folder, in the order of their names."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError and WorkloadSyntaxError if there is a file that can't be read."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.programs = [load(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]

    def following(self, seed: int) -> int:
        """The number behind the last program that `seed` has left here."""
        head = f"steered-{seed}-"
        names = [program.name for program in self.programs if program.name.startswith(head)]
        numbers = [int(name.removeprefix(head)) for name in names if name[len(head) :].isdecimal()]
        return max(numbers, default=-1) + 1

    def keep(self, program: Program) -> None:
        """Add `program` as a file, wholly or not at all. Raises OSError."""
        self.programs.append(program)
        path = self.folder / f"{program.name}{SUFFIX}"
        write_whole(path, format_program(program))


class Found(msgspec.Struct, frozen=True):
    """A program that reached something new, and what that was."""

    program: Program
    new: Novelty


def steer(corpus: Corpus, coverage: Coverage, seed: int, start: int, stop: int) -> Iterator[Found]:
    """Make programs `start` to `stop - 1` of `seed`, keep what is new, and yield it.

    `coverage` is what the corpus has reached already (add its programs first).
    """
    for index in range(start, stop):
        program = _next(corpus.programs, seed, index)
        new: Novelty = frozenset()
        for workload in workloads(program):
            new |= coverage.add(workload)
        if new:
            kept = msgspec.structs.replace(program, notes=_told(new))
            corpus.keep(kept)
            yield Found(kept, new)


def _next(known: list[Program], seed: int, index: int) -> Program:
    dice = Dice(generate.VERSION, "steered", seed, index)
    name = f"steered-{seed}-{index:06}"
    if known and dice.chance(MUTANTS):
        parent = dice.pick(known)
        program = mutated(dice, parent, known)
        shows = f"steered program {index} of seed {seed}, made from {parent.name}"
    else:
        program = generate.make(dice.pick(generate.KINDS), seed, index)
        shows = f"steered program {index} of seed {seed}, made as {program.name}"
    return msgspec.structs.replace(program, name=name, shows=shows)


def _told(new: Novelty) -> tuple[Note, ...]:
    """Comments above the header: what is new."""
    words = sorted(" + ".join(parts) for parts in new)
    more = [f"and {len(words) - TOLD} more"] if len(words) > TOLD else []
    return tuple(Note(-1, f"new: {text}") for text in [*words[:TOLD], *more])
