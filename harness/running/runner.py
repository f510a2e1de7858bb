"""Run two subjects on a workload and judge what they saw.

The real kernel runs first, because the model needs the placement of its blocks. The strict
model is compared with it. If it came to where it would follow a known issue of this kernel, it
runs once more and follows the kernel past those; what then agrees is known, what still differs
is a mismatch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import msgspec

from harness.comparison.compare import compare, complaints
from harness.errors import MachineryError, NotModelledError, UsageError
from harness.known import KNOWN_ISSUES, applicable
from harness.known_issue import KnownIssue
from harness.running.followed import best_of, followed, without_complaints
from harness.running.hangs import UNSEEN, foretold
from harness.running.orders import decided, in_some_order
from harness.running.suppositions import in_some_way
from harness.running.unfollowed import Unfollowed
from harness.trace import (
    Complaint,
    ComplaintKind,
    Placement,
    Reference,
    Subject,
    Trace,
    placement_of,
)
from harness.verdict import Compared, Mismatch, Outcome, Place, Verdict
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
        return decided(self._explained(workload, actual, listed))

    def _explained(
        self, workload: Workload, actual: Trace, listed: tuple[KnownIssue, ...]
    ) -> Compared:
        """The best of the comparisons with issues and without any, each without the complaints
        that come with those that showed."""
        issues = {issue.quirk: issue for issue in reversed(listed) if issue.quirk is not None}
        unfollowed = Unfollowed()
        strict = without_complaints(self._explain(actual, workload, unfollowed), listed)
        if not unfollowed.asked(issues):  # with them it would run as it did
            return strict
        try:
            fired = followed(self._explain(actual, workload, frozenset(issues)))
            tried = {
                frozenset(quirks): without_complaints(
                    self._explain(actual, workload, frozenset(quirks)), listed
                )
                for count in range(1, len(fired) + 1)
                for quirks in itertools.combinations(fired, count)
            }
        except NotModelledError as error:
            return self._known_before(error, strict, actual, listed) or strict
        return best_of(strict, tried, issues)

    def _known_before(
        self,
        error: NotModelledError,
        strict: Compared,
        actual: Trace,
        listed: tuple[KnownIssue, ...],
    ) -> Compared | None:
        """The refusal `error` of the model that follows the issues, if they explain the first
        difference of `strict`; None if they do not."""
        workload = strict.verdict.workload
        place = strict.verdict.mismatches[0].place if strict.verdict.mismatches else "final"
        if not isinstance(place, int) or place + 1 >= len(actual.steps):
            return None
        compared = self._explained(*_until(workload, actual, place + 1), listed)
        if compared.verdict.outcome is not Outcome.KNOWN:
            return None
        verdict = msgspec.structs.replace(
            self._failed(workload, error, actual.kernel),
            mismatches=self._against_it(actual),
            known=compared.verdict.known,
        )
        return without_complaints(Compared(verdict, compared.expected, actual), listed)

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
        short, before = _until(workload, actual, done)
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
        showed = [i for i in listed if i.quirk is None or i.name in verdict.known]
        said = [complaint for complaint in panic.complaints if not _comes_along(complaint, showed)]
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


def _until(workload: Workload, actual: Trace, done: int) -> tuple[Workload, Trace]:
    """The first `done` operations, and what was seen of them."""
    short = msgspec.structs.replace(workload, ops=workload.ops[:done])
    return short, msgspec.structs.replace(
        actual, workload=short, steps=actual.steps[:done], final=None
    )


def _comes_along(complaint: Complaint, showed: Iterable[KnownIssue]) -> bool:
    """Whether one of the known issues that `showed` says it, or it says that somebody waits for
    what has no end."""
    return complaint.kind is ComplaintKind.HUNG or any(issue.says(complaint) for issue in showed)
