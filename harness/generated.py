"""Programs that are generated on request: `random:7:0:200`, `exhaustive:0:6000`.

A batch names them and makes them again at any time; nothing of them is kept but the numbers.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import msgspec

from harness.artifacts.manifest import Generated
from harness.errors import UsageError
from harness.programs import config_named
from workloads import generate
from workloads.generate.exhaustive import Space
from workloads.generate.plan import CONFIGS
from workloads.program import DEFAULT_CONFIGS, Program
from workloads.workload import Workload

__all__ = ["EXHAUSTIVE", "Batch", "batches_of", "chosen_configs", "generated_from", "space"]

EXHAUSTIVE = "exhaustive"
_RANGE = re.compile(r"(\d+)(?::(\d+))?")
_MANY = 1_000_000_000
_SEEDED = re.compile(rf"({'|'.join(generate.KINDS)})-(\d+)-(\d+)")
"""Names of random and swarm programs."""


class Batch(msgspec.Struct, frozen=True):
    """Programs `start` to `stop - 1` of `kind` and `seed` (none for exhaustive ones).

    `configs` are those to make them for; without any, the seed chooses one for each program,
    and exhaustive programs are for each default configuration.
    """

    kind: str
    seed: int | None
    start: int
    stop: int
    configs: tuple[str, ...] = ()
    length: int = generate.LENGTH

    @classmethod
    def seeded(cls, kind: str, text: str, configs: Sequence[str] = ()) -> Self:
        """`SEED:COUNT` or `SEED:FIRST:END` of random or swarm programs. Raises `UsageError`."""
        match = re.fullmatch(r"(\d+):(\d+)(?::(\d+))?", text)
        if match is None:
            raise UsageError(
                f"--{kind} {text}: write SEED:COUNT, as in 7:200, or SEED:FIRST:END, as in 7:9:19"
            )
        seed, first, end = (None if part is None else int(part) for part in match.groups())
        start, stop = (0, first) if end is None else (first, end)
        return cls(kind, seed, *_checked(f"--{kind} {text}", start, stop), tuple(configs))

    @classmethod
    def exhaustive(cls, text: str, configs: Sequence[str] = ()) -> Self:
        """`FIRST:END` of the exhaustive programs, or `all` of one and two operations. Raises
        `UsageError`."""
        if text == "all":
            return cls(EXHAUSTIVE, None, 0, two_letters(), tuple(configs))
        match = re.fullmatch(r"(\d+):(\d+)", text)
        if match is None:
            raise UsageError(f"--exhaustive {text}: write FIRST:END, as in 0:1000, or all")
        start, stop = _checked(f"--exhaustive {text}", int(match[1]), int(match[2]))
        return cls(EXHAUSTIVE, None, start, stop, tuple(configs))

    def __post_init__(self) -> None:
        if self.kind == EXHAUSTIVE:
            most = min(len(space(name)) for name in self.configs or DEFAULT_CONFIGS)
            if self.stop > most:
                raise UsageError(f"there are {most} exhaustive programs, from 0 to {most - 1}")

    @property
    def folder(self) -> str:
        """Where its items stand in a run: `random/seed-7`, `exhaustive`."""
        return self.kind if self.seed is None else f"{self.kind}/seed-{self.seed}"

    def programs(self) -> Iterator[tuple[int, Program]]:
        """Each program with its number."""
        for index in range(self.start, self.stop):
            if self.kind == EXHAUSTIVE:
                for name in self.configs or DEFAULT_CONFIGS:
                    yield index, space(name).program(index)
            else:
                for config in self.configs or (None,):
                    yield index, self._seeded(index, config)

    def _seeded(self, index: int, config: str | None) -> Program:
        assert self.seed is not None
        return generate.make(self.kind, self.seed, index, config=config, length=self.length)


def _checked(text: str, start: int | None, stop: int | None) -> tuple[int, int]:
    assert start is not None
    assert stop is not None
    if start >= stop:
        raise UsageError(f"{text}: that is no program; the end has to be beyond the first")
    if stop > _MANY:
        raise UsageError(f"{text}: numbers go up to {_MANY}")
    return start, stop


@functools.cache
def space(name: str) -> Space:
    """The exhaustive programs of the configuration `name`. Raises `UsageError`."""
    return Space(config_named(name))


def two_letters() -> int:
    """How many exhaustive programs of one and of two operations each configuration has."""
    return sum(space(DEFAULT_CONFIGS[0]).counts[:2])


def chosen_configs(only: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The configurations that the patterns `only` mean: those of `usual` that match, and each
    pattern that is itself a name. Without patterns none: the batch decides."""
    names = [
        name
        for pattern in only
        for name in (
            [name for name in usual if fnmatch.fnmatchcase(name, pattern)]
            or ([] if any(sign in pattern for sign in "*?[") else [config_named(pattern).name])
        )
    ]
    if only and not names:
        raise UsageError(f"--on {' '.join(only)}: no configuration matches")
    return tuple(dict.fromkeys(names))


def batches_of(only: Sequence[str], asked: Mapping[str, Sequence[str]]) -> list[Batch]:
    """What the options `--random`, `--swarm` and `--exhaustive` ask for, by their names, on the
    configurations that match `only`. Raises `UsageError`."""
    seeded = [
        Batch.seeded(kind, text, chosen_configs(only, tuple(CONFIGS)))
        for kind in generate.KINDS
        for text in asked[kind]
    ]
    return seeded + [
        Batch.exhaustive(text, chosen_configs(only, DEFAULT_CONFIGS)) for text in asked[EXHAUSTIVE]
    ]


def generated_from(workload: Workload) -> Generated | None:
    """The seed that gives just this program on this configuration; None if there is none.

    The name alone would not do: a file may be called like one, or have been changed.
    """
    match = _SEEDED.fullmatch(workload.program)
    if match is None:
        return None
    kind, seed, index = match[1], int(match[2]), int(match[3])
    base = workload.config.name.removesuffix(",buffered_iomap")
    for config in (None, base):
        try:
            program = generate.make(kind, seed, index, config=config)
        except (KeyError, ValueError):
            continue
        if program.ops == workload.ops and (config or program.configs[0].name == base):
            return Generated(kind, seed, index, config or "")
    return None
