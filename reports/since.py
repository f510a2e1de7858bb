"""What is new since the last night: the part of the frames that a report is about.

The **last night** is the newest night of each line and machine. Going back from the newest,
nights are taken until one whose line and machine has been taken already. Machines of one line
may have names that change (those of a CI service do); so a line that was taken is also at an
end where its nights are more than half a day apart. The night before is found in the same
way, for each line, among the nights that are left.

A finding is told apart by line and path: `new` if no earlier night of the line showed it
there, `back` if one did but not the night before, `still` if that did, `away` if the night
before showed it and the last night does not. A night of other programs may miss a bug that is
still there: `away` is not `fixed`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from harness.verdict import Outcome
from reports.frames import Frames

__all__ = ["Cause", "Found", "Part", "Since", "State", "since_last_night"]

HALF_A_DAY = 12 * 60 * 60
"""In `order` of nights, which goes by seconds as long as clocks are right."""


class State(enum.StrEnum):
    """What the last night says of a finding; those first that matter more."""

    NEW = "new"
    BACK = "back"
    STILL = "still"
    AWAY = "away"


@dataclasses.dataclass(frozen=True)
class Found:
    """A finding on one line and path; `about` is its row of the frame, `runs` how many
    of the last night's show it (of the night before, if it is away)."""

    state: State
    about: Any
    runs: int
    first: str
    """When it was first seen: the first night's time of day."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One line and path in the last night. `kernels` are the kernels, `before` those of the
    night before; `outcomes` counts the rows, and `findings` has those first that matter."""

    line: str
    path: str
    kernels: tuple[str, ...]
    before: tuple[str, ...]
    outcomes: dict[str, int]
    findings: tuple[Found, ...]

    @property
    def runs(self) -> int:
        """How many there were, of a program on each of its configurations."""
        return sum(self.outcomes.values())

    def of(self, state: State) -> list[Found]:
        """The findings of one state."""
        return [found for found in self.findings if found.state is state]


@dataclasses.dataclass(frozen=True)
class Cause:
    """A signature and the lines and paths that it is of, those first that matter more."""

    signature: str
    places: tuple[tuple[Part, Found], ...]

    @property
    def state(self) -> State:
        """The state that matters most."""
        return self.places[0][1].state

    @property
    def about(self) -> Any:
        """The row of the frame for the first place."""
        return self.places[0][1].about

    @property
    def runs(self) -> int:
        """How many show it."""
        return sum(found.runs for _, found in self.places)


@dataclasses.dataclass(frozen=True)
class Since:
    """The last night. `nights` are its rows of the frame, `results` those of its programs."""

    nights: pd.DataFrame
    results: pd.DataFrame
    parts: tuple[Part, ...]
    causes: tuple[Cause, ...]

    def of(self, state: State) -> list[Cause]:
        """The signatures of one state."""
        return [cause for cause in self.causes if cause.state is state]

    def count(self, *outcomes: Outcome) -> int:
        """How many runs came out so."""
        return sum(part.outcomes.get(outcome, 0) for part in self.parts for outcome in outcomes)

    @property
    def headline(self) -> str:
        """The last night in a few words."""
        new, back = len(self.of(State.NEW)), len(self.of(State.BACK))
        if not self.parts:
            return "Nothing was run"
        if new:
            return f"{new} new finding{'' if new == 1 else 's'}"
        if back:
            return f"No new finding, {back} that {'is' if back == 1 else 'are'} back"
        if self.count(Outcome.MISMATCH):
            return "Nothing new"
        if self.count(Outcome.AGREE, Outcome.INTENDED, Outcome.KNOWN):
            return "No mismatch"
        return "Nothing was compared"

    @property
    def mood(self) -> str:
        """What the headline means: `bad`, `old`, `good` or `empty`."""
        if self.of(State.NEW):
            return "bad"
        if self.count(Outcome.MISMATCH):
            return "old"
        compared = self.count(Outcome.AGREE, Outcome.INTENDED, Outcome.KNOWN)
        return "good" if compared else "empty"


def last_night(nights: Sequence[Any]) -> list[Any]:
    """The nights of the last night, newest first; `nights` (rows of the frame) are in order."""
    taken: list[Any] = []
    for night in reversed(nights):
        same = [one for one in taken if one.line == night.line]
        if any(one.machine == night.machine for one in same):
            break
        if any(one.order - night.order > HALF_A_DAY for one in same):
            break
        taken.append(night)
    return taken


def since_last_night(frames: Frames) -> Since:
    """The last night, held against those before."""
    nights = list(frames.nights.itertuples(index=False))
    last = last_night(nights)
    ids = {night.night for night in last}
    parts = []
    for line in dict.fromkeys(night.line for night in reversed(last)):
        earlier = [night for night in nights if night.line == line and night.night not in ids]
        before = {night.night for night in last_night(earlier)}
        of_line = frames.results[frames.results["line"] == line]
        now = of_line[of_line["night"].isin(ids)]
        for path in sorted(now["path"].unique()):
            parts.append(_part(frames, of_line[of_line["path"] == path], ids, before))
    return Since(
        nights=frames.nights[frames.nights["night"].isin(ids)],
        results=frames.results[frames.results["night"].isin(ids)],
        parts=tuple(parts),
        causes=_causes(parts),
    )


def _causes(parts: Iterable[Part]) -> tuple[Cause, ...]:
    order = list(State)
    places: dict[str, list[tuple[Part, Found]]] = {}
    for part in parts:
        for found in part.findings:
            places.setdefault(str(found.about.signature), []).append((part, found))
    causes = [
        Cause(signature, tuple(sorted(group, key=lambda place: order.index(place[1].state))))
        for signature, group in places.items()
    ]
    return tuple(sorted(causes, key=lambda cause: (order.index(cause.state), -cause.runs)))


def _part(frames: Frames, rows: pd.DataFrame, last: set[str], before: set[str]) -> Part:
    """One line and path, of which `rows` are all results."""
    line, path = rows["line"].iloc[0], rows["path"].iloc[0]
    now, then = rows[rows["night"].isin(last)], rows[rows["night"].isin(before)]
    earlier = _signatures(rows[~rows["night"].isin(last)])
    shown, shown_before = _signatures(now), _signatures(then)
    began = dict(zip(frames.nights["night"], frames.nights["began"], strict=True))
    of_part = frames.findings[(frames.findings["line"] == line) & (frames.findings["path"] == path)]
    findings = []
    for about in of_part.itertuples(index=False):
        state = _state(about.signature, shown, shown_before, earlier)
        if state is not None:
            counts = shown_before if state is State.AWAY else shown
            first = began[about.first]
            findings.append(Found(state, about, counts[about.signature], first))
    order = list(State)
    findings.sort(key=lambda found: (order.index(found.state), -found.runs))
    return Part(line, path, _kernels(now), _kernels(then), _outcomes(now), tuple(findings))


def _state(
    signature: str, shown: Iterable[str], before: Iterable[str], earlier: Iterable[str]
) -> State | None:
    if signature in shown:
        if signature in before:
            return State.STILL
        return State.BACK if signature in earlier else State.NEW
    return State.AWAY if signature in before else None


def _signatures(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows show each signature."""
    shown = rows.loc[rows["signature"] != "", "signature"]
    return {str(name): int(count) for name, count in shown.value_counts().items()}


def _outcomes(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows came out how, in the order of `Outcome`."""
    counts = rows["outcome"].value_counts()
    return {str(o): int(counts[o]) for o in map(str, Outcome) if counts.get(o, 0)}


def _kernels(rows: pd.DataFrame) -> tuple[str, ...]:
    """Release and build of each kernel; rows whose guest broke down know none."""
    pairs = rows.loc[rows["kernel"] != "", ["kernel", "build_id"]].drop_duplicates()
    return tuple(
        f"{kernel} (build id {build[:12]})" if build else str(kernel)
        for kernel, build in pairs.itertuples(index=False)
    )
