"""A mismatch of another day, held against what shows now."""

from __future__ import annotations

import enum

import msgspec

from harness.signature import same, signature_of
from harness.trace import Complaint
from harness.verdict import Mismatch, Outcome, Verdict
from reports.words import place_text, value_text

__all__ = ["Sameness", "compare_verdicts", "mismatch_text", "parting"]


class Sameness(enum.StrEnum):
    """What is left of a mismatch; the earlier ones are closer."""

    SAME = "the same mismatch"
    """All that differs in its step differs in the same way, and nothing else does there."""
    VALUES = "the same field in the same step, but with other values"
    """It begins with the same field; some value of the step is another one."""
    CAUSE = "a mismatch with the same signature, in another place"
    OTHER = "another mismatch"
    GONE = "the mismatch does not show any more"
    UNKNOWN = "nothing could be compared"


def compare_verdicts(then: Verdict, now: Verdict) -> Sameness:
    """What `now` shows of the mismatch of `then`, which has one."""
    if now.outcome in (Outcome.BROKEN, Outcome.UNUSABLE, Outcome.NOT_MODELLED):
        return Sameness.UNKNOWN
    if not now.mismatches:
        return Sameness.GONE
    alike = same(signature_of(then), signature_of(now))
    if _where(then.mismatches[0]) != _where(now.mismatches[0]):
        return Sameness.CAUSE if alike else Sameness.OTHER
    equal = _table(then) == _table(now)
    return Sameness.SAME if alike and equal else Sameness.VALUES


def parting(then: Verdict, now: Verdict) -> tuple[Mismatch | None, Mismatch | None]:
    """The first differences of both that are not the same; None where one has no such."""
    tables = _table(then), _table(now)
    found = [
        next((m for m in verdict.headline if other.get(_where(m)) != _values(m)), None)
        for verdict, other in ((then, tables[1]), (now, tables[0]))
    ]
    return found[0], found[1]


def _table(verdict: Verdict) -> dict[tuple[object, ...], list[object]]:
    return {_where(m): _values(m) for m in verdict.headline}


def _where(m: Mismatch) -> tuple[object, ...]:
    name = m.actual.title if isinstance(m.actual, Complaint) else ""  # a step may have several
    return m.place, m.file, m.field, name


def _values(m: Mismatch) -> list[object]:
    """Both values; of a complaint what is the same in each run."""
    return [
        (value.kind, value.title) if isinstance(value, Complaint) else msgspec.json.encode(value)
        for value in (m.expected, m.actual)
    ]


def mismatch_text(m: Mismatch | None, steps: int) -> str:
    """A difference in a line: where in a workload of `steps` steps, what, both values."""
    if m is None:
        return "nothing else"
    what = f"{m.field} of {m.file}" if m.file else m.field
    expected, actual = (_short(value_text(value)) for value in (m.expected, m.actual))
    return f"{place_text(m.place, steps)}, {what}: {expected} expected, {actual} seen"


def _short(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 60 else f"{line[:57]}..."
