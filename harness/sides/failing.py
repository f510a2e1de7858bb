"""Something under a workload fails on purpose: what can be said then, and what not.

The model knows no such failures. So the steps before the first one are compared as ever; the step
of the failure and all that follow are not, and the verdict counts them. Two things are held
against the kernel all the same: that it panics, hangs or warns of itself, and that e2fsck can't
make whole what is then on the disk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import msgspec

from harness.known_issue import KnownIssue
from harness.running.runner import Runner
from harness.sides.machine import GuestSide
from harness.trace import Complaint, Final, Placement, Reference, Subject, Trace
from harness.verdict import Compared, Mismatch
from vm import mkfs
from vm.errors import MountLostError
from vm.scratch import scratch
from workloads.syntax import format_op
from workloads.workload import Workload

__all__ = ["Failing", "FailingRunner", "Failure"]


class Failure(ABC):
    """A kind of failure: what tells of it, and what it excuses."""

    reason: str
    """Why what comes after it is not compared."""

    @abstractmethod
    def tells(self, complaint: Complaint) -> bool:
        """Whether `complaint` is the kernel's word that it has happened."""

    @abstractmethod
    def excuses(self, complaint: Complaint) -> bool:
        """Whether a kernel without bugs may say this of it."""

    @abstractmethod
    def told(self, said: Complaint, place: str) -> str:
        """What happened at `place`, in words; `said` is the first that tells of it."""

    def returned(self, result: object) -> bool:  # noqa: ARG002
        """Whether an operation that returned this had met it, before the kernel told of it."""
        return False

    def first(self, trace: Trace, said: tuple[Complaint, ...]) -> int | None:
        """The step in which it happened first, one past the last if after it; None if never."""
        steps = [len(trace.steps) if c.step is None else c.step for c in said if self.tells(c)]
        if not steps:
            return None
        results = (n for n, step in enumerate(trace.steps) if self.returned(step.result))
        return min(*steps, next(results, len(trace.steps)))


class Failing(GuestSide):
    """A kernel in a guest in which something fails: a new guest for each workload."""

    failure: Failure

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        """What the kernel does; if something failed, the end is only what e2fsck and the log say.

        Raises what `GuestSide.run` does, but for a mount that fails with it.
        """
        self._end_guest()
        try:
            trace = super().run(workload, placement, quirks)
            said = trace.final.log if trace.final is not None else None
        except MountLostError as error:
            if error.trace is None or self.failure.first(error.trace, error.complaints) is None:
                raise
            trace, said = error.trace, error.complaints
        if self.failure.first(trace, said or ()) is None:
            return trace
        end = Final(trace.steps[-1].observation, fsck=self._recovered(), log=said)
        return msgspec.structs.replace(trace, final=end)

    def _recovered(self) -> str:
        """What e2fsck can't repair by itself of what the disk holds; "" if nothing."""
        assert self._guest is not None
        with scratch("failing") as folder:
            copy = folder / "disk.img"
            self._guest.disk.copy_to(copy)
            return mkfs.recover(copy)


class FailingRunner(Runner):
    """Compares up to the first `failure`."""

    def __init__(
        self,
        expected: Reference,
        actual: Subject,
        issues: Iterable[KnownIssue],
        failure: Failure,
    ) -> None:
        super().__init__(expected, actual, issues)
        self._failure = failure

    def _judge(self, workload: Workload, actual: Trace) -> Compared:
        said = (actual.final.log if actual.final is not None else None) or ()
        failed = self._failure.first(actual, said)
        if failed is None:
            return super()._judge(workload, actual)
        short = msgspec.structs.replace(workload, ops=workload.ops[:failed])
        steps = actual.steps[:failed]
        before = msgspec.structs.replace(actual, workload=short, steps=steps, final=None)
        compared = super()._judge(short, before)
        verdict = compared.verdict
        left_out = self._left_out(len(workload.ops) - failed)
        verdict = msgspec.structs.replace(
            verdict,
            workload=workload,
            mismatches=(*verdict.mismatches, *self._against_it(actual)),
            not_compared={**verdict.not_compared, **left_out},
            note=self._told(workload, said, failed),
        )
        expected = compared.expected
        if expected is not None:
            expected = msgspec.structs.replace(expected, final=None)
        return Compared(verdict, expected, actual)

    def _against_it(self, actual: Trace) -> tuple[Mismatch, ...]:
        """What the failure, if there was one, does not excuse."""
        said = (actual.final.log if actual.final is not None else None) or ()
        if self._failure.first(actual, said) is None:
            return super()._against_it(actual)
        assert actual.final is not None
        found = [
            Mismatch("final", "", None, "log", "no complaint", complaint)
            for complaint in said
            if not self._failure.excuses(complaint)
        ]
        if actual.final.fsck:
            found.append(Mismatch("final", "", None, "fsck", "", actual.final.fsck))
        return tuple(found)

    def _told(self, workload: Workload, said: tuple[Complaint, ...], failed: int) -> str:
        place = "after the last step"
        if failed < len(workload.ops):
            place = f"in step {failed + 1} ({format_op(workload.ops[failed], failed)})"
        first = next(complaint for complaint in said if self._failure.tells(complaint))
        return f"{self._failure.told(first, place)}, from where on nothing is compared"

    def _left_out(self, steps: int) -> dict[tuple[str, str], int]:
        """What is not compared if the last `steps` and the end are not."""
        reason = self._failure.reason
        return {("step", reason): steps, ("end", reason): 1} if steps else {("end", reason): 1}
