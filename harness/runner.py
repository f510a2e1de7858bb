"""Run two subjects on a workload and judge what they saw.

The real kernel runs first, because the model needs the placement of its blocks. The strict
model is compared with it. If the two part, and this kernel has known issues, the model
runs once more and follows it past those; what then agrees is known, what still differs is
a mismatch.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable

import msgspec

from harness.compare import compare, complaints
from harness.errors import MachineryError, NotModelledError, UsageError
from harness.hangs import UNSEEN, foretold
from harness.known import KNOWN_ISSUES, applicable
from harness.known_issue import KnownIssue
from harness.orders import decided, in_some_order
from harness.suppositions import in_some_way
from harness.trace import (
    Complaint,
    ComplaintKind,
    Placement,
    Reference,
    Subject,
    Trace,
    placement_of,
)
from harness.verdict import Compared, Mismatch, Place, Verdict
from vm.errors import KernelHangError, KernelPanicError, MountRefusedError
from workloads.syntax import format_op
from workloads.workload import Workload

__all__ = ["Replayed", "Runner"]


class Replayed:
    """A trace as a subject: what some kernel did some other time."""

    def __init__(self, trace: Trace) -> None:
        self.name, self._trace = trace.subject, trace

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:  # noqa: ARG002
        """The trace, whatever `workload` is."""
        return self._trace


class Runner:
    """Compares `subject`, the side under test, with `reference`."""

    def __init__(
        self,
        reference: Reference,
        subject: Subject,
        issues: Iterable[KnownIssue] = KNOWN_ISSUES,
    ) -> None:
        self.reference = reference
        self.subject = subject
        self.issues = tuple(issues)

    def run(self, workload: Workload) -> Compared:
        """The verdict on `workload`.

        No error of the machinery, of the workload or of the model's coverage leaves here:
        the verdict names it. A kernel that panics is a finding, not broken machinery, and
        so is one that complains, even where the model has nothing to say.
        """
        panic = None
        try:
            actual = self.subject.run(workload)
        except KernelPanicError as error:
            if error.trace is None:
                return Compared(self._panicked(self._empty(workload), error, "start"))
            panic, actual = error, error.trace
        except (MachineryError, UsageError) as error:
            return Compared(self._failed(workload, error))
        try:
            if panic is not None:
                return self._until_panic(workload, actual, panic)
            return self._judge(workload, actual)
        except (MachineryError, NotModelledError, UsageError) as error:
            verdict = self._failed(workload, error, actual.kernel)
            verdict = msgspec.structs.replace(verdict, mismatches=self._against_it(actual))
            return Compared(verdict, actual=actual)

    def _against_it(self, actual: Trace) -> tuple[Mismatch, ...]:
        """What is held against the kernel where the model has nothing to say."""
        return complaints(actual)

    def _empty(self, workload: Workload, kernel: str | None = None) -> Verdict:
        names = (self.reference.name, self.subject.name)
        return Verdict(workload, names, kernels=(None, kernel))

    def _failed(self, workload: Workload, error: Exception, kernel: str | None = None) -> Verdict:
        empty = self._empty(workload, kernel)
        if isinstance(error, NotModelledError):
            return msgspec.structs.replace(empty, refused=str(error))
        if isinstance(error, UsageError | MountRefusedError):
            return msgspec.structs.replace(empty, unusable=str(error))
        return msgspec.structs.replace(empty, broken=f"{type(error).__name__}: {error}")

    # --- known issues -----------------------------------------------------------------

    def _judge(self, workload: Workload, actual: Trace) -> Compared:
        """Compare with the strict reference, or with the issues that explain most."""
        listed = applicable(actual.kernel, workload, self.issues)
        explained = self._explained(workload, actual, listed)
        return decided(_image_excused(_excused(explained, listed), listed))

    def _explained(
        self, workload: Workload, actual: Trace, listed: Iterable[KnownIssue]
    ) -> Compared:
        issues = {issue.quirk: issue for issue in listed if issue.quirk is not None}
        strict = self._explain(actual, workload, frozenset())
        if not issues:
            return strict
        try:
            fired = _fired(self._explain(actual, workload, frozenset(issues)))
            tried = {
                frozenset(quirks): self._tried(actual, workload, frozenset(quirks), listed)
                for count in range(1, len(fired) + 1)
                for quirks in itertools.combinations(fired, count)
            }
        except NotModelledError:
            return strict
        return _best(_excused(strict, listed), tried, issues)

    def _tried(
        self,
        actual: Trace,
        workload: Workload,
        quirks: frozenset[str],
        listed: Iterable[KnownIssue],
    ) -> Compared:
        """The comparison with `quirks`, without the complaints that come with those that fired."""
        compared = _excused(self._explain(actual, workload, quirks), listed)
        return _image_excused(compared, listed, _fired(compared))

    def _explain(self, actual: Trace, workload: Workload, quirks: frozenset[str]) -> Compared:
        def attempt(ordered: Workload) -> Compared:
            def placed(placement: Placement) -> Compared:
                expected = self.reference.run(ordered, placement, quirks)
                if ordered is not workload:
                    expected = msgspec.structs.replace(expected, workload=workload)
                return Compared(compare(expected, actual), expected, actual)

            return in_some_way(placement_of(actual), placed)

        return in_some_order(workload, actual, attempt)

    # --- panics -----------------------------------------------------------------------

    def _until_panic(self, workload: Workload, actual: Trace, panic: KernelPanicError) -> Compared:
        """Judge the steps before the panic, and add the panic itself."""
        done = len(actual.steps)
        if not done:
            verdict = self._panicked(self._empty(workload, actual.kernel), panic, "start")
            return Compared(verdict, actual=actual)
        short = msgspec.structs.replace(workload, ops=workload.ops[:done])
        before = msgspec.structs.replace(actual, workload=short, final=None)
        try:
            compared = self._judge(short, before)
        except NotModelledError as error:
            compared = Compared(self._failed(short, error, actual.kernel))
        verdict = msgspec.structs.replace(compared.verdict, workload=workload, refused=None)
        place: Place = done if done < len(workload.ops) else "final"
        verdict = self._foretold(verdict, workload, before, panic) or self._panicked(
            verdict, panic, place
        )
        return Compared(verdict, compared.expected, actual)

    def _foretold(
        self, verdict: Verdict, workload: Workload, seen: Trace, panic: KernelPanicError
    ) -> Verdict | None:
        """`verdict` on the steps that the kernel came back from, if the model says that it never
        does from the next one; else None."""
        listed = applicable(seen.kernel, workload, self.issues)
        if not isinstance(panic, KernelHangError):
            return None
        issue = foretold(self.reference, workload, seen, str(panic), listed)
        if issue is None:
            return None
        left = len(workload.ops) - len(seen.steps)
        said = [complaint for complaint in panic.complaints if not _comes_along(complaint, listed)]
        found = _complained(workload, said, len(seen.steps))
        return msgspec.structs.replace(
            verdict,
            mismatches=(*verdict.mismatches, *found),
            known=(*verdict.known, issue.name),
            not_compared={**verdict.not_compared, ("steps", UNSEEN): left},
        )

    def _panicked(self, verdict: Verdict, panic: KernelPanicError, place: Place) -> Verdict:
        ended = Mismatch(place, _op(verdict.workload, place), None, "kernel", "goes on", str(panic))
        found = (ended, *_complained(verdict.workload, panic.complaints, place))
        return msgspec.structs.replace(verdict, mismatches=(*verdict.mismatches, *found))


def _op(workload: Workload, place: Place) -> str:
    return format_op(workload.ops[place], place) if isinstance(place, int) else ""


def _complained(
    workload: Workload, said: Iterable[Complaint], place: Place
) -> tuple[Mismatch, ...]:
    op = _op(workload, place)
    return tuple(Mismatch(place, op, None, "log", "no complaint", complaint) for complaint in said)


def _comes_along(complaint: Complaint, listed: Iterable[KnownIssue]) -> bool:
    """Whether a known issue says it, or it says that somebody waits for what has no end."""
    patterns = [issue.complaint for issue in listed if issue.complaint is not None]
    return complaint.kind is ComplaintKind.HUNG or any(
        re.search(pattern, complaint.title) for pattern in patterns
    )


def _best(
    strict: Compared, tried: dict[frozenset[str], Compared], issues: dict[str, KnownIssue]
) -> Compared:
    """The comparison that parts last, with the fewest known issues that it takes; complaints of
    known issues are out of all of them, or it would part at those.

    An issue of which the model says that it shows, although the comparison parts sooner
    with it, is gone from this kernel.
    """
    parting = strict.verdict.parting
    followed, best = frozenset[str](), strict
    for quirks, compared in tried.items():  # the fewest first
        explains = any(step <= parting for step in _fired(compared).values())
        if explains and compared.verdict.parting > best.verdict.parting:
            followed, best = quirks, compared
    end = best.verdict.parting
    known = tuple(issues[q].name for q, step in _fired(best).items() if step <= end)
    more = {q: tried.get(followed | {q}) for q in issues if q not in followed}
    gone = tuple(
        issues[q].name
        for q, compared in more.items()
        if end == math.inf and compared is not None and compared.verdict.mismatches
    )
    return msgspec.structs.replace(
        best, verdict=msgspec.structs.replace(best.verdict, known=known, gone=gone)
    )


def _excused(compared: Compared, listed: Iterable[KnownIssue]) -> Compared:
    """Without those complaints in the kernel's log that are a known issue's."""
    final = compared.actual.final if compared.actual is not None else None
    issues = [issue for issue in listed if issue.complaint is not None]
    blamed = {
        complaint.title: issue.name
        for complaint in (final.log if final is not None and final.log else ())
        for issue in reversed(issues)  # of several the first in the list is named
        if issue.complaint and re.search(issue.complaint, complaint.title)
    }
    names = tuple(dict.fromkeys(blamed.values()))
    if not names:
        return compared
    verdict = compared.verdict
    left = tuple(
        m
        for m in verdict.mismatches
        if not (isinstance(m.actual, Complaint) and m.actual.title in blamed)
    )
    return msgspec.structs.replace(
        compared,
        verdict=msgspec.structs.replace(verdict, mismatches=left, known=(*verdict.known, *names)),
    )


def _image_excused(
    compared: Compared, listed: Iterable[KnownIssue], fired: Collection[str | None] = ()
) -> Compared:
    """Without those complaints of an image that come with a known issue that was followed, or with
    one of the quirks that `fired`: every line has to be one of its."""
    verdict = compared.verdict
    patterns = [
        issue.image_complaint
        for issue in listed
        if issue.image_complaint is not None
        and (issue.name in verdict.known or issue.quirk in fired)
    ]

    def excused(m: Mismatch) -> bool:
        lines = str(m.actual).splitlines()
        return m.field in ("fsck", "image") and all(
            any(re.search(pattern, line) for pattern in patterns) for line in lines
        )

    left = tuple(m for m in verdict.mismatches if not excused(m))
    return msgspec.structs.replace(
        compared, verdict=msgspec.structs.replace(verdict, mismatches=left)
    )


def _fired(compared: Compared) -> dict[str, int]:
    """The quirks that the model followed, with the first step in which it did."""
    fired: dict[str, int] = {}
    for index, step in enumerate(compared.expected.steps if compared.expected else ()):
        for quirk in step.quirks:
            fired.setdefault(quirk, index)
    return fired
