"""Blocks that nobody saw: accept each place that the kernel may have chosen for them.

Where an operation fails, blocks that it had allocated are free again before anybody looks. They
lay behind the block before them, or elsewhere: that is the allocator's freedom. It shows all the
same, since extents that are adjacent merge and others do not: a tree that had to grow for them
keeps its block, and where space ends it can't grow. The reference takes them as adjacent. If what
was seen does not fit, steps with such blocks are taken anew with these apart, the latest first.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.trace import APART, Placement, Trace
from harness.verdict import Compared

__all__ = ["MOST_TRIED", "SUPPOSED", "UNSEEN", "apart", "in_some_place"]

UNSEEN = "place not seen: ext4_mb_new_blocks"
"""The rule that the model notes in a step that allocates blocks which are gone at its end."""

MOST_TRIED = 32
"""Runs of the reference for one workload (and one order of a parallel section)."""
SUPPOSED = "nobody saw where blocks lay that were freed at once; they are supposed to lie apart"

Attempt = Callable[[Placement], Compared]
"""Has the reference run with a placement, and compares."""


def in_some_place(placement: Placement, attempt: Attempt) -> Compared:
    """The comparison with those places of blocks that nobody saw that explain most: it parts
    last. Steps whose blocks had to be supposed apart are counted in its verdict.

    A step is supposed only if it allocated such blocks, by what the reference notes, and
    comes at or before the difference. Raises what `attempt` raises without any supposition.
    """
    best = attempt(placement)
    chosen: frozenset[int] = frozenset()
    tried, waiting = {chosen}, [(chosen, best)]
    while waiting and best.verdict.mismatches and len(tried) < MOST_TRIED:
        steps, compared = waiting.pop(_latest(waiting))
        for step in _doubtful(compared):
            more = steps | {step}
            if more in tried or len(tried) == MOST_TRIED:
                continue
            tried.add(more)
            other = attempt(apart(placement, more))
            waiting.append((more, other))
            if other.verdict.parting > best.verdict.parting:
                chosen, best = more, other
            if not best.verdict.mismatches:
                break
    return _counted(best, len(chosen))


def _latest(waiting: list[tuple[frozenset[int], Compared]]) -> int:
    """The first of those that part last."""
    return max(range(len(waiting)), key=lambda at: (waiting[at][1].verdict.parting, -at))


def apart(placement: Placement, steps: frozenset[int]) -> Placement:
    """`placement`, with the blocks that nobody saw in `steps` apart."""
    return tuple(
        {**places, APART: ()} if index in steps and places is not None else places
        for index, places in enumerate(placement)
    )


def _doubtful(compared: Compared) -> list[int]:
    """Steps that may explain the first difference, the latest first."""
    assert compared.expected is not None
    return [step for step in _unseen(compared.expected) if step <= compared.verdict.parting]


def _unseen(trace: Trace) -> list[int]:
    return [at for at in reversed(range(len(trace.steps))) if UNSEEN in trace.steps[at].because]


def _counted(compared: Compared, steps: int) -> Compared:
    if not steps:
        return compared
    not_compared = {**compared.verdict.not_compared, ("place", SUPPOSED): steps}
    verdict = msgspec.structs.replace(compared.verdict, not_compared=not_compared)
    return msgspec.structs.replace(compared, verdict=verdict)
