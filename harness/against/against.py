"""Run a workload on two kernels, or on two paths of one, and sort what differs.

Both kernels are real, so each is also held against the model of itself: that is how an
intended difference is told from a mismatch (`harness.against.settle`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.against.predicted import Seen
from harness.against.settle import settle
from harness.comparison.compare import complaints
from harness.differences.intended import Difference
from harness.differences.table import INTENDED
from harness.errors import MachineryError, UsageError
from harness.known import KNOWN_ISSUES
from harness.known_issue import KnownIssue, path_of
from harness.running.runner import Replayed, Runner
from harness.sides.side import Side, without_path
from harness.trace import Reference, Trace
from harness.verdict import Compared, Mismatch, Place, Verdict
from vm.errors import KernelPanicError, MountRefusedError
from workloads.syntax import format_op
from workloads.workload import Workload

__all__ = ["TWO_OUTCOMES", "Against", "see"]

TWO_OUTCOMES = "threads against each other may end differently on two kernels, both rightly"


class Against:
    """Compares `actual`, the kernel under test, with `expected`, another one.

    `models` are the references for both, in this order; they may follow the known `issues`.
    """

    def __init__(
        self,
        expected: Side,
        actual: Side,
        models: tuple[Reference, Reference],
        entries: Iterable[Difference] = INTENDED,
        issues: Iterable[KnownIssue] = KNOWN_ISSUES,
    ) -> None:
        self.sides = (expected, actual)
        self.models = models
        self.entries = tuple(entries)
        self.issues = tuple(issues)

    def run(self, workload: Workload) -> Compared:
        """The verdict on `workload`.

        As with `Runner.run` no error leaves here: the verdict names it, and a panic of
        either kernel is a finding. A parallel section is refused: it is only held against the
        model.
        """
        if workload.cpus > 1:
            return Compared(self._empty(workload, refused=TWO_OUTCOMES))
        traces: list[Trace | None] = []
        panics: list[KernelPanicError | None] = []
        for side in self.sides:
            try:
                trace, panic = _run(side, workload)
            except (MountRefusedError, UsageError) as error:
                return Compared(self._empty(workload, unusable=f"{side.name}: {error}"))
            except MachineryError as error:
                broken = f"{side.name}: {type(error).__name__}: {error}"
                return Compared(self._empty(workload, broken=broken))
            traces.append(trace)
            panics.append(panic)
        return self._judge(workload, traces, panics)

    def _judge(
        self, workload: Workload, traces: list[Trace | None], panics: list[KernelPanicError | None]
    ) -> Compared:
        """Compare as far as both came, and add the panics."""
        expected, actual = traces
        if expected is None or actual is None:
            verdict = self._empty(workload)
        else:
            if any(panics):
                expected, actual = _cut(expected, actual)
            seen = [
                see(model, trace, self.issues)
                for model, trace in zip(self.models, (expected, actual), strict=True)
            ]
            verdict = settle(seen[0], seen[1], self.entries)
            kernels = (expected.kernel, actual.kernel)
            verdict = msgspec.structs.replace(verdict, kernels=kernels)
        found = [
            _panicked(workload, side, panic, trace)
            for side, panic, trace in zip(self.sides, panics, traces, strict=True)
            if panic is not None
        ]
        mismatches = (*verdict.mismatches, *found)
        verdict = msgspec.structs.replace(verdict, workload=workload, mismatches=mismatches)
        return Compared(verdict, *traces)

    def _empty(self, workload: Workload, **said: str) -> Verdict:
        names = (self.sides[0].name, self.sides[1].name)
        return msgspec.structs.replace(Verdict(workload, names), **said)


def see(model: Reference, trace: Trace, issues: tuple[KnownIssue, ...]) -> Seen:
    """`trace` held against the `model` of its own kernel, which may follow known `issues`."""
    judged = Runner(model, Replayed(trace), issues).run(trace.workload)
    verdict, found, strict = judged.verdict, judged.expected, None
    if found is None:
        verdict = msgspec.structs.replace(verdict, mismatches=complaints(trace))
    elif any(step.quirks for step in found.steps):
        strict = Runner(model, Replayed(trace), ()).run(trace.workload).expected
    return Seen(trace, path_of(trace.workload.config), verdict, found, strict)


def _run(side: Side, workload: Workload) -> tuple[Trace | None, KernelPanicError | None]:
    """What `side` saw, under its own name, and the panic that ended it.

    A kernel without the iomap path takes the only one that it has.
    """
    panic, trace = None, None
    if not side.knows_iomap():
        workload = without_path(workload)
    try:
        trace = side.run(workload)
    except KernelPanicError as error:
        panic, trace = error, error.trace
    return trace and msgspec.structs.replace(trace, subject=side.name), panic


def _cut(*traces: Trace) -> tuple[Trace, Trace]:
    """Both traces as far as both came, without an end."""
    done = min(len(trace.steps) for trace in traces)
    one, other = (
        msgspec.structs.replace(
            trace,
            workload=msgspec.structs.replace(trace.workload, ops=trace.workload.ops[:done]),
            steps=trace.steps[:done],
            final=None,
        )
        for trace in traces
    )
    return one, other


def _panicked(
    workload: Workload, side: Side, panic: KernelPanicError, trace: Trace | None
) -> Mismatch:
    done = len(trace.steps) if trace is not None else 0
    place: Place = "start" if trace is None else done if done < len(workload.ops) else "final"
    op = format_op(workload.ops[done], done) if place == done else ""
    return Mismatch(place, op, None, "kernel", "goes on", f"{side.name}: {panic}")
