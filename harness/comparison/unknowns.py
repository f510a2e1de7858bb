"""What a kernel's trace shows by chance: its model says so, and it is then not compared.

Two kernels may differ there without any meaning: stale memory after a known bug, bytes of
a copy onto itself, fields of an image that depend on what is undefined.
"""

from __future__ import annotations

import msgspec

from harness.comparison.compare import joined
from harness.trace import Content, Step, Trace

__all__ = ["Contents", "in_pieces_of", "with_unknowns"]

_BY_CHANCE = ("result", "pieces")
"""Results that nobody can know, and where what is set aside for files cuts an allocation."""

Contents = dict[str, Content] | None


def with_unknowns(trace: Trace, model: Trace | None) -> Trace:
    """`trace`, with what its model's trace leaves open marked so; itself without a model."""
    if model is None:
        return trace
    steps = tuple(
        msgspec.structs.replace(step, unpredicted=_left_open(expects))
        for step, expects in zip(trace.steps, model.steps, strict=False)
    )
    final = trace.final
    if final is not None and model.final is not None:
        final = msgspec.structs.replace(
            final,
            unpredicted={**final.unpredicted, **model.final.unpredicted},
            dropped=_undefined(final.dropped, model.final.dropped),
            content=_undefined(final.content, model.final.content),
        )
    return msgspec.structs.replace(trace, steps=steps, final=final)


def _left_open(step: Step) -> dict[str, str]:
    """Of what the model does not foretell, that which no kernel decides for the other one."""
    return {field: why for field, why in step.unpredicted.items() if field in _BY_CHANCE}


def _undefined(seen: Contents, expected: Contents) -> Contents:
    if seen is None or expected is None:
        return seen
    ranges = {name: content.undefined for name, content in expected.items()}
    return {
        name: msgspec.structs.replace(content, undefined=ranges.get(name, ()))
        for name, content in seen.items()
    }


def in_pieces_of(trace: Trace, model: Trace) -> Trace:
    """`model`, with allocations in the pieces that its kernel's `trace` shows, where it leaves
    those open and they come to the same."""
    steps = tuple(
        msgspec.structs.replace(expects, events=step.events)
        if "pieces" in expects.unpredicted and _same_sum(expects, step)
        else expects
        for step, expects in zip(trace.steps, model.steps, strict=False)
    )
    return msgspec.structs.replace(model, steps=(*steps, *model.steps[len(steps) :]))


def _same_sum(one: Step, other: Step) -> bool:
    if one.events is None or other.events is None:
        return False
    return joined(one.events) == joined(other.events)
