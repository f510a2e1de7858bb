"""Path against path: pieces of an allocation that the model leaves open are no mismatch, and no
excuse for more than that."""

from __future__ import annotations

import msgspec
import pytest
from test_differences import Example, seen

from harness.against.settle import settle
from harness.trace import Event, EventKind, Trace
from harness.verdict import Outcome

WHY = {"pieces": "nobody sees what is set aside"}
EXAMPLE = Example("pwrite a 0 64k; truncate a 40k; sync_range a 32k 8k", 2, lambda step: step)
"""The first side writes the whole folio, ten blocks, the second one what is asked for, two."""


def used(trace: Trace, *counts: int, **fields: object) -> Trace:
    """`trace`, whose last step uses up reservations in these pieces."""
    left, events = 10, []
    for count in counts:
        events.append(Event(EventKind.UPDATE, "a", count, left, True))
        left -= count
    last = msgspec.structs.replace(trace.steps[-1], events=tuple(events), **fields)
    return msgspec.structs.replace(trace, steps=(*trace.steps[:-1], last))


@pytest.mark.parametrize(
    ("pieces", "unpredicted", "outcome"),
    [
        ((1, 1), WHY, Outcome.INTENDED),
        ((1, 1), {}, Outcome.MISMATCH),
        ((1,), WHY, Outcome.MISMATCH),
        ((2, 1), WHY, Outcome.MISMATCH),
    ],
)
def test_other_pieces_of_the_same_sum_are_as_the_model_said(
    pieces: tuple[int, ...], unpredicted: dict[str, str], outcome: Outcome
) -> None:
    one, other = EXAMPLE.traces()
    model = used(other, 2, unpredicted=unpredicted)
    verdict = settle(seen(one), seen(used(other, *pieces), model=model))
    assert verdict.outcome is outcome, verdict.mismatches


def test_pieces_of_two_files_are_not_added_up() -> None:
    one, other = EXAMPLE.traces()
    kernel = used(other, 1, 1)
    last = kernel.steps[-1]
    assert last.events is not None
    events = (last.events[0], msgspec.structs.replace(last.events[1], file="b"))
    steps = (*kernel.steps[:-1], msgspec.structs.replace(last, events=events))
    kernel = msgspec.structs.replace(kernel, steps=steps)
    verdict = settle(seen(one), seen(kernel, model=used(other, 2, unpredicted=WHY)))
    assert {m.file for m in verdict.mismatches} == {"a", "b"}
