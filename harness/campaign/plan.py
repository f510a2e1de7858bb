"""What a campaign runs: its plan, and the shards that follow from it alone.

So a resumed campaign, or one on another machine, has the same shards by the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.generated import EXHAUSTIVE, Batch
from harness.lab import Lab
from workloads.files import CATALOGUE, load
from workloads.generate import KINDS, LENGTH
from workloads.program import Program
from workloads.syntax import SUFFIX
from workloads.workload import Workload

__all__ = ["CATALOGUED", "Item", "Plan", "Rest", "Shard", "items", "shards"]

CATALOGUED = "catalogue"
"""The kind of a shard whose programs are files of the catalogue."""


class Shard(msgspec.Struct, frozen=True):
    """Programs `start` to `stop - 1` of a kind (`harness.generated.Batch`, or catalogue).

    A worker runs a shard at a stretch; what is left of it when it dies runs on another.
    """

    kind: str
    seed: int | None
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Its name in the store."""
        seed = "" if self.seed is None else f"{self.seed}:"
        return f"{self.kind}:{seed}{self.start}:{self.stop}"


class Rest(msgspec.Struct, frozen=True):
    """What of a shard is still to run: all but the rows of these keys, which are `kept`.

    The first run of it that is left is not run if `given_up` says why: it counts as broken.
    """

    shard: Shard
    kept: frozenset[str] = frozenset()
    given_up: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What is run: `exhaustive` programs and the `catalogue` first, then seeded ones of `kinds`
    in turn, `count` in all, or without end if there is no count.

    `configs` are those to make seeded programs for; without any the seed chooses. A program
    has `length` operations, a shard `shard` programs.
    """

    seed: int
    kinds: tuple[str, ...] = KINDS
    count: int | None = None
    exhaustive: tuple[int, int] | None = None
    catalogue: bool = False
    configs: tuple[str, ...] = ()
    length: int = LENGTH
    shard: int = 20

    @property
    def total(self) -> int | None:
        """Programs in all, None without end."""
        if self.kinds and self.count is None:
            return None
        return sum(shard.stop - shard.start for shard in shards(self))

    def batch(self, shard: Shard) -> Batch:
        """The programs of a shard that is not the catalogue's."""
        configs = self.configs
        return Batch(shard.kind, shard.seed, shard.start, shard.stop, configs, self.length)


class Item(msgspec.Struct, frozen=True):
    """A program on one configuration and path: its test's name, and its number if it has one."""

    name: str
    workload: Workload
    number: int | None = None


def shards(plan: Plan) -> Iterator[Shard]:
    """All shards, in the order in which they are run."""
    if plan.exhaustive is not None:
        yield from _pieces(EXHAUSTIVE, None, *plan.exhaustive, plan.shard)
    if plan.catalogue:
        yield from _pieces(CATALOGUED, None, 0, len(_files()), plan.shard)
    left, start = plan.count, 0
    while plan.kinds and left != 0:
        for kind in plan.kinds:
            length = plan.shard if left is None else min(plan.shard, left)
            if length:
                yield Shard(kind, plan.seed, start, start + length)
            left = None if left is None else left - length
        start += plan.shard


def _files() -> list[Path]:
    return sorted(CATALOGUE.glob(f"*/*{SUFFIX}"))


def _pieces(kind: str, seed: int | None, start: int, stop: int, size: int) -> Iterator[Shard]:
    for first in range(start, stop, size):
        yield Shard(kind, seed, first, min(first + size, stop))


def items(plan: Plan, shard: Shard, lab: Lab) -> Iterator[Item]:
    """The programs of a shard on each configuration that is selected and path there is."""
    named: list[tuple[int | None, str, Program]]
    if shard.kind == CATALOGUED:
        paths = _files()[shard.start : shard.stop]
        named = [(None, path.relative_to(CATALOGUE).as_posix(), load(path)) for path in paths]
    else:
        batch = plan.batch(shard)
        named = [(i, f"{batch.folder}/{i:06}", program) for i, program in batch.programs()]
    for number, name, program in named:
        for config in lab.selected(program.configs):
            for suffix, variant in lab.variants(config):
                workload = Workload(program.name, variant, program.ops, program.shows)
                yield Item(f"{name}::{config.name}{suffix}", workload, number)
