"""A mismatch of another day, held against what shows now."""

from __future__ import annotations

import enum

import msgspec

from harness.signature import same, signature_of
from harness.trace import Complaint
from harness.verdict import Mismatch, Outcome, Verdict
from reports.words import place_text, value_text

__all__ = ["Sameness", "compare_verdicts", "first_text"]


class Sameness(enum.StrEnum):
    """What is left of a mismatch; the earlier ones are closer."""

    SAME = "the same mismatch"
    """First difference and signature are equal."""
    VALUES = "the same field in the same step, with other values"
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
    one, other = then.mismatches[0], now.mismatches[0]
    alike = same(signature_of(then), signature_of(now))
    if _where(one) == _where(other):
        equal = alike and _values(one) == _values(other)
        return Sameness.SAME if equal else Sameness.VALUES
    return Sameness.CAUSE if alike else Sameness.OTHER


def _where(m: Mismatch) -> tuple[object, ...]:
    return m.place, m.file, m.field


def _values(m: Mismatch) -> list[object]:
    """Both values; of a complaint what is the same in each run."""
    return [
        (value.kind, value.title) if isinstance(value, Complaint) else msgspec.json.encode(value)
        for value in (m.expected, m.actual)
    ]


def first_text(verdict: Verdict) -> str:
    """The first difference in a line: where, what, both values."""
    first = verdict.mismatches[0]
    place = place_text(first.place, len(verdict.workload.ops))
    what = f"{first.field} of {first.file}" if first.file else first.field
    expected, actual = (_short(value_text(value)) for value in (first.expected, first.actual))
    return f"{place}, {what}: {expected} expected, {actual} seen"


def _short(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 60 else f"{line[:57]}..."
