"""What an intended difference looks like: predicates on one differing field of one step.

The entries of `harness.differences` are made of these. Each takes a `Moment` and says
whether its two values differ in the described way and in no other.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeGuard

import msgspec

from harness.extent import Run, runs
from harness.trace import Event, EventKind, FileObservation, State
from harness.verdict import Place
from workloads.ops import Op
from workloads.workload import Config

__all__ = [
    "Moment", "Shape", "anything", "both", "deeper_tree", "fewer_reserves", "gives_back",
    "gives_up", "in_more_pieces", "left_dirty", "less_data", "less_done", "less_on_disk",
    "more_data", "more_done", "moved", "one_round_more", "other_hard_limit_warnings", "refused",
    "small_blocks", "smaller", "state_changes", "updates_less", "updates_more", "without",
]  # fmt: skip


class Moment(msgspec.Struct, frozen=True):
    """One differing field: where, and what each of the two sides saw and did in that step.

    `file` is None for what belongs to the whole file system. `values` are as `Mismatch`
    has them, `files` and `events` those of this file (None at the end, or if not seen),
    `rules` those that the sides' models applied in the step, `history` in it or before.
    """

    place: Place
    op: Op | None
    config: Config
    file: str | None
    field: str
    values: tuple[object, object]
    files: tuple[FileObservation | None, FileObservation | None]
    events: tuple[tuple[Event, ...], tuple[Event, ...]]
    rules: tuple[frozenset[str], frozenset[str]]
    history: tuple[frozenset[str], frozenset[str]]


Shape = Callable[[Moment], bool]
"""Whether a difference looks as described."""

PAGE = 4096
HARD_LIMIT = "block hard limit"
Blocks = State | None
"""State of a block: None is a hole."""


def both(*shapes: Shape) -> Shape:
    """All of `shapes`."""
    return lambda moment: all(shape(moment) for shape in shapes)


def anything(_moment: Moment) -> bool:
    """Whatever the values: the rest of the sign says enough."""
    return True


def small_blocks(moment: Moment) -> bool:
    """Blocks are smaller than a page."""
    return moment.config.image.block_size < PAGE


def without(*rules: str) -> Shape:
    """The second side applied none of these rules of the model in the step."""
    unwanted = frozenset(rules)
    return lambda moment: not unwanted & moment.rules[1]


# --- extents ------------------------------------------------------------------------------


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


def _are_runs(value: object) -> TypeGuard[tuple[Run, ...]]:
    return isinstance(value, tuple) and all(isinstance(run, tuple) for run in value)


def state_changes(
    first: tuple[Run, ...], second: tuple[Run, ...]
) -> tuple[tuple[Blocks, Blocks], ...]:
    """The pairs of states that differ, over all ranges of the file, in the file's order."""
    cuts = {edge for start, length, _ in (*first, *second) for edge in (start, start + length)}
    sides = [_states(runs) for runs in (first, second)]
    pairs = ((sides[0](cut), sides[1](cut)) for cut in sorted(cuts))
    return tuple(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


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


# --- events -------------------------------------------------------------------------------


def fewer_reserves(moment: Moment) -> bool:
    """The same clusters are reserved in fewer steps by the second; all else is equal."""
    first, second = moment.events
    return len(first) > len(second) and [*_batched(first)] == [*_batched(second)]


def _batched(
    events: Iterable[Event], kinds: tuple[EventKind, ...] = (EventKind.RESERVE,)
) -> Iterator[tuple[object, ...]]:
    """The events, with each run of one of `kinds` as one of the sum.

    Reserves print the counter after, updates before.
    """
    for kind, group in itertools.groupby(events, key=lambda event: event.kind):
        run = list(group)
        if kind in kinds:
            told = run[-1] if kind is EventKind.RESERVE else run[0]
            yield kind, sum(event.count for event in run), told.reserved
        else:
            yield from ((kind, event.count, event.reserved) for event in run)


def gives_back(moment: Moment) -> bool:
    """The second releases what the step had reserved, the first releases nothing."""
    first, second = moment.events
    releases = [
        sum(event.count for event in events if event.kind is EventKind.RELEASE)
        for events in (first, second)
    ]
    reserved = sum(event.count for event in second if event.kind is EventKind.RESERVE)
    return releases[0] == 0 and 0 < releases[1] <= reserved


def gives_up(moment: Moment) -> bool:
    """The first reserves, and releases all of it again; the second does neither."""
    first, second = moment.events
    counts = {kind: sum(event.count for event in first if event.kind is kind) for kind in EventKind}
    nothing_used = counts[EventKind.UPDATE] == 0
    return not second and nothing_used and counts[EventKind.RESERVE] == counts[EventKind.RELEASE]


def reserves_in_vain(moment: Moment) -> bool:
    """The first reserves, the second does nothing."""
    first, second = moment.events
    return bool(first) and not second and {event.kind for event in first} == {EventKind.RESERVE}


def one_round_more(moment: Moment) -> bool:
    """The first reserves once more at the end, and releases the same; all else is equal."""
    first, second = moment.events
    if len(first) != len(second) + 2 or first[: len(second)] != second:
        return False
    reserve, release = first[-2:]
    kinds = (reserve.kind, release.kind)
    return kinds == (EventKind.RESERVE, EventKind.RELEASE) and reserve.count == release.count


def in_more_pieces(moment: Moment) -> bool:
    """The same is reserved and the same used up, by the second in more pieces."""
    first, second = moment.events
    kinds = (EventKind.RESERVE, EventKind.UPDATE)
    same = [*_batched(first, kinds)] == [*_batched(second, kinds)]
    return same and _updates(second) > _updates(first)


def _updates(events: Iterable[Event]) -> int:
    return sum(event.kind is EventKind.UPDATE for event in events)


def updates_less(moment: Moment) -> bool:
    """Only reservations are used up, and by the second less of them."""
    first, second = moment.events
    if any(event.kind is not EventKind.UPDATE for event in (*first, *second)):
        return False
    return sum(event.count for event in second) < sum(event.count for event in first)


def updates_more(moment: Moment) -> bool:
    """Only reservations are used up, and by the second more of them, or in fewer pieces."""
    first, second = moment.events
    if any(event.kind is not EventKind.UPDATE for event in (*first, *second)):
        return False
    used = [sum(event.count for event in events) for events in (first, second)]
    return used[1] > used[0] or (used[1] == used[0] and len(second) < len(first))


# --- numbers ------------------------------------------------------------------------------


def less_done(moment: Moment) -> bool:
    """The second did fewer bytes, or failed for want of space or quota."""
    first, second = moment.values
    if not isinstance(first, int) or first < 0:
        return False
    return second in ("ENOSPC", "EDQUOT") or (isinstance(second, int) and second < first)


def more_done(moment: Moment) -> bool:
    """The second did more bytes than the first, which did some or had no space."""
    first, second = moment.values
    if not isinstance(second, int):
        return False
    return first in ("ENOSPC", "EDQUOT") or (isinstance(first, int) and first < second)


def refused(moment: Moment) -> bool:
    """The first did all that was asked for, the second refused the call as wrong."""
    first, second = moment.values
    return first == getattr(moment.op, "len", None) and second == "EINVAL"


def left_dirty(moment: Moment) -> bool:
    """After a shutdown the first finds nothing left to write, the second fails to write it."""
    return moment.values == (0, "EIO")


def more_data(moment: Moment) -> bool:
    """The first has all data ranges of the second, and more."""
    return _has_more(*moment.values)


def less_data(moment: Moment) -> bool:
    """The second has all data ranges of the first, and more."""
    first, second = moment.values
    return _has_more(second, first)


def _has_more(one: object, other: object) -> bool:
    if not isinstance(one, list) or not isinstance(other, list):
        return False
    return all(
        any(start <= low and high <= end for start, end in one) for low, high in other
    ) and _bytes(one) > _bytes(other)


def _bytes(ranges: list[list[int]]) -> int:
    return sum(end - start for start, end in ranges)


def smaller(moment: Moment) -> bool:
    """The second's number is smaller."""
    first, second = moment.values
    return isinstance(first, int) and isinstance(second, int) and second < first


def less_on_disk(moment: Moment) -> bool:
    """The second's i_disksize is behind the first's, which is not past i_size."""
    first, second = moment.values
    sizes = [file.size for file in moment.files if file is not None]
    if not isinstance(first, int) or not isinstance(second, int):
        return False
    return second < first and all(size is None or first <= size for size in sizes)


def other_hard_limit_warnings(moment: Moment) -> bool:
    """The second has no other line than the first, and the same but for hard limits."""
    first, second = moment.values
    if not isinstance(first, tuple) or not isinstance(second, tuple):
        return False
    rest = [[line for line in side if HARD_LIMIT not in line] for side in (first, second)]
    return rest[0] == rest[1] and set(second) <= set(first)


def deeper_tree(moment: Moment) -> bool:
    """The same extents and reservations with whole blocks more, or fewer, of extent tree."""
    first, second = moment.values
    one, other = moment.files
    if not isinstance(first, int) or not isinstance(second, int) or one is None or other is None:
        return False
    cluster = moment.config.image.cluster_size // 512
    same = one.reserved == other.reserved and runs(one.extents or ()) == runs(other.extents or ())
    return same and (first - second) % cluster == 0
