"""Sort the differences of two kernels: intended, known, or a mismatch.

The direct comparison of the two traces is the base: where the kernels agree nobody else
is asked. A difference is intended only if all of this holds:

1. The model predicts both values. It is run for each side, told that side's release, path
   and placement, and its two runs must differ in the same field by the same two values.
2. An entry of `harness.differences.table` describes it: kind of step, field, shape of the two
   values, rules that the model applied. Or it follows from one that showed before in that
   file, or in the same step: then the field must be among those that the entry names, and
   the two sides must have differed in that file ever since. What a file holds is not looked
   at after every step, and a crash brings back what was: for contents, and after a shutdown,
   it is enough that the entry has shown in that file.

Everything else is a mismatch, and says which of the two it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.against.predicted import Predicted, Seen
from harness.comparison.compare import COMPLAINTS, compare, complaints
from harness.comparison.unknowns import with_unknowns
from harness.differences.intended import Difference, applicable
from harness.differences.moment import Moment
from harness.differences.shapes_extents import apart
from harness.differences.table import CONTENT, INTENDED
from harness.known import KNOWN_ISSUES
from harness.trace import Event, FileObservation, Observation, Step, Trace
from harness.verdict import Intended, Mismatch, Place, Verdict
from workloads.ops import Op, Read, Rename, Seek, Shutdown

__all__ = ["settle"]

IN_IMAGE = {
    "image free_blocks": "bfree",
    "image blocks": "disk_blocks",
    "image extents": "extents",
    "image size": "size",
    "image content": "content",
}
"""What fields of the image are called where a mounted file system shows the same."""


def settle(expected: Seen, actual: Seen, entries: Iterable[Difference] = INTENDED) -> Verdict:
    """The direct comparison of both kernels' traces, its differences sorted."""
    direct = compare(
        with_unknowns(expected.trace, expected.model), with_unknowns(actual.trace, actual.model)
    )
    return _Sorter((expected, actual), entries).sort(direct)


# --- sorting ----------------------------------------------------------------------------


class _Sorter:
    """Goes through the differences in the order of the steps.

    `open` holds, by file, the entries that have shown there since the file was last equal
    on both sides, `told` those that have ever shown there, `fresh` the names of those that are
    new in this step, `crashed` whether the file system was shut down; `issues` the known
    issues that the sides' models have followed so far.
    """

    def __init__(self, sides: tuple[Seen, Seen], entries: Iterable[Difference]) -> None:
        self.sides = sides
        self.entries, self.swapped = applicable(
            (sides[0].path, sides[1].path),
            (sides[0].trace.kernel, sides[1].trace.kernel),
            entries,
        )
        self.open: dict[str | None, list[Difference]] = {}
        self.told: dict[str | None, list[Difference]] = {}
        self.fresh: set[str] = set()
        self.crashed = False
        self.issues: dict[str, None] = {}
        self.known: dict[str, None] = {}
        self.history = [frozenset[str](), frozenset[str]()]
        self.mismatches: list[Mismatch] = []
        self.intended: list[Intended] = []
        self.predicted = Predicted(sides)

    def sort(self, direct: Verdict) -> Verdict:
        """`direct` without what is excused, which goes to `intended` and `known`."""
        groups: dict[Place, list[Mismatch]] = {}
        for m in direct.mismatches:
            if m.field not in COMPLAINTS:
                groups.setdefault(m.place, []).append(m)
        last = (direct.steps,) if direct.steps in groups else ()  # where one trace is shorter
        places: list[Place] = ["start", *range(direct.steps), *last, "final"]
        for place in places:
            self._carry_on(place)
            self._step(place, groups.get(place, []))
        self._complaints()
        return msgspec.structs.replace(
            direct,
            mismatches=tuple(self.mismatches),
            intended=tuple(self.intended),
            known=tuple(self.known),
        )

    def _carry_on(self, place: Place) -> None:
        """Take note of rules and known issues met at `place`, and of what a rename carries on."""
        for side, step in enumerate(self._models(place)):
            self.history[side] |= _rules(step)
        for seen, step in zip(self.sides, self._models(place), strict=True):
            for quirk in step.quirks if step is not None else ():
                self.issues[_issue(quirk, seen.path)] = None
        op = self._op(place)
        self.crashed = self.crashed or isinstance(op, Shutdown)
        if isinstance(op, Rename):
            for shown in (self.open, self.told):
                if op.file in shown:
                    shown.setdefault(op.to, []).extend(shown[op.file])

    def _step(self, place: Place, differences: list[Mismatch]) -> None:
        signs: dict[int, list[Difference]] = {}
        files = {other.file for other in differences}
        shown = {entry.name for entries in self.open.values() for entry in entries}
        for index, m in enumerate(differences):
            predicted = self.predicted.has(m)
            entries = self._signs(m, modelled=predicted)
            for entry in entries:
                for file in [m.file] if m.file is not None else files:
                    self._open(file, entry)
            if predicted or entries:
                signs[index] = entries
        self.fresh = {entry.name for found in signs.values() for entry in found} - shown
        for index, m in enumerate(differences):
            if index not in signs:
                self._blame(m, self.predicted.said(m))
            else:
                self._excuse(m, signs[index])
        differing = {m.file for m in differences}
        for file in [file for file in self.open if file not in differing and self._seen(place)]:
            del self.open[file]

    def _open(self, file: str | None, entry: Difference) -> None:
        """`entry` shows in `file`."""
        self.open.setdefault(file, []).append(entry)
        told = self.told.setdefault(file, [])
        if entry not in told:
            told.append(entry)

    def _excuse(self, m: Mismatch, signs: list[Difference]) -> None:
        """`m`, which the model predicts: by a known issue, by what it is a sign of, by what it
        follows from, or not."""
        entry = signs[0] if signs else None
        follows = entry or self._cause(m)
        values = (m.expected, m.actual)
        without = self.predicted.without_issues(m) if self.issues else values
        if without is None or (follows is None and without != values):
            self.known.update(self.issues)
        elif follows is not None:
            self.intended.append(Intended(m, follows.name, follows=entry is None))
        else:
            said = "the model predicts both values, but no intended difference describes this one"
            self._blame(m, said)

    def _cause(self, m: Mismatch) -> Difference | None:
        """The entry that `m` follows from: the latest that has shown and names the field.

        In the step in which it first shows, a field that it has a sign for has to be one.
        """
        seen = m.field.split(",")[0]
        field, file, op = IN_IMAGE.get(seen, seen), m.file, self._op(m.place)
        if field == "result" and isinstance(op, Seek):
            field, file = "extents", op.file  # of which SEEK_DATA and SEEK_HOLE tell
        elif field == "result" and isinstance(op, Read):
            field, file = "content", op.file
        shown = self.told if field in CONTENT or self.crashed else self.open
        rows = [
            row
            for other, entries in shown.items()
            for row in entries
            if row.everywhere or file is None or other == file.lstrip("/")  # /: of the image
        ]
        return next((row for row in reversed(rows) if self._leads_to(row, field, seen)), None)

    def _leads_to(self, row: Difference, field: str, seen: str) -> bool:
        """Whether `field` may follow from `row`, and was not to be a sign of it where it was
        `seen`: what a mounted file system shows of it comes first, the image has the same."""
        has_sign = any(sign.field == seen for sign in row.signs)
        return field in row.follows and not (has_sign and row.name in self.fresh)

    def _complaints(self) -> None:
        """What e2fsck, the image's check or the log say against one of the kernels.

        A side's own verdict has those that no known issue excuses.
        """
        for side, seen in enumerate(self.sides):
            left = [m for m in seen.judged.mismatches if m.field in COMPLAINTS]
            if len(left) < len(complaints(seen.trace)):
                self.known.update(dict.fromkeys(seen.judged.known))
            for m in left:
                if side == 0 and m.field == "log":  # who complained is told by the column
                    self.mismatches.append(
                        msgspec.structs.replace(m, expected=m.actual, actual=m.expected)
                    )
                else:
                    self.mismatches.append(m)

    def _blame(self, m: Mismatch, because: str) -> None:
        self.mismatches.append(msgspec.structs.replace(m, because=(because,)))

    # --- a moment ---------------------------------------------------------------------

    def _signs(self, m: Mismatch, modelled: bool) -> list[Difference]:
        """The entry of which `m` is a sign, or the entries that account together for the blocks
        of a file; of a field that no model sees, if not `modelled`."""
        if not modelled and not self.predicted.leaves_open(m):
            return []
        moment = self._moment(m)
        whole = self._describing(moment, modelled)
        if whole is not None or m.field != "extents" or not modelled:
            return [whole] if whole is not None else []
        parts = [self._describing(part, modelled) for part in apart(moment)]
        found = [part for part in parts if part is not None]
        return found if len(found) == len(parts) else []

    def _describing(self, moment: Moment, modelled: bool) -> Difference | None:
        return next((entry for entry in self.entries if entry.describes(moment, modelled)), None)

    def _seen(self, place: Place) -> bool:
        """Whether both sides' files could be looked at then: not so while shut down."""
        seen = [_observation(side.trace, place) for side in self.sides]
        return all(one is not None and one.error is None for one in seen)

    def _moment(self, m: Mismatch) -> Moment:
        """`m` in the order of the entries."""
        order = (1, 0) if self.swapped else (0, 1)
        steps = [_step_at(self.sides[side].trace, m.place) for side in order]
        seen = [_observation(self.sides[side].trace, m.place) for side in order]
        before = [_before(self.sides[side].trace, m.place) for side in order]
        models = [self._models(m.place)[side] for side in order]
        values = (m.expected, m.actual)
        return Moment(
            place=m.place,
            op=self._op(m.place),
            config=self.sides[0].trace.workload.config,
            file=m.file,
            field=m.field,
            values=(values[order[0]], values[order[1]]),
            files=(_file(seen[0], m.file), _file(seen[1], m.file)),
            before=(before[0], before[1]),
            events=(_events(steps[0], m.file), _events(steps[1], m.file)),
            rules=(_rules(models[0]), _rules(models[1])),
            history=(self.history[order[0]], self.history[order[1]]),
            traces=(self.sides[order[0]].trace, self.sides[order[1]].trace),
        )

    def _models(self, place: Place) -> tuple[Step | None, Step | None]:
        one, other = (_step_at(side.model, place) for side in self.sides)
        return one, other

    def _op(self, place: Place) -> Op | None:
        ops = self.sides[0].trace.workload.ops
        return ops[place] if isinstance(place, int) and place < len(ops) else None


def _issue(quirk: str, path: str) -> str:
    """The known issue that has `quirk` on `path`."""
    names = (issue.name for issue in KNOWN_ISSUES if (issue.quirk, issue.path) == (quirk, path))
    return next(names, quirk)


def _step_at(trace: Trace | None, place: Place) -> Step | None:
    if trace is None or not isinstance(place, int) or place >= len(trace.steps):
        return None
    return trace.steps[place]


def _observation(trace: Trace, place: Place) -> Observation | None:
    if place == "start":
        return trace.start
    if place == "final":
        return trace.final.observation if trace.final is not None else None
    step = _step_at(trace, place)
    return step.observation if step is not None and step.observed else None


def _before(trace: Trace, place: Place) -> Observation:
    """What was seen last before the step `place`."""
    steps = trace.steps[:place] if isinstance(place, int) else trace.steps
    seen = (step.observation for step in reversed(steps) if step.observed)
    return next(seen, trace.start)


def _file(observation: Observation | None, file: str | None) -> FileObservation | None:
    return observation.files.get(file) if observation is not None and file is not None else None


def _events(step: Step | None, file: str | None) -> tuple[Event, ...]:
    events = step.events if step is not None and step.events is not None else ()
    return tuple(event for event in events if event.file == file)


def _rules(step: Step | None) -> frozenset[str]:
    return frozenset(step.because) if step is not None else frozenset()
