"""Verdicts: what a comparison of two traces found, and what it could not look at."""

from __future__ import annotations

import enum
import math
from typing import Any, Literal

import msgspec

from harness.trace import Complaint, Trace
from workloads.workload import Workload

__all__ = [
    "Compared", "Intended", "Mismatch", "Outcome", "Place", "Verdict", "Where", "decode_verdict",
    "encode_verdict",
]  # fmt: skip

Place = int | Literal["start", "final"]
"""A step's index, or the observation before the first or after the last of them."""

Where = tuple[str, str]
"""What was not compared (a field's name), and why."""


class Outcome(enum.StrEnum):
    """What a comparison comes to; reports count them."""

    AGREE = "agree"
    """Everything that both subjects see is the same."""
    INTENDED = "intended"
    """Two kernels, or two paths, differ as they should (`harness.differences.table`)."""
    KNOWN = "known"
    """They differ only by known issues of this kernel."""
    MISMATCH = "mismatch"
    """They differ."""
    NOT_MODELLED = "not modelled"
    """The model refuses something in the workload by name; nothing was compared."""
    UNUSABLE = "unusable"
    """The workload can't be run as it is written: its image is too small, say."""
    BROKEN = "broken"
    """The machinery failed; nothing can be said of the file system."""


class Mismatch(msgspec.Struct, frozen=True):
    """One field that differs.

    `op` is the operation as a workload file writes it, empty at the start and the end;
    `file` is None for what belongs to the whole file system. `because` names the rules
    that the expecting subject applied in the step.
    """

    place: Place
    op: str
    file: str | None
    field: str
    expected: object
    actual: object
    because: tuple[str, ...] = ()


class Intended(msgspec.Struct, frozen=True):
    """A difference between two kernels, or two paths, that is as it should be.

    `row` names the entry of `harness.differences.table` (or the known issue) that it comes from;
    it `follows` if it is no sign of that entry itself, but what came of it.
    """

    difference: Mismatch
    row: str
    follows: bool


class Verdict(msgspec.Struct, frozen=True):
    """What comparing two subjects on one workload found.

    `subjects`, `kernels` and `build_ids` are in the order expected, actual. `mismatches` are in the
    order of the steps; those after the first diverging step may be its consequences
    (`headline` leaves them out). `steps` and `compared` count the steps and the single
    fields that were looked at. `not_compared` counts the fields that were not, by field
    and reason. `intended` holds the differences that should be. `known` names the known
    issues that account for a difference from the strict expectation, `gone` those that
    should have shown and did not. `refused` is what the model does not cover, `unusable`
    what is wrong with the workload, `broken` how the machinery failed; `note` is what else
    a reader of a mismatch has to know.
    """

    workload: Workload
    subjects: tuple[str, str]
    kernels: tuple[str | None, str | None] = (None, None)
    build_ids: tuple[str | None, str | None] = (None, None)
    mismatches: tuple[Mismatch, ...] = ()
    steps: int = 0
    compared: int = 0
    not_compared: dict[Where, int] = {}
    known: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    intended: tuple[Intended, ...] = ()
    refused: str | None = None
    unusable: str | None = None
    broken: str | None = None
    note: str = ""

    @property
    def outcome(self) -> Outcome:
        """The one word for all of it; a mismatch is one even if the machinery failed later."""
        if self.mismatches:
            return Outcome.MISMATCH
        if self.broken is not None:
            return Outcome.BROKEN
        if self.unusable is not None:
            return Outcome.UNUSABLE
        if self.refused is not None:
            return Outcome.NOT_MODELLED
        if self.known:
            return Outcome.KNOWN
        return Outcome.INTENDED if self.intended else Outcome.AGREE

    @property
    def headline(self) -> tuple[Mismatch, ...]:
        """The mismatches of the first diverging step."""
        return tuple(m for m in self.mismatches if m.place == self.mismatches[0].place)

    @property
    def complaints(self) -> tuple[str, ...]:
        """The titles of the kernel's complaints among the mismatches."""
        sides = (side for m in self.mismatches for side in (m.expected, m.actual))
        return tuple(dict.fromkeys(side.title for side in sides if isinstance(side, Complaint)))

    @property
    def build_id(self) -> str | None:
        """The build id of that kernel (see `kernel`), if it is known."""
        return self.build_ids[1] or self.build_ids[0]

    @property
    def parting(self) -> float:
        """The step of the first mismatch; the start is before all steps, no mismatch after."""
        if not self.mismatches:
            return math.inf
        place = self.mismatches[0].place
        if place == "start":
            return -1
        return len(self.workload.ops) if place == "final" else place

    @property
    def kernel(self) -> str | None:
        """The release of the kernel under test: the actual subject's, else the expected one's."""
        return self.kernels[1] or self.kernels[0]


class Compared(msgspec.Struct, frozen=True):
    """A verdict and the traces behind it; a trace is None if its subject gave none."""

    verdict: Verdict
    expected: Trace | None = None
    actual: Trace | None = None


def encode_verdict(verdict: Verdict) -> bytes:
    """`verdict` as JSON."""
    known = msgspec.structs.asdict(verdict)
    known["not_compared"] = [(*where, count) for where, count in verdict.not_compared.items()]
    return msgspec.json.encode(known)


def decode_verdict(data: bytes) -> Verdict:
    """The verdict behind `encode_verdict`'s JSON, with its values as they were.

    Raises `msgspec.ValidationError` if it is not one, `msgspec.DecodeError` if it is no JSON.
    """
    raw = msgspec.json.decode(data, type=dict[str, Any])
    rows = msgspec.convert(raw.get("not_compared", []), list[tuple[str, str, int]])
    raw["not_compared"] = {(field, why): count for field, why, count in rows}
    verdict = msgspec.convert(raw, Verdict)
    intended = (
        msgspec.structs.replace(one, difference=_revived(one.difference))
        for one in verdict.intended
    )
    return msgspec.structs.replace(
        verdict, mismatches=tuple(map(_revived, verdict.mismatches)), intended=tuple(intended)
    )


def _revived(mismatch: Mismatch) -> Mismatch:
    if mismatch.field.startswith("result"):  # the one kind of value that has lists
        return mismatch
    expected, actual = _value(mismatch.expected), _value(mismatch.actual)
    return msgspec.structs.replace(mismatch, expected=expected, actual=actual)


def _value(value: object) -> object:
    """A value of a mismatch, which JSON knows by its shape only."""
    if isinstance(value, list):
        return tuple(map(_value, value))
    if isinstance(value, dict) and {"kind", "title"} <= value.keys():
        return msgspec.convert(value, Complaint)
    return value
