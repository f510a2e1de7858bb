"""How fast programs are generated: CPU time of this process, one program after the other."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from workloads import generate
from workloads.generate.exhaustive import Space
from workloads.program import DEFAULT_CONFIGS, Program, config_of
from workloads.syntax import format_program

__all__ = ["Speed", "measure"]


class Speed(msgspec.Struct, frozen=True):
    """`programs` of `operations` operations in all, made in `cpu` seconds of CPU time; their
    text forms took `text` seconds more."""

    kind: str
    programs: int
    operations: int
    cpu: float
    text: float

    @property
    def per_second(self) -> float:
        """Programs made in a second of CPU time."""
        return self.programs / self.cpu if self.cpu else 0.0


def measure(count: int) -> list[Speed]:
    """The speed of each generator, on its first `count` programs."""
    space = Space(config_of(DEFAULT_CONFIGS[0]))
    exhaustive = _speed("exhaustive", min(count, len(space)), space.program)
    return [*(_speed(kind, count, _maker(kind)) for kind in generate.KINDS), exhaustive]


def _maker(kind: str) -> Callable[[int], Program]:
    return lambda index: generate.make(kind, 1, index)


def _speed(kind: str, count: int, make: Callable[[int], Program]) -> Speed:
    began = time.process_time()
    programs = [make(index) for index in range(count)]
    made = time.process_time()
    for program in programs:
        format_program(program)
    operations = sum(len(program.ops) for program in programs)
    return Speed(kind, count, operations, made - began, time.process_time() - made)
