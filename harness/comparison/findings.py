"""What a comparison of two traces finds: mismatches, and what could not be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from harness.verdict import Mismatch, Place, Where

__all__ = ["Findings"]


class Findings:
    """Collects what differs and what is not compared; `at` says where it stands.

    `reasons` say of each side why it leaves a field None there; `compared` counts fields.
    """

    def __init__(self, subjects: tuple[str, str]) -> None:
        self.subjects = subjects
        self.mismatches: list[Mismatch] = []
        self.not_compared: Counter[Where] = Counter()
        self.compared = 0
        self._place: Place = "start"
        self._op = ""
        self._because: tuple[str, ...] = ()
        self.reasons: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})

    def at(
        self,
        place: Place,
        op: str,
        because: tuple[str, ...],
        expected_reasons: Mapping[str, str],
        actual_reasons: Mapping[str, str],
    ) -> None:
        """Move to `place`; the reasons say why a subject leaves a field None there."""
        self._place, self._op, self._because = place, op, because
        self.reasons = (expected_reasons, actual_reasons)

    def differ(self, file: str | None, field: str, expected: object, actual: object) -> None:
        """Note a mismatch."""
        self.mismatches.append(
            Mismatch(self._place, self._op, file, field, expected, actual, self._because)
        )

    def equal(self, file: str | None, field: str, expected: object, actual: object) -> None:
        """Compare one field, unless a subject does not see it."""
        if expected is None or actual is None:
            self.skip(file, field, expected is None, actual is None)
            return
        self.compared += 1
        if expected != actual:
            self.differ(file, field, expected, actual)

    def skip(self, file: str | None, field: str, no_expected: bool, no_actual: bool) -> None:
        """Count a field that is not compared, with the reason of the subject that lacks it."""
        for lacking, subject, reasons in zip(
            (no_expected, no_actual), self.subjects, self.reasons, strict=True
        ):
            if lacking:
                reason = reasons.get(f"{file}.{field}") or reasons.get(field)
                self.not_compared[field, reason or f"not seen by {subject}"] += 1
                return

    def in_both(
        self, field: str, expected: Mapping[str, object], actual: Mapping[str, object]
    ) -> list[str]:
        """The files of both sides; one that only a single side has is a mismatch."""
        for file in sorted(expected.keys() ^ actual.keys()):
            self.differ(file, field, file in expected, file in actual)
        return sorted(expected.keys() & actual.keys())
