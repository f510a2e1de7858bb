"""Parallel sections: look for an order of their calls that leaves what was seen.

The reference predicts one order at a time. A section may have ended in any state that some
order of its calls leaves; one that none of them leaves is a mismatch. What was seen at
the end of an early section can fit several orders, of which a later step rules some out:
all of them are kept and tried further. Where there are more orders than are tried, and none of
the tried ones fits, it is not decided whether another one would: that is no mismatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from harness.comparison.compare import COMPLAINTS
from harness.trace import Trace
from harness.verdict import Compared, Mismatch
from workloads.ops import AnyOp, Parallel
from workloads.sections import Span, orders
from workloads.workload import Workload

__all__ = ["MOST_TRIED", "decided", "in_some_order"]

MOST_TRIED = 5000
"""Runs of the reference for one workload, so that many sections can't take for ever."""

Attempt = Callable[[Workload], Compared]
"""Has the reference run a workload whose sections have an order, and compares."""


def in_some_order(workload: Workload, actual: Trace, attempt: Attempt) -> Compared:
    """The comparison with the order of calls that explains most of what `actual` saw. Its
    verdict has a reason in `refused` if not all orders were tried that may explain more.
    """
    sections = [at for at, op in enumerate(workload.ops) if isinstance(op, Parallel)]
    if not sections:
        return attempt(workload)
    search = _Search(workload, actual, attempt)
    kept: list[tuple[AnyOp, ...]] = [workload.ops]
    for index in sections:
        kept = search.extended(kept, index)
        if search.agrees or not kept:
            break
    return search.result()


def decided(compared: Compared) -> Compared:
    """`compared` without the differences that an order which was not tried might explain: from
    the first section on, whatever both sides saw. With a difference before, or a complaint of
    the kernel's, it is a mismatch all the same.
    """
    verdict = compared.verdict
    if verdict.refused is None or not verdict.mismatches:
        return compared
    first = next(at for at, op in enumerate(verdict.workload.ops) if isinstance(op, Parallel))
    real = verdict.parting < first or any(m.field in COMPLAINTS for m in verdict.mismatches)
    verdict = (
        msgspec.structs.replace(verdict, refused=None)
        if real
        else msgspec.structs.replace(verdict, mismatches=())
    )
    return msgspec.structs.replace(compared, verdict=verdict)


@dataclass
class _Search:
    """The best comparison so far, after `tried` orders."""

    workload: Workload
    actual: Trace
    attempt: Attempt
    best: Compared | None = None
    tried: int = 0
    section: int = 0

    @property
    def agrees(self) -> bool:
        """Whether an order was found that explains everything."""
        return self.best is not None and not self.best.verdict.mismatches

    def extended(self, kept: list[tuple[AnyOp, ...]], index: int) -> list[tuple[AnyOp, ...]]:
        """Those programs of `kept`, each with every order of section `index`, that agree up to
        the section's end."""
        self.section = index
        found: list[tuple[AnyOp, ...]] = []
        for ops in kept:
            section = ops[index]
            assert isinstance(section, Parallel)
            for order in orders(section, self._spans(index)):
                if self.agrees or self.tried == MOST_TRIED:
                    return found
                ordered = msgspec.structs.replace(section, order=order)
                candidate = (*ops[:index], ordered, *ops[index + 1 :])
                if self._parts(candidate) > index:
                    found.append(candidate)
        return found

    def _spans(self, index: int) -> list[list[Span]]:
        """When each call ran, by thread; nothing if that was not seen of all."""
        steps = self.actual.steps
        spans: list[list[Span]] = []
        for thread in steps[index].threads if index < len(steps) else ():
            spans.append([])
            for ran in thread:
                if ran.began is None or ran.ended is None:
                    return []
                spans[-1].append((ran.began, ran.ended))
        return spans

    def _parts(self, ops: tuple[AnyOp, ...]) -> float:
        """The step in which this order parts from what was seen, past all if in none."""
        compared = self.attempt(msgspec.structs.replace(self.workload, ops=ops))
        self.tried += 1
        parts = compared.verdict.parting
        if self.best is None or parts > self.best.verdict.parting:
            self.best = compared
        return parts

    def result(self) -> Compared:
        """The best comparison; its mismatch in a section says how many orders were tried."""
        assert self.best is not None
        verdict = self.best.verdict
        note = f"none of {self.tried} orders of the calls leaves what was seen; this is the nearest"
        refused = verdict.refused
        if self.tried == MOST_TRIED and not self.agrees:
            note = f"the first {self.tried} orders of the calls do not leave what was seen"
            refused = f"{note}; shorter sections have fewer orders"
        mismatches = tuple(
            _noted(one, note) if one.place == self.section else one for one in verdict.mismatches
        )
        return msgspec.structs.replace(
            self.best,
            verdict=msgspec.structs.replace(verdict, mismatches=mismatches, refused=refused),
        )


def _noted(mismatch: Mismatch, note: str) -> Mismatch:
    return msgspec.structs.replace(mismatch, because=(*mismatch.because, note))
