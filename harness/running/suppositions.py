"""What nobody saw, or what is a matter of time: accept each way in which the kernel may have gone.

Where an operation fails, blocks that it had allocated are free again before anybody looks. They
lay behind the block before them, or elsewhere: that is the allocator's freedom. It shows all the
same, since extents that are adjacent merge and others do not: a tree that had to grow for them
keeps its block, and where space ends it can't grow. The reference takes them as adjacent. Where
the device is more than half full they may have come in pieces, too, so that the tree grew before
space ended. In how many pieces they are freed shows in quota warnings, and there alone.

Where low space has files written back, and a commit has to free space in the middle of a folio,
the rest of the folio is written too if the I/O to the part before it has ended by then. The
reference takes it that it has, and that on the iomap path what I/O has written is converted before
such a commit has freed anything; and that the conversion is part of the transaction, which a crash
shows. If the rest is not written, the task may have had to wait for the conversion of that part
behind it, and is then not passed over when it asks for writeback again.

Where no tree block is to be had it can show in which order several I/Os of one file have ended; and
which came last shows where the task goes on to cut its last folio, which the worker still holds.
The reference takes them in the order of their submission.

If what was seen does not fit, steps of which the reference notes one of these are taken anew with
the other way, the latest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from harness.trace import AGAIN, APART, LATE, PIECEMEAL, SHORT, TURNS, Placement
from harness.verdict import Compared

__all__ = [
    "ANY_LAST", "ANY_ORDER", "BEHIND", "BESIDE", "BESIDE_BH", "CUT", "LEFT", "MOST_TRIED",
    "PARTLY", "PIECES", "SUPPOSED", "TURNED", "TWICE", "UNSEEN", "UNTOLD", "in_some_way",
    "supposing",
]  # fmt: skip

UNSEEN = "place not seen: ext4_mb_new_blocks"
"""The rule that the model notes in a step that allocates blocks which are gone at its end."""
PIECES = "length not seen: ext4_mb_new_blocks"
"""The rule that it notes too where little space may have made pieces of them."""
PARTLY = "part of a folio submitted: mpage_submit_partial_folio"
"""The rule that it notes where the rest of a folio depends on I/O that may have ended."""
BESIDE = "conversion beside a commit: ext4_iomap_finish_ioend"
"""The rule that it notes where it shows whether a conversion comes before the end of a commit."""
BESIDE_BH = "conversion beside a commit: ext4_end_io_rsv_work"
"""The same on the buffer_head path."""
BEHIND = "conversion behind a commit: ext4_end_io_rsv_work"
"""The rule that it notes where a crash shows whether a commit has a conversion."""
ANY_ORDER = "order of conversions: ext4_end_io_rsv_work"
"""The rule that it notes where it shows in which order several I/Os have ended."""
ANY_LAST = "which I/O ended last: folio_end_writeback"
"""The rule that it notes where it shows whose folio a worker still holds."""

MOST_TRIED = 32
"""Runs of the reference for one workload (and one order of a parallel section)."""
SUPPOSED = "nobody saw where blocks lay that were freed at once; they are supposed to lie apart"
CUT = "nobody saw where blocks lay that were freed at once; they are supposed to lie in pieces"
LEFT = "I/O is supposed to have ended, or what came of it been converted, after a commit"
TWICE = "the task is supposed to have waited for a conversion between two requests for writeback"
UNTOLD = "nobody saw in how many pieces blocks were freed at once, and which warnings that gave"
TURNED = "I/Os are supposed to have ended in another order than that of their submission"

Attempt = Callable[[Placement], Compared]
"""Has the reference run with a placement, and compares."""
Chosen = frozenset[tuple[int, str]]
"""Steps, each with what is supposed of it: `APART`, `SHORT`, `LATE`, `AGAIN`, `PIECEMEAL` or
one of `TURNS`."""

_NOTED = {
    UNSEEN: (APART, PIECEMEAL), PIECES: (SHORT,), PARTLY: (LATE, AGAIN), BESIDE: (LATE,),
    BESIDE_BH: (LATE,),
    BEHIND: (LATE,), ANY_ORDER: TURNS, ANY_LAST: TURNS,
}  # fmt: skip
_COUNTED = {
    APART: ("place", SUPPOSED),
    SHORT: ("place", CUT),
    LATE: ("writeback", LEFT),
    AGAIN: ("writeback", TWICE),
    PIECEMEAL: ("warnings", UNTOLD),
    **dict.fromkeys(TURNS, ("writeback", TURNED)),
}


def in_some_way(placement: Placement, attempt: Attempt) -> Compared:
    """The comparison with those suppositions that explain most: it parts last. Steps of which
    something had to be supposed are counted in its verdict.

    Only what the reference notes of a step is supposed of it, if the step comes at or before the
    difference. Raises what `attempt` raises without any supposition.
    """
    best = attempt(placement)
    chosen: Chosen = frozenset()
    tried, waiting = {chosen}, [(chosen, best)]
    while waiting and best.verdict.mismatches and len(tried) < MOST_TRIED:
        steps, compared = waiting.pop(_latest(waiting))
        for doubt in _doubtful(compared):
            more = steps | {doubt}
            if more in tried or len(tried) == MOST_TRIED:
                continue
            tried.add(more)
            other = attempt(supposing(placement, more))
            waiting.append((more, other))
            if other.verdict.parting > best.verdict.parting:
                chosen, best = more, other
            if not best.verdict.mismatches:
                break
    return _counted(best, chosen)


def _latest(waiting: list[tuple[Chosen, Compared]]) -> int:
    """The first of those that part last."""
    return max(range(len(waiting)), key=lambda at: (waiting[at][1].verdict.parting, -at))


def supposing(placement: Placement, chosen: Chosen) -> Placement:
    """`placement`, with what is `chosen` of its steps."""
    words: dict[int, list[str]] = {}
    for step, word in chosen:
        words.setdefault(step, []).append(word)
    return tuple(
        {**places, **dict.fromkeys(words[index], ())}
        if index in words and places is not None
        else places
        for index, places in enumerate(placement)
    )


def _doubtful(compared: Compared) -> list[tuple[int, str]]:
    """What of steps, and of the end behind them, may explain the first difference, the latest step
    first."""
    trace = compared.expected
    assert trace is not None
    noted = [step.because for step in trace.steps]
    if trace.final is not None:
        noted.append(trace.final.because)
    found = compared.verdict.mismatches[:1]
    untold = any(mismatch.field == "warnings" for mismatch in found)
    return [
        (step, word)
        for step in reversed(range(len(noted)))
        if step <= compared.verdict.parting
        for rule, words in _NOTED.items()
        if rule in noted[step]
        for word in words
        if word != PIECEMEAL or untold
    ]


def _counted(compared: Compared, chosen: Chosen) -> Compared:
    if not chosen:
        return compared
    counts = Counter(_COUNTED[word] for _, word in chosen)
    not_compared = {**compared.verdict.not_compared, **counts}
    verdict = msgspec.structs.replace(compared.verdict, not_compared=not_compared)
    return msgspec.structs.replace(compared, verdict=verdict)
