"""Programs made from programs: what reached something once is a good place to search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from workloads import ops
from workloads.fields import fields_of
from workloads.generate.dice import Dice
from workloads.generate.make import Maker
from workloads.generate.plan import CONFIGS, plan_random
from workloads.generate.tags import tagged
from workloads.ops import AnyOp
from workloads.program import Program

__all__ = ["LONGEST", "mutated"]

LONGEST = 30
"""Operations of the longest mutant."""
_STEPS = (1, -1, 512, -512, 1024, -1024, 4096, -4096, 16384, -16384, 65536)
_MOVED = ("off", "dst", "size", "len", "fault", "limit")
_Ops = list[AnyOp]


def mutated(dice: Dice, parent: Program, others: Sequence[Program]) -> Program:
    """A program like `parent`, one to four changes away; parts may come from `others`.

    It keeps the parent's name and header, but may run on another configuration.
    """
    made = list(parent.ops)
    for _ in range(1 + dice.below(4)):
        made = dice.pick(_CHANGES)(dice, made, others)
    on, size = parent.on, parent.size
    if dice.chance(0.1) and size is None:
        on = (dice.pick(tuple(CONFIGS)),)
    return msgspec.structs.replace(
        parent, ops=tagged(made[:LONGEST]), on=on[:1], size=size, notes=()
    )


def _drop(dice: Dice, made: _Ops, _others: Sequence[Program]) -> _Ops:
    at = dice.below(len(made))
    return made[:at] + made[at + 1 :] if len(made) > 1 else made


def _repeat(dice: Dice, made: _Ops, _others: Sequence[Program]) -> _Ops:
    at = dice.below(len(made))
    to = dice.below(len(made) + 1)
    return [*made[:to], made[at], *made[to:]]


def _swap(dice: Dice, made: _Ops, _others: Sequence[Program]) -> _Ops:
    one, two = dice.below(len(made)), dice.below(len(made))
    made[one], made[two] = made[two], made[one]
    return made


def _move(dice: Dice, made: _Ops, _others: Sequence[Program]) -> _Ops:
    """Change a number of one operation a little, or to that of another one."""
    at = dice.below(len(made))
    fields = [field for field in fields_of(type(made[at])) if field.name in _MOVED]
    if isinstance(made[at], ops.Parallel) or not fields:
        return made
    field = dice.pick(fields)
    old: int = getattr(made[at], field.name)
    new = old + dice.pick(_STEPS)
    if dice.chance(0.3):
        near = [getattr(op, field.name) for op in made if hasattr(op, field.name)]
        new = dice.pick(near)
    new = min(max(new, 0 if old >= 0 else field.low), field.high)
    changed: Any = msgspec.structs.replace(made[at], **{field.name: new})
    return [*made[:at], changed, *made[at + 1 :]]


def _graft(dice: Dice, made: _Ops, others: Sequence[Program]) -> _Ops:
    """The beginning of this one, the end of another one."""
    other = dice.pick(others).ops
    return [*made[: 1 + dice.below(len(made))], *other[dice.below(len(other)) :]]


def _insert(dice: Dice, made: _Ops, _others: Sequence[Program]) -> _Ops:
    """A few new operations."""
    fresh = Maker(dice, plan_random(dice, "4k@delalloc", 4)).program()
    at = dice.below(len(made) + 1)
    return [*made[:at], *fresh[: 1 + dice.below(3)], *made[at:]]


_CHANGES: tuple[Callable[[Dice, _Ops, Sequence[Program]], _Ops], ...] = (
    _drop, _repeat, _swap, _move, _move, _move, _graft, _insert,
)  # fmt: skip
