"""Trends over nights: small charts, as numbers that a template draws in SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from reports.frames import Frames

__all__ = ["NIGHTS", "Bar", "Chart", "Point", "Trend", "trends"]

NIGHTS = 30
"""Nights that are shown of a line, the newest ones."""
LINES = 6
"""Lines that are shown."""
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 150, 40, 20, 12
"""Of a chart, in its own units: one is about a pixel on a phone."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A night: its label, runs, findings that showed for the first time, other findings,
    mismatches, steps compared and steps a second."""

    night: str
    label: str
    runs: int
    new: int
    old: int
    mismatches: int
    steps: int
    rate: float


@dataclasses.dataclass(frozen=True)
class Bar:
    """A night's bar: its place, and the heights and tops of its parts, from below."""

    x: float
    width: float
    parts: tuple[tuple[float, float], ...]
    label: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """Bars, and the value that the upper line stands for."""

    bars: tuple[Bar, ...]
    top: float
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM
    ceiling: int = TOP


@dataclasses.dataclass(frozen=True)
class Trend:
    """A line's nights; `more` is how many older ones are not shown."""

    line: str
    points: tuple[Point, ...]
    more: int

    @property
    def findings(self) -> Chart:
        """Findings a night: those new on that night upon the others."""
        said = [f"{p.label}: {p.new} new, {p.old} seen before" for p in self.points]
        return _chart(self.points, [(p.old, p.new) for p in self.points], said)

    @property
    def rates(self) -> Chart:
        """Steps a second."""
        said = [f"{p.label}: {p.rate:.0f} steps a second" for p in self.points]
        return _chart(self.points, [(p.rate,) for p in self.points], said)


def trends(frames: Frames) -> tuple[list[Trend], int]:
    """The trends of the lines with the newest nights, and how many lines are left out."""
    lines = list(dict.fromkeys(reversed(frames.nights["line"].tolist())))
    shown = reversed(lines[:LINES])
    return [_trend(frames, line) for line in shown], max(0, len(lines) - LINES)


def _trend(frames: Frames, line: str) -> Trend:
    nights = frames.nights[frames.nights["line"] == line]
    rows = frames.results[frames.results["line"] == line]
    first = {
        (found.signature, found.path): found.first
        for found in frames.findings[frames.findings["line"] == line].itertuples(index=False)
    }
    points = []
    for night in nights.tail(NIGHTS).itertuples(index=False):
        own = rows[rows["night"] == night.night]
        shown = own.loc[own["signature"] != "", ["signature", "path"]]
        found = set(shown.itertuples(index=False, name=None))
        new = sum(first[one] == night.night for one in found)
        steps, seconds = int(own["steps"].sum()), night.seconds or float(own["seconds"].sum())
        rate = steps / seconds if seconds else 0.0
        label = night.began[:10] or night.night[:10]
        points.append(
            Point(night.night, label, len(own), new, len(found) - new, len(shown), steps, rate)
        )
    return Trend(line, tuple(points), max(0, len(nights) - NIGHTS))


def _chart(
    points: Sequence[Point], values: Sequence[tuple[float, ...]], said: Sequence[str]
) -> Chart:
    """Bars for `values`, each a night's parts from below."""
    top = _round_up(max((sum(parts) for parts in values), default=0))
    slot = (WIDTH - LEFT - 4) / max(len(values), 7)  # a few nights are not drawn as blocks
    bars = []
    for number, (parts, label) in enumerate(zip(values, said, strict=True)):
        drawn, floor = [], float(HEIGHT - BOTTOM)
        for part in parts:
            height = (HEIGHT - BOTTOM - TOP) * part / top
            floor -= height
            drawn.append((round(floor, 1), round(height, 1)))
        x = LEFT + 2 + slot * number
        bars.append(Bar(round(x, 1), round(slot * 0.8, 1), tuple(drawn), label))
    names = [point.label for point in points] or [""]
    return Chart(tuple(bars), top, names[0], names[-1])


def _round_up(value: float) -> float:
    """The next number above `value` that is 1, 2 or 5 and zeros; at least 1."""
    step = 1.0
    while True:
        for factor in (1, 2, 5):
            if step * factor >= value:
                return step * factor
        step *= 10
