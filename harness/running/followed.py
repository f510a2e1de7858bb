"""Which known issues a comparison follows, and what of the kernel's complaints comes with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import msgspec

from harness.known_issue import KnownIssue
from harness.trace import Complaint
from harness.verdict import Compared, Mismatch

__all__ = ["best_of", "followed", "without_complaints"]


def best_of(
    strict: Compared, tried: dict[frozenset[str], Compared], issues: dict[str, KnownIssue]
) -> Compared:
    """The comparison that parts last, with the fewest known issues that it takes; complaints of
    known issues are out of all of them, or it would part at those.

    An issue of which the model says that it shows, although the comparison parts sooner
    with it, is gone from this kernel.
    """
    parting = strict.verdict.parting
    chosen, best = frozenset[str](), strict
    for quirks, compared in tried.items():  # the fewest first
        explains = any(step <= parting for step in followed(compared).values())
        if explains and compared.verdict.parting > best.verdict.parting:
            chosen, best = quirks, compared
    end = best.verdict.parting
    known = [issues[q].name for q, step in followed(best).items() if step <= end]
    known += best.verdict.known
    more = {q: tried.get(chosen | {q}) for q in issues if q not in chosen}
    gone = tuple(
        issues[q].name
        for q, compared in more.items()
        if end == math.inf and compared is not None and compared.verdict.mismatches
    )
    return msgspec.structs.replace(
        best, verdict=msgspec.structs.replace(best.verdict, known=tuple(known), gone=gone)
    )


def without_complaints(compared: Compared, listed: Iterable[KnownIssue]) -> Compared:
    """Without what a known issue has the kernel's log, e2fsck or our own check of the image
    complain of; one that the model can follow only where it did."""
    fired = followed(compared)
    showed = [issue for issue in listed if issue.quirk is None or issue.quirk in fired]
    final = compared.actual.final if compared.actual is not None else None
    blamed = {
        complaint.title: issue
        for complaint in (final.log if final is not None and final.log else ())
        for issue in reversed(showed)  # of several the first in the list is named
        if issue.says(complaint)
    }
    patterns = [issue.image_complaint for issue in showed if issue.image_complaint is not None]

    def excused(m: Mismatch) -> bool:
        if isinstance(m.actual, Complaint):
            return m.actual.title in blamed
        lines = str(m.actual).splitlines()
        return m.field in ("fsck", "image") and all(
            any(re.search(pattern, line) for pattern in patterns) for line in lines
        )

    verdict = compared.verdict
    left = tuple(m for m in verdict.mismatches if not excused(m))
    names = dict.fromkeys(issue.name for issue in blamed.values() if issue.quirk is None)
    return msgspec.structs.replace(
        compared,
        verdict=msgspec.structs.replace(verdict, mismatches=left, known=(*verdict.known, *names)),
    )


def followed(compared: Compared) -> dict[str, int]:
    """The quirks that the model followed, with the first step in which it did."""
    fired: dict[str, int] = {}
    for index, step in enumerate(compared.expected.steps if compared.expected else ()):
        for quirk in step.quirks:
            fired.setdefault(quirk, index)
    return fired
