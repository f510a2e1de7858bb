"""The two paths of a kernel as recordings have them, held against each other without a guest.

What `--against path:...` does with guests: a program that was recorded on both paths makes a
pair, and its differences are sorted as there (`harness.against.settle`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

import msgspec

from harness.against.against import TWO_OUTCOMES, see
from harness.against.predicted import Seen
from harness.against.settle import settle
from harness.image.form import FORM
from harness.known import KNOWN_ISSUES
from harness.known_issue import KnownIssue
from harness.recordings.pool import each
from harness.recordings.recheck import Job
from harness.sides.side import without_path, without_path_option
from harness.verdict import Compared, Verdict
from workloads.workload import PATH_NAMES, Config

__all__ = ["NO_IMAGE", "TWICE", "RecordedPair", "paired", "settled"]

NO_IMAGE = "the model of a recording makes no image"
TWICE = "recorded twice, and from here on with two outcomes"
_RELEASE = re.compile(r"\d+(\.\d+)*")
_Key = tuple[str, Hashable, Config, str]


class RecordedPair(msgspec.Struct, frozen=True):
    """A program that was recorded on both paths: the one that expects, and the other one."""

    expected: Job
    actual: Job

    @property
    def name(self) -> str:
        """Of the workload, as the expecting side had it."""
        return self.expected.name

    def settle(self, issues: tuple[KnownIssue, ...] = KNOWN_ISSUES) -> Compared:
        """What differs, sorted; the models may follow known `issues`.

        Raises `UsageError` if a line is damaged.
        """
        one, other = (self._seen(job, issues) for job in (self.expected, self.actual))
        workload = without_path(one.trace.workload)
        if workload.cpus > 1:
            names = (one.trace.subject, other.trace.subject)
            verdict = Verdict(workload, names, refused=TWO_OUTCOMES)
        else:
            kernels = (one.trace.kernel, other.trace.kernel)
            verdict = msgspec.structs.replace(
                self._steady(settle(one, other)), workload=workload, kernels=kernels
            )
        return Compared(verdict, one.trace, other.trace)

    def _steady(self, verdict: Verdict) -> Verdict:
        """`verdict` without the mismatches from the step on in which two recordings of one side
        differed: they are not compared, and counted."""
        unsteady = [
            job.unsteady for job in (self.expected, self.actual) if job.unsteady is not None
        ]
        if not unsteady or not verdict.mismatches:
            return verdict
        ends = {"start": -1, "final": len(verdict.workload.ops)}
        kept, counts = [], Counter(verdict.not_compared)
        for m in verdict.mismatches:
            if (m.place if isinstance(m.place, int) else ends[m.place]) < min(unsteady):
                kept.append(m)
            else:
                counts[m.field, TWICE] += 1
        return msgspec.structs.replace(verdict, mismatches=tuple(kept), not_compared=dict(counts))

    @staticmethod
    def _seen(job: Job, issues: tuple[KnownIssue, ...]) -> Seen:
        """What was recorded, without its image, held against the model."""
        case = job.case()
        trace, final = case.trace, case.trace.final
        if final is not None:
            unpredicted = {**final.unpredicted, FORM: NO_IMAGE}
            final = msgspec.structs.replace(final, form=None, unpredicted=unpredicted)
        name = PATH_NAMES[trace.workload.config.path]
        trace = msgspec.structs.replace(trace, subject=name, final=final)
        return see(case.reference(), trace, issues)


def paired(jobs: Iterable[Job], expecting: str) -> tuple[list[RecordedPair], int]:
    """The programs that were recorded on both paths; `expecting` (of `PATHS`) says which expects.

    Both recordings are of one release, less what a distribution adds to its name. Also how many
    recordings have no counterpart. Raises `UsageError` if a line is damaged.
    """
    expected: dict[_Key, Job] = {}
    others: dict[_Key, Job] = {}
    twice = 0
    for job in jobs:
        head = job.head()
        numbers = _RELEASE.match(head.release or "")
        config = without_path_option(head.config)
        key = (head.program, head.ops, config, numbers[0] if numbers else "")
        side = expected if head.config.path == expecting else others
        twice += key in side
        side.setdefault(key, job)
    pairs = [RecordedPair(job, others[key]) for key, job in expected.items() if key in others]
    return pairs, twice + len(expected) + len(others) - 2 * len(pairs)


def settled(pairs: list[RecordedPair], processes: int | None = None) -> Iterator[Verdict]:
    """The verdict on each pair, in order; `processes` work (default: one a CPU)."""
    yield from each(_verdict, pairs, processes)


def _verdict(pair: RecordedPair) -> Verdict:
    return pair.settle().verdict
