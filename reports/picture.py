"""What a picture of a file's blocks shows, before it is drawn: rows of cells, and where to look.

A cell is a block of the file, or 4096 bytes of its content. Rows are kept as spans, never as
cells, so that a sparse file of terabytes costs nothing; `windows` chooses the cells that a
drawing shows: those around the differences.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from harness.extent import Run, State

__all__ = [
    "CONTEXT", "Cell", "Numbers", "Panel", "Picture", "Row", "Span", "Window", "cells", "differing",
    "groups", "spans_of_runs", "windows",
]  # fmt: skip

CONTEXT = 3
"""Cells that are shown on either side of where something changes."""
_GAP = 2
"""Cells that are rather shown than left out between two windows."""


class Cell(enum.StrEnum):
    """What a cell shows; the values are the letters that drawings use."""

    HOLE = "·"
    PAST = " "
    """Nothing, and past the end of the file."""
    DELAYED = "d"
    UNWRITTEN = "u"
    WRITTEN = "W"
    INLINE = "i"
    ZERO = "0"
    """Content: all zero."""
    DATA = "D"
    """Content: bytes that the other row has as well."""
    OTHER = "X"
    """Content: other bytes than the row above has."""
    OPEN = "?"
    """Not known, so not compared."""


_EMPTY = {Cell.HOLE, Cell.PAST}
_OF_STATE = {
    State.DELAYED: Cell.DELAYED,
    State.UNWRITTEN: Cell.UNWRITTEN,
    State.WRITTEN: Cell.WRITTEN,
    State.INLINE: Cell.INLINE,
}

Span = tuple[int, int, Cell]
"""First cell, the one after the last, and what they show."""
Window = tuple[int, int]
"""First cell and the one after the last."""
Numbers = dict[str, str]
"""What stands beside a row, by the name of its column."""


class Row(msgspec.Struct, frozen=True):
    """One line of cells; `spans` are in order and do not overlap, the rest is `PAST`."""

    name: str
    spans: tuple[Span, ...]
    numbers: Numbers = {}


class Panel(msgspec.Struct, frozen=True):
    """The expected row above the actual one, at one moment; a cell is `unit` bytes."""

    title: str
    unit: int
    rows: tuple[Row, Row]

    @property
    def end(self) -> int:
        """The cell after the last of both rows."""
        return max((row.spans[-1][1] for row in self.rows if row.spans), default=0)

    @property
    def odd_numbers(self) -> frozenset[str]:
        """The columns in which the rows differ."""
        first, second = (row.numbers for row in self.rows)
        both = first.keys() & second.keys()
        return frozenset(name for name in both if not _agree(first[name], second[name]))


class Picture(msgspec.Struct, frozen=True):
    """Panels of one file, in the order of time; `step` says which step it is about."""

    file: str
    step: str
    panels: tuple[Panel, ...]


def _agree(expected: str, actual: str) -> bool:
    """Whether two numbers beside rows are the same; `?` is not known, `-` of no file, `8-24`
    are bounds."""
    low, dash, high = expected.partition("-")
    if low and dash and actual.isdecimal():
        return int(low) <= int(actual) <= int(high)
    return expected == actual or bool({"?", "-"} & {expected, actual})


# --- spans ------------------------------------------------------------------------------


def spans_of_runs(runs: Iterable[Run], size: int | None, unit: int) -> tuple[Span, ...]:
    """Runs of a file (bytes) as spans of cells, with the holes between them and up to EOF.

    A cell that two runs share (none should be) shows the later one.
    """
    spans: list[Span] = []
    at = 0
    for start, length, state in sorted(runs):
        first, stop = start // unit, -(-(start + length) // unit)
        if spans and first < at:
            before = spans.pop()
            spans += [(before[0], first, before[2])] if before[0] < first else []
        elif first > at:
            spans += _holes(at, first, size, unit)
        spans.append((first, stop, _OF_STATE[state]))
        at = stop
    return (*spans, *_holes(at, -(-(size or 0) // unit), size, unit))


def _holes(first: int, stop: int, size: int | None, unit: int) -> Iterator[Span]:
    """The cells without a block from `first` on: holes up to EOF, nothing past it."""
    eof = stop if size is None else max(first, min(stop, -(-size // unit)))
    if first < eof:
        yield first, eof, Cell.HOLE
    if eof < stop:
        yield eof, stop, Cell.PAST


def differing(panel: Panel) -> list[Window]:
    """The ranges of cells in which the two rows differ.

    What is not known differs from nothing, and a hole before EOF is none less past it: that
    the sizes differ is told by the numbers.
    """
    edges = sorted({edge for row in panel.rows for span in row.spans for edge in span[:2]})
    found: list[Window] = []
    walks = [_walk(row.spans) for row in panel.rows]
    for first, stop in itertools.pairwise(edges):
        pair = {walk(first) for walk in walks}
        if len(pair) == 1 or pair == _EMPTY or Cell.OPEN in pair:
            continue
        _append(found, first, stop)
    return found


def _append(found: list[Window], first: int, stop: int, gap: int = 0) -> None:
    """Add a window behind the others, to the last of them if no more than `gap` is between."""
    if found and first <= found[-1][1] + gap:
        first = found.pop()[0]
    found.append((first, stop))


def _walk(spans: Sequence[Span]) -> Callable[[int], Cell]:
    """What a row shows at a cell; the cells have to be asked for in their order."""
    left = iter(spans)
    now = next(left, None)

    def at(cell: int) -> Cell:
        nonlocal now
        while now is not None and now[1] <= cell:
            now = next(left, None)
        return now[2] if now is not None and now[0] <= cell else Cell.PAST

    return at


def cells(row: Row, window: Window) -> list[Cell]:
    """The cells of `row` in `window`, one by one."""
    at = _walk(row.spans)
    return [at(cell) for cell in range(*window)]


# --- where to look ----------------------------------------------------------------------


def groups(picture: Picture) -> list[list[Panel]]:
    """The panels whose cells are of one size, which are drawn below each other."""
    by_unit: dict[int, list[Panel]] = {}
    for panel in picture.panels:
        by_unit.setdefault(panel.unit, []).append(panel)
    return list(by_unit.values())


def windows(panels: Sequence[Panel], budget: int) -> list[Window]:
    """Which cells a drawing of `panels` shows: all, or those around the differences; without
    one, those around what changes from cell to cell. At most `budget` of them.
    """
    end = max((panel.end for panel in panels), default=0)
    if end <= budget:
        return [(0, end)]
    points = {
        edge for panel in panels for first, stop in differing(panel) for edge in (first, stop)
    }
    if not points:
        rows = (row for panel in panels for row in panel.rows)
        points = {edge for row in rows for span in row.spans for edge in span[:2]}
    found: list[Window] = []
    for point in sorted(points):
        _append(found, max(0, point - CONTEXT), min(end, point + CONTEXT), _GAP)
    return _widened(_cut(found, budget), budget, end)


def _cut(found: list[Window], budget: int) -> list[Window]:
    """The first of `found`, `budget` cells of them."""
    kept: list[Window] = []
    for first, stop in found:
        if budget <= 0:
            break
        kept.append((first, min(stop, first + budget)))
        budget -= kept[-1][1] - first
    return kept


def _widened(found: list[Window], budget: int, end: int) -> list[Window]:
    """What is left of the budget, shared out to both sides of the windows."""
    share = (budget - sum(stop - first for first, stop in found)) // max(1, len(found))
    wider: list[Window] = []
    for number, (first, stop) in enumerate(found):
        after = found[number + 1][0] if number + 1 < len(found) else end
        before = wider[-1][1] if wider else 0
        left = min(share // 2, first - before)
        _append(wider, first - left, min(stop + share - left, after))
    return wider
