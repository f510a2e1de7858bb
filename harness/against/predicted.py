"""What the model predicts of two kernels: where its two runs differ, and by which values."""

from __future__ import annotations

import msgspec

from harness.comparison.compare import compare
from harness.comparison.unknowns import Contents, in_pieces_of
from harness.trace import Trace
from harness.verdict import Mismatch, Place, Verdict
from reports.words import value_text

__all__ = ["Predicted", "Seen"]

Differences = dict[tuple[Place, str | None, str], tuple[object, object]]
"""Both values by place, file and field."""
WARNINGS = "warnings"
"""A field that the model may leave open: an entry has to describe its values alone then."""


class Seen(msgspec.Struct, frozen=True):
    """One side: its kernel's `trace`, and `judged`, that trace held against its own model.

    `model` is the model's trace, None if it refused the workload; `strict` the one without
    known issues, None if it is the same or was refused. `path` is the one that regular files
    took (`bh`, `iomap`).
    """

    trace: Trace
    path: str
    judged: Verdict
    model: Trace | None = None
    strict: Trace | None = None


class Predicted:
    """Where the models of `sides` differ, with and without the known issues that they follow."""

    def __init__(self, sides: tuple[Seen, Seen]) -> None:
        self._sides = sides
        one, other = sides
        self._found = _differences(_read(one.model, one), _read(other.model, other))
        self._strict = _differences(
            _read(one.strict or one.model, one), _read(other.strict or other.model, other)
        )

    def has(self, m: Mismatch) -> bool:
        """Whether the models differ so."""
        return self._found is not None and self._found.get(_key(m)) == (m.expected, m.actual)

    def without_issues(self, m: Mismatch) -> tuple[object, object] | None:
        """The two values if no known issue had been followed; None if they were the same then."""
        if self._strict is None or not self.has(m):
            return m.expected, m.actual
        return self._strict.get(_key(m))

    def leaves_open(self, m: Mismatch) -> bool:
        """Whether the model has no such field in this workload, though it covers it."""
        ends = [side.model.final for side in self._sides if side.model is not None]
        known = len(ends) == 2 and all(end is not None for end in ends)
        return m.field == WARNINGS and known and any(end and end.warnings is None for end in ends)

    def said(self, m: Mismatch) -> str:
        """What the model says of a difference that it does not predict."""
        if self._found is None:
            return "the model does not cover this workload, so that nothing can be excused"
        if self.leaves_open(m):
            return "the model does not see this, and no intended difference describes it"
        if _key(m) not in self._found:
            return "by the model both should be the same"
        values = zip(self._sides, self._found[_key(m)], strict=True)
        said = (f"{value_text(value)} on {seen.trace.subject}" for seen, value in values)
        return f"by the model it should be {' and '.join(said)}"


def _read(model: Trace | None, seen: Seen) -> Trace | None:
    """`model` as its kernel was looked at: what it leaves open by the pieces that were seen, and
    contents as they were read, as recordings have no checksums of blocks."""
    if model is None:
        return None
    model = in_pieces_of(seen.trace, model)
    if model.final is None or seen.trace.final is None:
        return model
    final = msgspec.structs.replace(
        model.final,
        dropped=_alike(model.final.dropped, seen.trace.final.dropped),
        content=_alike(model.final.content, seen.trace.final.content),
    )
    return msgspec.structs.replace(model, final=final)


def _alike(model: Contents, seen: Contents) -> Contents:
    if model is None or seen is None:
        return model
    whole = {name for name, content in seen.items() if content.blocks is None}
    return {
        name: msgspec.structs.replace(content, blocks=None) if name in whole else content
        for name, content in model.items()
    }


def _differences(one: Trace | None, other: Trace | None) -> Differences | None:
    """Where the models' traces differ, with both values; None if the model refused one."""
    if one is None or other is None:
        return None
    return {_key(m): (m.expected, m.actual) for m in compare(one, other).mismatches}


def _key(m: Mismatch) -> tuple[Place, str | None, str]:
    return m.place, m.file, m.field
