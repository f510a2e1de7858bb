"""Compare two traces of one workload, step by step and field by field.

What two subjects both see must be equal. What one of them does not see (None) is not
compared, and the verdict counts it with the reason. Physical block numbers are never
compared, and the events of different files in one step may come in any order: the kernel
is free in both. What e2fsck, our own check of the image and the kernel's log complain of
is held against a subject whatever the other one says.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.comparison.content import compare_contents
from harness.comparison.findings import Findings
from harness.comparison.image import compare_forms
from harness.extent import Run, runs
from harness.trace import (
    Event,
    EventKind,
    FileObservation,
    Final,
    Observation,
    Result,
    Step,
    Trace,
)
from harness.verdict import Mismatch, Verdict
from workloads.syntax import format_op

__all__ = ["COMPLAINTS", "HOLES", "compare", "complaints", "joined"]

_FILE_FIELDS = ("size", "blocks", "disk_blocks", "disksize", "reserved")
_RANGED = ("blocks", "disk_blocks")
"""Fields of which a subject that does not see them may know bounds (`*_range`)."""
_FS_FIELDS = ("delalloc", "bfree", "bavail")
HOLES = "how much of a hole is cached shows only where nobody looked at the file before"
"""Why a range that is reserved in other pieces is not compared: FIEMAP caches holes as a whole."""
COMPLAINTS = ("fsck", "image", "log")
"""Fields of the end that count against a subject whatever the other one says; only a known
issue excuses them."""


def compare(expected: Trace, actual: Trace) -> Verdict:
    """Where `actual` parts from `expected`.

    The traces must be of the same operations on the same image; the mount options may
    differ, so that two paths of one kernel can be compared. Raises `ValueError` otherwise.
    """
    mine, theirs = expected.workload, actual.workload
    if (mine.ops, mine.config.image) != (theirs.ops, theirs.config.image):
        raise ValueError(f"traces of different workloads: {mine.name} and {theirs.name}")
    found = _Comparison((expected.subject, actual.subject))
    found.at("start", "", (), {}, {})
    found.observation(expected.start, actual.start)
    steps = 0
    for index, (want, seen) in enumerate(zip(expected.steps, actual.steps, strict=False)):
        op = format_op(mine.ops[index], index)
        found.at(index, op, want.because, want.unpredicted, seen.unpredicted)
        found.step(want, seen)
        if want.observed is not seen.observed and theirs.config.path == "iomap":
            found.unlooked = True
        steps += 1
    if len(expected.steps) != len(actual.steps):
        found.at(steps, format_op(mine.ops[steps], steps), (), {}, {})
        found.differ(None, "steps", len(expected.steps), len(actual.steps))
    ends = (expected.final, actual.final)
    found.at("final", "", (), *(end.unpredicted if end is not None else {} for end in ends))
    found.final(*ends)
    return Verdict(
        workload=theirs,
        subjects=(expected.subject, actual.subject),
        kernels=(expected.kernel, actual.kernel),
        build_ids=(_build_id(expected), _build_id(actual)),
        mismatches=tuple(found.mismatches),
        steps=steps,
        compared=found.compared,
        not_compared=dict(found.not_compared),
    )


def _build_id(trace: Trace) -> str | None:
    found = trace.identity.get("build_id")
    return found if isinstance(found, str) else None


def complaints(trace: Trace) -> tuple[Mismatch, ...]:
    """What `COMPLAINTS` hold against `trace`, without any other trace."""
    found = _Comparison((trace.subject, trace.subject))
    found.at("final", "", (), {}, {})
    found.complaints(trace.subject, trace.final)
    return tuple(found.mismatches)


class _Comparison(Findings):
    """Two traces field by field: `step` for each, then `final`. `unlooked`: on the iomap path, and
    only one of the sides was looked at after each step so far."""

    unlooked = False

    # --- a step -----------------------------------------------------------------------

    def step(self, expected: Step, actual: Step) -> None:
        """Result, observation and events of one step."""
        self._result(expected.result, actual.result)
        self._threads(expected, actual)
        if expected.observed and actual.observed:
            self.observation(expected.observation, actual.observation)
        else:
            self.skip(None, "observation", not expected.observed, not actual.observed)
        if expected.events is None or actual.events is None:
            self.skip(None, "events", expected.events is None, actual.events is None)
            return
        want, seen = _by_file(expected.events), _by_file(actual.events)
        for file in sorted(want.keys() | seen.keys()):
            self._events(file, want.get(file, ()), seen.get(file, ()))

    def _result(self, expected: Result, actual: Result) -> None:
        unknown = tuple("result" in reasons for reasons in self.reasons)
        if any(unknown):  # a result is never None, so that the reason alone says it
            self.skip(None, "result", *unknown)
        else:
            self.equal(None, "result", expected, actual)

    def _threads(self, expected: Step, actual: Step) -> None:
        """What the calls of a parallel section came to."""
        counts = [tuple(map(len, side.threads)) for side in (expected, actual)]
        if counts[0] != counts[1]:
            self.differ(None, "calls by thread", *counts)
            return
        reasons = self.reasons[0]
        for number, (mine, theirs) in enumerate(zip(expected.threads, actual.threads, strict=True)):
            for place, (want, seen) in enumerate(zip(mine, theirs, strict=True)):
                unknown = reasons.get(f"result.{number}.{place}")
                if unknown is not None:
                    self.not_compared["result of a call", unknown] += 1
                    continue
                field = f"result of call {place + 1} of thread {number + 1}"
                self.equal(None, field, want.result, seen.result)

    def _events(self, file: str, expected: tuple[Event, ...], actual: tuple[Event, ...]) -> None:
        claims = tuple(
            any(event.claim is None for event in events if event.kind == "update_reserve")
            for events in (expected, actual)
        )
        if any(claims):
            self.skip(file, "events.claim", *claims)
        self.compared += 1
        want, seen = (_plain(events, any(claims)) for events in (expected, actual))
        if want == seen:
            return
        hidden = self.reasons[0].get("pieces") or self.reasons[1].get("pieces")
        reserves = EventKind.RESERVE
        if hidden is not None and joined(expected) == joined(actual):
            self.not_compared["pieces", hidden] += 1
        elif self.unlooked and joined(expected, reserves) == joined(actual, reserves):
            self.not_compared["pieces", HOLES] += 1
        else:
            self.differ(file, "events", want, seen)

    # --- observations -----------------------------------------------------------------

    def observation(self, expected: Observation, actual: Observation) -> None:
        """The counters of the file system, and every file."""
        self.compared += 1
        if expected.error or actual.error:
            if expected.error != actual.error:
                self.differ(None, "error", expected.error or "none", actual.error or "none")
            return
        for field in _FS_FIELDS:
            self.equal(None, field, getattr(expected, field), getattr(actual, field))
        for file in self.in_both("exists", expected.files, actual.files):
            self._file(file, expected.files[file], actual.files[file])

    def _file(self, file: str, expected: FileObservation, actual: FileObservation) -> None:
        for field in _FILE_FIELDS:
            self.equal(file, field, getattr(expected, field), getattr(actual, field))
        for field in _RANGED:
            self._within(file, field, expected, actual)
        if expected.extents_error or actual.extents_error:
            unseen = tuple(o.extents is None and not o.extents_error for o in (expected, actual))
            if any(unseen):
                self.skip(file, "extents", *unseen)
            else:
                errors = (expected.extents_error or "none", actual.extents_error or "none")
                self.equal(file, "extents_error", *errors)
            return
        self.equal(file, "extents", _maybe_runs(expected), _maybe_runs(actual))

    def _within(
        self, file: str, field: str, expected: FileObservation, actual: FileObservation
    ) -> None:
        """Hold the field against the bounds that the expecting side gives in its place."""
        bounds, seen = getattr(expected, f"{field}_range"), getattr(actual, field)
        if bounds is not None and seen is not None and not bounds[0] <= seen <= bounds[1]:
            self.differ(file, field, f"{bounds[0]} to {bounds[1]}", seen)

    # --- the end ----------------------------------------------------------------------

    def final(self, expected: Final | None, actual: Final | None) -> None:
        """What is left after the workload; complaints count whichever side has them."""
        for subject, side in zip(self.subjects, (expected, actual), strict=True):
            self.complaints(subject, side)
        self._unlooked(expected, actual)
        if expected is None or actual is None:
            self.skip(None, "final", expected is None, actual is None)
            return
        self.observation(expected.observation, actual.observation)
        if expected.warnings is not None or actual.warnings is not None:  # else none was awaited
            self.equal(None, "warnings", expected.warnings, actual.warnings)
        compare_contents(self, "dropped", expected.dropped, actual.dropped)
        compare_contents(self, "content", expected.content, actual.content)
        self._disk_blocks(expected.disk_blocks, actual.disk_blocks)
        compare_forms(self, expected.form, actual.form)

    def complaints(self, subject: str, side: Final | None) -> None:
        """What e2fsck, the check of the image and the kernel's log say against `subject`."""
        if side is None:
            return
        for field, said in (("fsck", side.fsck), ("image", "\n".join(side.image or ()))):
            if said:
                self.differ(None, field, "no complaint", f"{subject}: {said}")
        first = subject == self.subjects[0] != self.subjects[1]
        for complaint in side.log or ():  # each is a finding of its own
            sides = (complaint, "no complaint") if first else ("no complaint", complaint)
            self.differ(None, "log", *sides)

    def _unlooked(self, expected: Final | None, actual: Final | None) -> None:
        for field in COMPLAINTS:
            if all(side is None or getattr(side, field) is None for side in (expected, actual)):
                self.skip(None, field, no_expected=False, no_actual=True)
            else:
                self.compared += 1

    def _disk_blocks(self, expected: dict[str, int] | None, actual: dict[str, int] | None) -> None:
        field = "disk_blocks on disk"
        if expected is None or actual is None:
            self.skip(None, field, expected is None, actual is None)
            return
        for file in sorted(expected.keys() | actual.keys()):
            self.equal(file, field, expected.get(file), actual.get(file))


def _maybe_runs(file: FileObservation) -> tuple[Run, ...] | None:
    return None if file.extents is None else runs(file.extents)


def _by_file(events: Iterable[Event]) -> dict[str, tuple[Event, ...]]:
    files: dict[str, tuple[Event, ...]] = {}
    for event in events:
        files[event.file] = (*files.get(event.file, ()), event)
    return files


def joined(events: Iterable[Event], kind: EventKind = EventKind.UPDATE) -> list[Event]:
    """`events` with the pieces of an allocation as one, or with another `kind` those of a
    reservation: those of a file that follow each other and take up where the one before has left
    what is reserved."""
    found: list[Event] = []
    for event in events:
        before = found[-1] if found else None
        if (
            before is not None
            and event.kind is before.kind is kind
            and event.file == before.file
            and event.claim == before.claim
            and _left(before) == _found(event)
        ):
            last = event if kind is EventKind.RESERVE else before
            found[-1] = msgspec.structs.replace(last, count=before.count + event.count)
        else:
            found.append(event)
    return found


def _left(event: Event) -> int:
    """Clusters reserved after it; the tracepoint of a reservation comes last, others come first."""
    return event.reserved - (0 if event.kind is EventKind.RESERVE else event.count)


def _found(event: Event) -> int:
    """Clusters reserved before it."""
    return event.reserved - (event.count if event.kind is EventKind.RESERVE else 0)


def _plain(events: Iterable[Event], no_claims: bool) -> tuple[str, ...]:
    """The events in words, as reports show them."""
    return tuple(
        f"{event.kind} {event.count} (reserved {event.reserved}"
        + ("" if no_claims or event.claim is None else f", claim {int(event.claim)}")
        + ")"
        for event in events
    )
