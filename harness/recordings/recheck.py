"""The model against recordings, workload by workload, without a guest.

A recorded step is *agreed* if the strict model saw the same; *known* if the model does so
only when it follows a known issue of the recorded kernel, or if the step lies at or after
the first one in which two recordings of that workload differed (`unsteady.json`);
*mismatched* if neither explains it; *skipped* if it comes after a mismatch, or if the
model refuses the workload. A difference after the last step (the content after a remount,
say) counts for the last step.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from harness.comparison.compare import compare
from harness.errors import UsageError
from harness.known import KNOWN_ISSUES
from harness.known_issue import KnownIssue
from harness.recordings.kept_traces import Head, head_of, is_kept, kept_lines, parse_kept
from harness.recordings.pool import each
from harness.recordings.recording import (
    DAMAGED,
    RECORDED,
    SUFFIX,
    Recorded,
    damage,
    geometry_of,
    listed_in,
    raw_lines,
    recorded_by,
    trace_of,
    workload_of,
    workloads_of,
)
from harness.running.runner import Replayed, Runner
from harness.trace import Placement, Trace, placement_of
from harness.verdict import Compared, Mismatch, Verdict, Where
from model import Model
from workloads.images import Geometry
from workloads.workload import Workload

__all__ = [
    "Case", "Checked", "Job", "RecordedModel", "Tally", "check_case", "check_file", "jobs_of",
    "judge", "judge_named", "like", "places", "tells_release", "unrecorded",
]  # fmt: skip


class Tally(msgspec.Struct, frozen=True):
    """Counts of workloads and of recorded steps; the last four add up to `steps`."""

    workloads: int = 0
    steps: int = 0
    agreed: int = 0
    known: int = 0
    mismatched: int = 0
    skipped: int = 0

    def __add__(self, other: Self) -> Tally:
        """Both together."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Tally(*(mine + theirs for mine, theirs in pairs))


class Checked(msgspec.Struct, frozen=True):
    """One workload's part: its counts, why steps are not agreed, what was not compared."""

    name: str
    tally: Tally
    headline: tuple[Mismatch, ...] = ()
    refused: str | None = None
    known: tuple[str, ...] = ()
    not_compared: dict[Where, int] = {}


class Case(msgspec.Struct, frozen=True):
    """A recorded `trace`, its kernel, and the `geometry` of its image at the start."""

    trace: Trace
    kernel: Recorded
    geometry: Geometry

    def reference(self) -> RecordedModel:
        """The model that starts from what the recorded workload was started from."""
        return RecordedModel(self.geometry, self.kernel)


class RecordedModel:
    """The model of `kernel`, on images of `geometry`: the expecting side for a recording."""

    name = "model"

    def __init__(self, geometry: Geometry, kernel: Recorded) -> None:
        self._geometry, self._kernel = geometry, kernel

    def run(self, workload: Workload, placement: Placement | None, quirks: frozenset[str]) -> Trace:
        """What it expects, following `quirks`. Raises as `Subject.run` does."""
        model = Model(self._kernel.behaviour(quirks), lambda _image: self._geometry)
        return model.run(workload, placement)


def judge(case: Case, issues: Iterable[KnownIssue] = KNOWN_ISSUES) -> Compared:
    """The model and what was recorded, as a run with a guest compares them."""
    return Runner(case.reference(), Replayed(case.trace), issues).run(case.trace.workload)


def judge_named(
    jobs: Iterable[Job], name: str, issues: Iterable[KnownIssue] = KNOWN_ISSUES
) -> Iterator[Compared]:
    """`judge` for each workload `name`, or `name@CONFIG`, of `jobs`.

    Raises `UsageError` if its line is damaged.
    """
    for job in jobs:
        recorded = job.name
        program, _, _ = recorded.partition("@")
        if name.partition("@")[0] != program:
            continue
        case = job.case()
        if name in (program, recorded, case.trace.workload.name):
            yield judge(case, issues)


def like(name: str) -> Recorded:
    """The kernel of recordings whose names begin with `name`. Raises `UsageError` if unknown."""
    found = recorded_by(name)
    if found.release is None:
        names = ", ".join(RECORDED)
        raise UsageError(f"--as {name}: write {names}, or one with another release: iomap73")
    return found


def _kernel(subject: str, workloads: list[dict[str, Any]]) -> Recorded:
    """The kernel of the recording `subject`, by its name. Of one that the name does not tell it is
    supposed that it knows `buffered_iomap` if a workload is mounted so."""
    kernel = recorded_by(subject)
    if kernel.release is not None:
        return kernel
    iomap = any("buffered_iomap" in str(raw.get("mount")).split(",") for raw in workloads)
    return msgspec.structs.replace(kernel, iomap=iomap)


def tells_release(results: Path) -> bool:
    """Whether the result file `results` tells the kernel's release, or its name does."""
    return is_kept(results) or recorded_by(results.name.removesuffix(SUFFIX)).release is not None


def check_case(case: Case, unsteady: int | None = None) -> Checked:
    """The model against one recorded workload.

    `unsteady` is the first step in which two recordings of it differed, if any.
    """
    recorded, verdict = case.trace, judge(case).verdict
    steps = len(recorded.steps)
    if verdict.refused is not None or verdict.unusable is not None or verdict.broken is not None:
        reason = verdict.refused or verdict.unusable or verdict.broken
        return Checked(recorded.workload.name, Tally(1, steps, skipped=steps), refused=reason)
    strict = verdict
    if verdict.known:
        placement = placement_of(recorded)
        expected = case.reference().run(recorded.workload, placement, frozenset())
        strict = compare(expected, recorded)
    tally = _count(steps, places(strict, steps), places(verdict, steps), unsteady)
    return Checked(
        recorded.workload.name,
        tally,
        headline=verdict.headline if tally.mismatched else (),
        known=verdict.known,
        not_compared=verdict.not_compared,
    )


def places(verdict: Verdict, steps: int) -> set[int]:
    """The steps that differ; the start counts for the first, the end for the last."""
    ends = {"start": 0, "final": steps - 1}
    return {m.place if isinstance(m.place, int) else ends[m.place] for m in verdict.mismatches}


def _count(steps: int, strict: set[int], followed: set[int], unsteady: int | None) -> Tally:
    """Sort the steps by where the strict and the issue-following comparison differ."""
    if unsteady is not None:
        followed = {step for step in followed if step < unsteady}
    first = min(followed, default=steps)
    known = sum(1 for step in strict if step < first)
    mismatched = 1 if first < steps else 0
    return Tally(
        workloads=1,
        steps=steps,
        agreed=first - known,
        known=known,
        mismatched=mismatched,
        skipped=steps - first - mismatched,
    )


def _unsteady_steps(results: Path, listed: Path) -> dict[str, int]:
    """The first unsteady step of each workload, from `unsteady.json` beside the results."""
    try:
        raw = json.loads((results.parent / "unsteady.json").read_bytes())
        rows = raw.get(listed.name.removesuffix(".workloads.json.xz"), {})
        return {name: int(row[0]) for name, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise UsageError(f"{results.parent / 'unsteady.json'} is damaged: {error!r}") from error


class Job(msgspec.Struct, frozen=True):
    """A recorded workload, line `number` of the recording `source`, not decoded yet.

    `workload` and `kernel` are None where the line says them itself; `release` then takes the
    place of its kernel's, if given.
    """

    source: str
    number: int
    line: str | bytes
    workload: dict[str, Any] | None = None
    kernel: Recorded | None = None
    unsteady: int | None = None
    release: str | None = None

    @property
    def name(self) -> str:
        """Of the workload: `program@image@mount`; nothing if the line is damaged."""
        if self.workload is not None:
            return str(self.workload["name"])
        try:
            head = self.head()
        except UsageError:
            return ""
        return f"{head.program}@{head.config.name}"

    def head(self) -> Head:
        """Program, configuration and release. Raises `UsageError` if the line is damaged."""
        if self.workload is not None and self.kernel is not None:
            named = workload_of(self.workload)
            return Head(named.program, named.config, named.ops, self.kernel.release)
        with self._damaged():
            head = head_of(self.line)
        return head if self.release is None else head._replace(release=self.release)

    def case(self) -> Case:
        """What was recorded, decoded. Raises `UsageError` if the line is damaged."""
        if self.workload is not None and self.kernel is not None:
            line = str(self.line)
            trace = _trace_at(self.number, line, self.workload, self.source, self.kernel)
            return Case(trace, self.kernel, geometry_of(trace))
        with self._damaged():
            kept = parse_kept(self.line)
        if self.release is not None:
            trace = msgspec.structs.replace(kept.trace, kernel=self.release)
            kept = msgspec.structs.replace(kept, trace=trace)
        return Case(kept.trace, kept.kernel, kept.geometry)

    @contextlib.contextmanager
    def _damaged(self) -> Iterator[None]:
        try:
            yield
        except (msgspec.MsgspecError, ValueError) as error:
            raise UsageError(f"{self.source}: line {self.number} is damaged: {error}") from error

    def check(self) -> Checked:
        """The model against it. Raises `UsageError` if the line is damaged."""
        return check_case(self.case(), self.unsteady)


def _trace_at(
    number: int, line: str, workload: dict[str, Any], subject: str, kernel: Recorded
) -> Trace:
    """Line `number` of the recording `subject`, decoded. Raises `UsageError`."""
    try:
        return trace_of(line, workload, subject, kernel.release)
    except DAMAGED as error:
        raise UsageError(f"{subject}: line {number} is damaged: {damage(error)}") from error


def jobs_of(
    results: Path,
    listed: Path | None = None,
    release: str | None = None,
    kernel: Recorded | None = None,
) -> list[Job]:
    """Each workload of the result file `results`, in its order.

    `listed` is the workload list (default: `workloads_of`), `kernel` what recorded it (default:
    by the file's name), `release` its release (without one no issue is known). A recording that a
    run has made says all that itself. Raises `UsageError` where a file is missing or damaged.
    """
    if is_kept(results):
        if kernel is not None:
            raise UsageError(f"{results} says itself which kernel made it; leave out --as")
        source = results.name.removesuffix(SUFFIX)
        return [
            Job(source, number, line, release=release)
            for number, line in enumerate(kept_lines(results), start=1)
        ]
    listed = listed or workloads_of(results)
    lines = list(raw_lines(results, listed))
    subject = results.name.removesuffix(SUFFIX)
    kernel = kernel or _kernel(subject, [workload for _, _, workload in lines])
    if release is not None:
        kernel = msgspec.structs.replace(kernel, release=release)
    unsteady = _unsteady_steps(results, listed)
    return [
        Job(subject, number, line, workload, kernel, unsteady.get(workload["name"]))
        for number, line, workload in lines
    ]


def unrecorded(results: Path, listed: Path | None, jobs: Iterable[Job]) -> list[str]:
    """The workloads of the list that `jobs`, those of the result file `results`, lack.

    None for a recording that a run has made: it has no list. Raises `UsageError`.
    """
    if is_kept(results):
        return []
    names = {job.name for job in jobs}
    return [name for name in listed_in(listed or workloads_of(results)) if name not in names]


def check_file(
    results: Path,
    listed: Path | None = None,
    release: str | None = None,
    processes: int | None = None,
) -> Iterator[Checked]:
    """The model against each workload of the result file `results`, in its order.

    `processes` is how many work (default: one a CPU), the others are those of `jobs_of`, which
    raises `UsageError` where a file is missing or damaged.
    """
    yield from each(Job.check, jobs_of(results, listed, release), processes)
