"""What an intended difference looks like in the extents of a file (see `shapes`)."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable
from typing import TypeGuard

import msgspec

from harness.differences.moment import Blocks, Moment, Shape
from harness.extent import Extent, Run, runs
from harness.trace import Observation, State
from workloads.ops import Collapse, Insert

__all__ = [
    "apart", "came_to_differ", "differing", "got_by_one", "got_more", "in_the_call", "moved",
    "reached_by_one", "state_changes",
]  # fmt: skip


def moved(*changes: tuple[Blocks, Blocks]) -> Shape:
    """Wherever the extents differ, the states are one of these pairs."""
    allowed = frozenset(changes)

    def shape(moment: Moment) -> bool:
        first, second = moment.values
        return (
            _are_runs(first)
            and _are_runs(second)
            and allowed.issuperset(state_changes(first, second))
        )

    return shape


def reached_by_one(
    *changes: tuple[Blocks, Blocks], also: tuple[Blocks, Blocks] | None = None
) -> Shape:
    """The same, and one side has left those blocks as they were before the step, while the other
    one has mapped or written them; or the states are `also`.

    Where the step moves blocks, the states alone must do.
    """
    fitting = moved(*changes, *([also] if also else []))

    def shape(moment: Moment) -> bool:
        if not fitting(moment) or isinstance(moment.op, (Collapse, Insert)):
            return fitting(moment)
        found = [run for run in moment.values if _are_runs(run)]
        old = [_runs_of(seen, moment.file) for seen in moment.before]
        now, then = ([_states(side) for side in sides] for sides in (found, old))
        for cut in _cuts(*found, *old):
            one, other = ((then[side](cut), now[side](cut)) for side in (0, 1))
            if one[1] == other[1] or (one[1], other[1]) == also:
                continue
            if not (_left(one) and _reached(other)) and not (_left(other) and _reached(one)):
                return False
        return True

    return shape


def got_by_one(moment: Moment) -> bool:
    """Where the extents differ and did not before the step one side has got blocks in it; and there
    is such a place."""
    changes = [sides for _, _, sides in _fresh(moment, *filter(_are_runs, moment.values))]
    return bool(changes) and all(any(map(_got, sides)) for sides in changes)


def got_more(side: int) -> Shape:
    """The same, and it is always this side, while the other one has got none."""

    def shape(moment: Moment) -> bool:
        changes = [sides for _, _, sides in _fresh(moment, *filter(_are_runs, moment.values))]
        return bool(changes) and all(
            _got(sides[side]) and not _got(sides[1 - side]) for sides in changes
        )

    return shape


def in_the_call(moment: Moment) -> bool:
    """Where the extents differ and did not before are blocks of the bytes that were asked for."""
    start, length = (getattr(moment.op, name, None) for name in ("off", "len"))
    if not isinstance(start, int) or not isinstance(length, int):
        return False
    size = moment.config.image.block_size
    first, last = start // size * size, -(-(start + length) // size) * size
    places = _fresh(moment, *filter(_are_runs, moment.values))
    return all(first <= low and high <= last for low, high, _ in places)


def came_to_differ(moment: Moment) -> list[tuple[int, int]]:
    """From byte to byte, where the file's extents differ and did not before the step."""
    now = [runs(file.extents or ()) for file in moment.files if file is not None]
    return [(start, end) for start, end, _ in _fresh(moment, *now)]


_Change = tuple[Blocks, Blocks]
"""The state before a step and after it."""


def _got(states: _Change) -> bool:
    return states[1] is not None and states[1] != states[0]


def _fresh(
    moment: Moment, *found: tuple[Run, ...]
) -> list[tuple[int, int, tuple[_Change, _Change]]]:
    """From byte to byte, where both sides' runs `found` differ and did not before the step, and
    what either has done there; nothing if one of them was not seen."""
    old = [_runs_of(seen, moment.file) for seen in moment.before]
    if len(found) != len(old):
        return []
    now, then = ([_states(side) for side in sides] for sides in (found, old))
    return [
        (start, end, ((then[0](start), now[0](start)), (then[1](start), now[1](start))))
        for start, end in itertools.pairwise(_cuts(*found, *old))
        if now[0](start) != now[1](start) and then[0](start) == then[1](start)
    ]


def _runs_of(seen: Observation, file: str | None) -> tuple[Run, ...]:
    found = seen.files.get(file or "")
    return runs(found.extents or ()) if found is not None else ()


def _left(states: tuple[Blocks, Blocks]) -> bool:
    return states[0] == states[1]


def _reached(states: tuple[Blocks, Blocks]) -> bool:
    """Before and after: mapped or written in between, or long before."""
    return _left(states) or states[0] is None or states[1] is State.WRITTEN


def _are_runs(value: object) -> TypeGuard[tuple[Run, ...]]:
    return isinstance(value, tuple) and all(isinstance(run, tuple) for run in value)


def state_changes(
    first: tuple[Run, ...], second: tuple[Run, ...]
) -> tuple[tuple[Blocks, Blocks], ...]:
    """The pairs of states that differ, over all ranges of the file, in the file's order."""
    return tuple(dict.fromkeys(pair for _, _, pair in differing(first, second)))


def differing(
    first: tuple[Run, ...], second: tuple[Run, ...]
) -> list[tuple[int, int, tuple[Blocks, Blocks]]]:
    """Where the states differ, as pieces from byte to byte with both states, in order."""
    one, other = (_states(side) for side in (first, second))
    cuts = itertools.pairwise(_cuts(first, second))
    pieces = ((start, end, (one(start), other(start))) for start, end in cuts)
    return [piece for piece in pieces if piece[2][0] != piece[2][1]]


def apart(moment: Moment) -> list[Moment]:
    """`moment` of extents as one for each pair of states that differ: of the second side's blocks
    only those that are in this pair differ from the first's."""
    first, second = moment.values
    if not _are_runs(first) or not _are_runs(second):
        return [moment]
    sides = [_states(side) for side in (first, second)]
    cuts = _cuts(first, second)
    found = []
    for pair in state_changes(first, second):
        pieces: list[Extent] = []
        for start, end in itertools.pairwise(cuts):
            now = sides[0](start), sides[1](start)
            state = now[1] if now == pair else now[0]
            if state is not None:
                pieces.append(Extent(start, end - start, state))
        found.append(msgspec.structs.replace(moment, values=(first, runs(pieces))))
    return found


def _cuts(*sides: Iterable[Run]) -> list[int]:
    """Where runs begin or end."""
    every = itertools.chain(*sides)
    return sorted({edge for start, length, _ in every for edge in (start, start + length)})


def _states(found: Iterable[Run]) -> Callable[[int], Blocks]:
    """What state a byte is in, by runs that do not overlap."""
    ordered = sorted(found)
    starts = [run[0] for run in ordered]

    def at(byte: int) -> Blocks:
        index = bisect.bisect_right(starts, byte) - 1
        if index < 0:
            return None
        start, length, state = ordered[index]
        return state if byte < start + length else None

    return at
