"""Generators of workloads, each reproducible from a seed and a number alone.

`random` programs choose each operation and its place by chance, weighted, and with an eye on
what the operations before left; `swarm` ones use a few features each; `exhaustive` ones are
all short programs over a small alphabet (`exhaustive.Space`). docs/generating.md describes
them. What a seed and a number give is the same on every machine and Python; it changes only
with `VERSION`.
"""

from __future__ import annotations

from workloads.generate.dice import Dice
from workloads.generate.make import Maker
from workloads.generate.plan import Plan, plan_random, plan_swarm
from workloads.program import Program

__all__ = ["KINDS", "LENGTH", "VERSION", "make"]

VERSION = 2
"""Part of every seed: raised when the same seed is to give other programs than before."""
LENGTH = 25
"""Operations of a program, its set-up included."""

_PLANS = {"random": plan_random, "swarm": plan_swarm}
KINDS: tuple[str, ...] = tuple(_PLANS)
"""What `make` makes."""


def make(
    kind: str, seed: int, index: int, *, config: str | None = None, length: int = LENGTH
) -> Program:
    """Program `index` of `seed`, on one configuration: `config` (`4k@delalloc`), or one that
    the seed chooses. `kind` is one of `KINDS`.

    The same arguments give the same program. Raises `KeyError` if there is no such kind or
    image.
    """
    words = (VERSION, kind, seed, index, config or "any", length)
    dice = Dice(*words)
    plan: Plan = _PLANS[kind](dice, config, length)
    return Program(
        f"{kind}-{seed}-{index:06}",
        Maker(dice, plan).program(),
        shows=f"{kind} program {index} of seed {seed}",
        on=(plan.config.name,),
        size=plan.size,
    )
