"""Compare two traces of one workload, step by step and field by field.

What two subjects both see must be equal. What one of them does not see (None) is not
compared, and the verdict counts it with the reason. Physical block numbers are never
compared, and the events of different files in one step may come in any order: the kernel
is free in both. What e2fsck, our own check of the image and the kernel's log complain of
is held against a subject whatever the other one says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from harness.image.difference import WHOLE, differences
from harness.image.form import FORM, Canonical
from harness.trace import (
    Content,
    Event,
    Extent,
    FileObservation,
    Final,
    Observation,
    Result,
    State,
    Step,
    Trace,
)
from harness.verdict import Mismatch, Outcome, Place, Verdict, Where
from workloads.syntax import format_op

__all__ = ["Mismatch", "Outcome", "Run", "Verdict", "compare", "complaints", "runs"]

PIECE = 4096
"""Bytes that one checksum of `Content.blocks` covers."""

Run = tuple[int, int, State]
"""Start, length (bytes) and state of a range that no neighbour of the same state touches."""

_FILE_FIELDS = ("size", "blocks", "disk_blocks", "disksize", "reserved")
_RANGED = ("blocks", "disk_blocks")
"""Fields of which a subject that does not see them may know bounds (`*_range`)."""
_FS_FIELDS = ("delalloc", "bfree", "bavail")
IMAGE = "image "
"""What the fields of images in canonical form begin with."""
_COMPLAINTS = ("fsck", "image", "log")
"""Fields of the end that count against a subject whatever the other one says."""


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
    """What `_COMPLAINTS` hold against `trace`, without any other trace."""
    found = _Comparison((trace.subject, trace.subject))
    found.at("final", "", (), {}, {})
    found.complaints(trace.subject, trace.final)
    return tuple(found.mismatches)


def runs(extents: Iterable[Extent]) -> tuple[Run, ...]:
    """`extents` as maximal runs of one state, in the order of the file."""
    merged: list[Run] = []
    for extent in sorted(extents, key=lambda e: e.start):
        if merged:
            start, length, state = merged[-1]
            if state == extent.state and start + length == extent.start:
                merged[-1] = (start, length + extent.length, state)
                continue
        merged.append((extent.start, extent.length, extent.state))
    return tuple(merged)


class _Comparison:
    """Collects what differs and what is not compared; `at` says where it stands."""

    def __init__(self, subjects: tuple[str, str]) -> None:
        self.subjects = subjects
        self.mismatches: list[Mismatch] = []
        self.not_compared: Counter[Where] = Counter()
        self.compared = 0
        self._place: Place = "start"
        self._op = ""
        self._because: tuple[str, ...] = ()
        self._reasons: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})

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
        self._reasons = (expected_reasons, actual_reasons)

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
            (no_expected, no_actual), self.subjects, self._reasons, strict=True
        ):
            if lacking:
                reason = reasons.get(f"{file}.{field}") or reasons.get(field)
                self.not_compared[field, reason or f"not seen by {subject}"] += 1
                return

    # --- a step -----------------------------------------------------------------------

    def step(self, expected: Step, actual: Step) -> None:
        """Result, observation and events of one step."""
        self._result(expected.result, actual.result)
        self._threads(expected, actual)
        self.observation(expected.observation, actual.observation)
        if expected.events is None or actual.events is None:
            self.skip(None, "events", expected.events is None, actual.events is None)
            return
        want, seen = _by_file(expected.events), _by_file(actual.events)
        for file in sorted(want.keys() | seen.keys()):
            self._events(file, want.get(file, ()), seen.get(file, ()))

    def _result(self, expected: Result, actual: Result) -> None:
        unknown = tuple("result" in reasons for reasons in self._reasons)
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
        reasons = self._reasons[0]
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
        if want != seen:
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
        for file in self._in_both("exists", expected.files, actual.files):
            self._file(file, expected.files[file], actual.files[file])

    def _in_both(
        self, field: str, expected: Mapping[str, object], actual: Mapping[str, object]
    ) -> list[str]:
        """The files of both sides; one that only a single side has is a mismatch."""
        for file in sorted(expected.keys() ^ actual.keys()):
            self.differ(file, field, file in expected, file in actual)
        return sorted(expected.keys() & actual.keys())

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
        self._contents("dropped", expected.dropped, actual.dropped)
        self._contents("content", expected.content, actual.content)
        self._disk_blocks(expected.disk_blocks, actual.disk_blocks)
        self._form(expected.form, actual.form)

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
        for field in _COMPLAINTS:
            if all(side is None or getattr(side, field) is None for side in (expected, actual)):
                self.skip(None, field, no_expected=False, no_actual=True)
            else:
                self.compared += 1

    def _contents(
        self,
        field: str,
        expected: dict[str, Content] | None,
        actual: dict[str, Content] | None,
    ) -> None:
        if expected is None or actual is None:
            self.skip(None, field, expected is None, actual is None)
            return
        for file in self._in_both(f"{field} exists", expected, actual):
            self._content(file, field, expected[file], actual[file])

    def _disk_blocks(self, expected: dict[str, int] | None, actual: dict[str, int] | None) -> None:
        field = "disk_blocks on disk"
        if expected is None or actual is None:
            self.skip(None, field, expected is None, actual is None)
            return
        for file in sorted(expected.keys() | actual.keys()):
            self.equal(file, field, expected.get(file), actual.get(file))

    def _form(self, expected: Canonical | None, actual: Canonical | None) -> None:
        """The images in canonical form: every field of each path, and of the whole."""
        if expected is None or actual is None:
            # Without the kernel's there was nothing to compare the other one with.
            self.skip(None, FORM, expected is None and actual is not None, actual is None)
            return
        reasons = {**self._reasons[1], **self._reasons[0]}
        left_open = {
            key: why
            for key, why in reasons.items()
            if key != FORM and f".{IMAGE}" in f".{key}"  # `image FIELD`, `PATH.image FIELD`
        }
        for key, why in left_open.items():
            self.not_compared[key[key.index(IMAGE) :], why] += 1
        self.compared += expected.fields - len(left_open)
        for found in differences(expected, actual):
            file = None if found.path == WHOLE else found.path
            field = f"{IMAGE}{found.field}"
            if (field if file is None else f"{file}.{field}") not in left_open:
                self.differ(file, field, _form_value(found.first), _form_value(found.second))

    def _content(self, file: str, field: str, expected: Content, actual: Content) -> None:
        self.equal(file, f"{field} size", expected.size, actual.size)
        undefined = _pieces(expected.undefined) | _pieces(actual.undefined)
        if undefined:
            self.not_compared[f"{field} block", "its bytes are undefined"] += len(undefined)
        if expected.blocks is not None and actual.blocks is not None:
            self.compared += 1
            piece = _first_difference(expected.blocks, actual.blocks, undefined)
            if piece is not None:
                self.differ(
                    file,
                    f"{field}, 4096-byte block {piece} (byte {piece * PIECE})",
                    _checksum(expected.blocks.get(piece)),
                    _checksum(actual.blocks.get(piece)),
                )
                return
        elif undefined:
            self.not_compared[field, "undefined in part, and no checksums of its blocks"] += 1
        if not undefined:
            self.equal(file, f"{field} sha256", expected.sha256, actual.sha256)


def _maybe_runs(file: FileObservation) -> tuple[Run, ...] | None:
    return None if file.extents is None else runs(file.extents)


def _form_value(value: object) -> object:
    """A field of a canonical form as reports show it."""
    if isinstance(value, tuple) and any(isinstance(item, Extent) for item in value):
        return runs(value)
    return "nothing" if value is None else value


def _by_file(events: Iterable[Event]) -> dict[str, tuple[Event, ...]]:
    files: dict[str, tuple[Event, ...]] = {}
    for event in events:
        files[event.file] = (*files.get(event.file, ()), event)
    return files


def _plain(events: Iterable[Event], no_claims: bool) -> tuple[str, ...]:
    """The events in words, as reports show them."""
    return tuple(
        f"{event.kind} {event.count} (reserved {event.reserved}"
        + ("" if no_claims or event.claim is None else f", claim {int(event.claim)}")
        + ")"
        for event in events
    )


def _pieces(ranges: Iterable[tuple[int, int]]) -> set[int]:
    """Indexes of the 4096-byte pieces that the byte ranges touch."""
    return {
        piece
        for start, length in ranges
        if length
        for piece in range(start // PIECE, (start + length - 1) // PIECE + 1)
    }


def _first_difference(
    expected: Mapping[int, int], actual: Mapping[int, int], undefined: set[int]
) -> int | None:
    """The first piece whose checksums differ; a piece without one is all zero."""
    for piece in sorted(expected.keys() | actual.keys()):
        if piece not in undefined and expected.get(piece) != actual.get(piece):
            return piece
    return None


def _checksum(value: int | None) -> str:
    return "all zero" if value is None else f"crc32 {value:08x}"
