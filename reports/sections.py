"""The parts of a report that are tables: counted here, drawn by the templates.

Everything is about the last night (`reports.since`), and small: lists are cut at `MOST`, and
say what they leave out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pandas as pd

from harness.known import KNOWN_ISSUES
from harness.known_issue import KnownIssue
from harness.verdict import Outcome
from reports.frames import Frames
from reports.since import Since

__all__ = [
    "MOST", "Coverage", "Issue", "Matrix", "Speed", "about", "coverage", "issues", "matrix",
    "remarks", "speed", "unjudged",
]  # fmt: skip

MOST = 200
"""Rows of a table that are shown."""
PARTS = ("boot", "run", "model", "compare", "image", "other")
HOST = ("model", "compare", "image", "other")
"""Where the host's time goes; the rest is the guest's."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Programs by configuration and outcome. A row is line, path, configuration and the
    counts; `odd` are the rows with a mismatch or what could not be judged, `fine` the others.
    `more` is how many rows are not shown."""

    outcomes: tuple[str, ...]
    odd: tuple[MatrixRow, ...]
    fine: tuple[MatrixRow, ...]
    more: int


MatrixRow = tuple[str, str, str, tuple[int, ...]]
ODD = (Outcome.MISMATCH, Outcome.BROKEN, Outcome.UNUSABLE)


def matrix(since: Since) -> Matrix:
    """The matrix of the last night, by line, path and configuration."""
    keys = ["line", "path", "config"]
    counts = since.results.groupby([*keys, "outcome"], observed=True).size()
    if not len(counts):
        return Matrix((), (), (), 0)
    table = counts.unstack("outcome", fill_value=0).sort_index()
    shown = tuple(str(o) for o in Outcome if str(o) in table.columns)
    rows: dict[bool, list[MatrixRow]] = {True: [], False: []}
    for key, values in zip(table.index, table.to_dict("records"), strict=True):
        counted = tuple(int(values[name]) for name in shown)
        odd = any(values.get(str(outcome)) for outcome in ODD)
        rows[odd].append((str(key[0]), str(key[1]), str(key[2]), counted))
    more = sum(max(0, len(kind) - MOST) for kind in rows.values())
    return Matrix(shown, tuple(rows[True][:MOST]), tuple(rows[False][:MOST]), more)


# --- coverage ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What was reached: names with the steps that reached them, most first, and those of
    `never` that were to be reached and were not."""

    reached: tuple[tuple[str, int], ...]
    never: tuple[str, ...]

    @property
    def known(self) -> int:
        """How many there are to be reached."""
        return len(self.reached) + len(self.never)


def coverage(frames: Frames, since: Since, what: str, names: Sequence[str]) -> Coverage:
    """The coverage of `what` (`rule`, `operation`) in the last night; `names` are all."""
    table = frames.coverage
    table = table[(table["what"] == what) & table["night"].isin(since.nights["night"])]
    counts = table.groupby("name", observed=True)["count"].sum().sort_values(ascending=False)
    reached = tuple((str(name), int(count)) for name, count in counts.items() if count)
    seen = {name for name, _ in reached}
    return Coverage(reached, tuple(name for name in names if name not in seen))


# --- speed ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast it was. `seconds` is the nights' time at work, the rates are by it (or by the
    programs' own time if that is not known); `each` is steps a second of a guest's time.
    `shares` are parts of all programs' time, `host` the host's; `slowest` are programs."""

    programs: int
    runs: int
    steps: int
    fields: int
    seconds: float
    each: float
    shares: tuple[tuple[str, float], ...]
    host: float
    median: float
    late: float
    slowest: tuple[tuple[float, str, str], ...]

    @property
    def runs_a_second(self) -> float:
        """Runs a second, of a program on each of its configurations and paths."""
        return self.runs / self.seconds if self.seconds else 0.0

    @property
    def steps_a_second(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds if self.seconds else 0.0


def speed(frames: Frames, since: Since) -> Speed | None:
    """The speed of the last night; None if nothing ran."""
    results = since.results
    if not len(results):
        return None
    timings = frames.timings[frames.timings["night"].isin(since.nights["night"])]
    sums = timings[list(PARTS)].sum()
    whole = float(sums.sum()) or 1.0
    spent = float(timings["seconds"].sum())
    slow = timings.nlargest(10, "seconds")
    return Speed(
        programs=results["program"].str.partition("::")[0].nunique(),
        runs=len(results),
        steps=int(results["steps"].sum()),
        fields=int(results["compared"].sum()),
        seconds=float(since.nights["seconds"].sum()) or spent,
        each=float(timings["steps"].sum()) / spent if spent else 0.0,
        shares=tuple((part, float(sums[part]) / whole) for part in PARTS),
        host=float(sums[list(HOST)].sum()) / whole,
        median=float(timings["seconds"].median()),
        late=float(timings["seconds"].quantile(0.95)),
        slowest=tuple(slow[["seconds", "program", "config"]].itertuples(index=False, name=None)),
    )


# --- known issues, and what was not looked at ---------------------------------------------


@dataclasses.dataclass(frozen=True)
class Issue:
    """A known issue: where it showed, and where it should have shown and did not, each with
    line, path and how many runs. `about` is None for one that is not listed any more."""

    name: str
    showed: tuple[tuple[str, str, int], ...]
    missed: tuple[tuple[str, str, int], ...]
    about: KnownIssue | None


def issues(frames: Frames, since: Since) -> list[Issue]:
    """All known issues, by name."""
    lines = dict(zip(since.nights["night"], since.nights["line"], strict=True))
    found = _remarks(frames, since)
    counts: dict[str, Counter[tuple[str, str, str]]] = {"known": Counter(), "gone": Counter()}
    groups = found.groupby(["what", "name", "night", "path"], observed=True).size()
    for (what, name, night, path), count in groups.items():
        if what in counts:
            counts[what][str(name), lines[night], str(path)] += int(count)
    listed = {issue.name: issue for issue in KNOWN_ISSUES}
    names = {name for counted in counts.values() for name, _, _ in counted} | listed.keys()
    return [
        Issue(name, _places(counts["known"], name), _places(counts["gone"], name), listed.get(name))
        for name in sorted(names)
    ]


def _places(
    counts: Mapping[tuple[str, str, str], int], name: str
) -> tuple[tuple[str, str, int], ...]:
    """Line, path and count of what is said of `name`."""
    return tuple((key[1], key[2], count) for key, count in counts.items() if key[0] == name)


def remarks(frames: Frames, since: Since, what: str) -> list[tuple[str, str, int, int]]:
    """Name, reason, runs and fields of the remarks of one kind, most first."""
    found = _remarks(frames, since)
    groups = found[found["what"] == what].groupby(["name", "reason"], observed=True)["count"]
    rows = [(str(k[0]), str(k[1]), len(group), int(group.sum())) for k, group in groups]
    return sorted(rows, key=lambda row: (-row[2], row[0]))[:MOST]


def unjudged(since: Since) -> list[tuple[str, str, int]]:
    """Why runs were not compared: the outcome, the reason and how many."""
    wanted = [Outcome.BROKEN, Outcome.UNUSABLE, Outcome.NOT_MODELLED]
    found = since.results[since.results["outcome"].isin([str(outcome) for outcome in wanted])]
    counts = found.groupby(["outcome", "reason"], observed=True).size()
    rows = [(str(key[0]), str(key[1]), int(count)) for key, count in counts.items()]
    return sorted(rows, key=lambda row: (wanted.index(Outcome(row[0])), -row[2]))[:MOST]


def _remarks(frames: Frames, since: Since) -> pd.DataFrame:
    return frames.remarks[frames.remarks["night"].isin(since.nights["night"])]


def about(since: Since) -> list[tuple[Any, list[tuple[str, str]]]]:
    """Each night of the last night, with what its kernel and host were."""
    return [(night, _facts(night.kernel)) for night in since.nights.itertuples(index=False)]


def _facts(text: str) -> list[tuple[str, str]]:
    """Names and values of a JSON object; a text that is none stands for itself."""
    try:
        return [(str(name), str(value)) for name, value in msgspec.json.decode(text).items()]
    except (msgspec.DecodeError, AttributeError):
        return [("kernel", text)]
