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

from harness.extent import Extent, Run, runs
from harness.trace import Event, EventKind, FileObservation, Observation, State
from harness.verdict import Place
from workloads.ops import Collapse, Insert, Op
from workloads.workload import Config

__all__ = [
    "Moment", "Shape", "anything", "apart", "at_end", "both", "deeper_tree", "done_otherwise",
    "fewer_reserves", "gives_back", "gives_up", "hard_limit_passed_otherwise", "in_fewer_pieces",
    "in_more_pieces", "in_other_order", "left_dirty", "less_data", "less_done", "less_on_disk",
    "more_data", "more_done", "moved", "never", "one_round_more", "other_hard_limit_warnings",
    "other_space_before", "reached_by_one", "refused", "reserves_another_part", "reserves_in_vain",
    "small_blocks", "smaller", "state_changes", "unknown_option", "updates_more",
    "uses_another_part", "without",
]  # fmt: skip


class Moment(msgspec.Struct, frozen=True):
    """One differing field: where, and what each of the two sides saw and did in that step.

    `file` is None for what belongs to the whole file system. `values` are as `Mismatch`
    has them, `files` and `events` those of this file (None at the end, or if not seen),
    `before` what was seen last before the step, of all files, `rules` those that the sides'
    models applied in the step, `history` in it or before.
    """

    place: Place
    op: Op | None
    config: Config
    file: str | None
    field: str
    values: tuple[object, object]
    files: tuple[FileObservation | None, FileObservation | None]
    before: tuple[Observation, Observation]
    events: tuple[tuple[Event, ...], tuple[Event, ...]]
    rules: tuple[frozenset[str], frozenset[str]]
    history: tuple[frozenset[str], frozenset[str]]


Shape = Callable[[Moment], bool]
"""Whether a difference looks as described."""

PAGE = 4096
HARD_LIMIT = "block hard limit"
PATHS = frozenset({"buffered_iomap", "nobuffered_iomap"})
Blocks = State | None
"""State of a block: None is a hole."""


def both(*shapes: Shape) -> Shape:
    """All of `shapes`."""
    return lambda moment: all(shape(moment) for shape in shapes)


def anything(_moment: Moment) -> bool:
    """Whatever the values: the rest of the sign says enough."""
    return True


def at_end(moment: Moment) -> bool:
    """After the last step, whose rules nobody tells."""
    return moment.place == "final"


def other_space_before(moment: Moment) -> bool:
    """Before the step the two sides had different space left, or taken by files; and this is of a
    file that the step works on."""
    one, other = ((o.bfree, {name: f.blocks for name, f in o.files.items()}) for o in moment.before)
    worked_on = (None, getattr(moment.op, "file", None), getattr(moment.op, "to", None))
    return one != other and moment.file in worked_on


def done_otherwise(moment: Moment) -> bool:
    """Both sides did what they could, or came to a fault or the end of space or quota."""
    ends = ("ENOSPC", "EDQUOT", "EFAULT", "SIGBUS")
    return all(isinstance(value, int) or value in ends for value in moment.values)


def small_blocks(moment: Moment) -> bool:
    """Blocks are smaller than a page."""
    return moment.config.image.block_size < PAGE


def without(*rules: str) -> Shape:
    """The second side applied none of these rules of the model in the step."""
    unwanted = frozenset(rules)
    return lambda moment: not unwanted & moment.rules[1]


def never(*rules: str) -> Shape:
    """The second side has applied none of these rules so far."""
    unwanted = frozenset(rules)
    return lambda moment: not unwanted & moment.history[1]


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
    sides = [_states(runs) for runs in (first, second)]
    pairs = ((sides[0](cut), sides[1](cut)) for cut in _cuts(first, second))
    return tuple(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


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
    released = _sum(second, EventKind.RELEASE)
    nothing = not _sum(first, EventKind.RELEASE)
    return nothing and 0 < released <= _sum(second, EventKind.RESERVE)


def gives_up(moment: Moment) -> bool:
    """The first reserves, and releases all of it again; all else is equal."""
    first, second = moment.events
    kinds = {event.kind for event in second}
    used = [_of_kind(events, EventKind.UPDATE) for events in moment.events]
    return (
        kinds <= {EventKind.UPDATE}
        and used[0] == used[1]
        and len(first) > len(second)
        and _sum(first, EventKind.RESERVE) == _sum(first, EventKind.RELEASE)
    )


def _of_kind(events: Iterable[Event], kind: EventKind) -> list[Event]:
    return [event for event in events if event.kind is kind]


def _sum(events: Iterable[Event], kind: EventKind) -> int:
    return sum(event.count for event in _of_kind(events, kind))


def reserves_in_vain(moment: Moment) -> bool:
    """The first reserves, the second does so with fewer blocks, or does nothing."""
    kinds = {event.kind for events in moment.events for event in events}
    first, second = (_sum(events, EventKind.RESERVE) for events in moment.events)
    return kinds == {EventKind.RESERVE} and second < first


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


def in_fewer_pieces(moment: Moment) -> bool:
    """As much is reserved and used up, by the second in fewer pieces, or as many others."""
    first, second = moment.events
    kinds = (EventKind.RESERVE, EventKind.UPDATE)
    same = [*_batched(first, kinds)] == [*_batched(second, kinds)]
    used = [_of_kind(events, EventKind.UPDATE) for events in moment.events]
    return same and used[0] != used[1] and len(used[1]) <= len(used[0])


def updates_more(moment: Moment) -> bool:
    """Only reservations are used up, and by the second more of them, or in fewer pieces."""
    used = [_updated(moment, side) for side in (0, 1)]
    fewer = len(moment.events[1]) < len(moment.events[0])
    return _only_updates(moment) and (used[1] > used[0] or (used[1] == used[0] and fewer))


def in_other_order(moment: Moment) -> bool:
    """Only reservations are used up, as many by both."""
    return _only_updates(moment) and _updated(moment, 0) == _updated(moment, 1)


def uses_another_part(moment: Moment) -> bool:
    """The same is reserved, but more or less of it used up; what one side uses up more, and no
    longer has, the other may release."""
    reserved, used, released = (
        [_sum(events, kind) for events in moment.events]
        for kind in (EventKind.RESERVE, EventKind.UPDATE, EventKind.RELEASE)
    )
    more = used[0] - used[1]
    return reserved[0] == reserved[1] and more != 0 and released[1] - released[0] in (0, more)


def reserves_another_part(moment: Moment) -> bool:
    """Both only reserve, the second more or less."""
    kinds = {event.kind for events in moment.events for event in events}
    first, second = (_sum(events, EventKind.RESERVE) for events in moment.events)
    return kinds == {EventKind.RESERVE} and second != first


def _only_updates(moment: Moment) -> bool:
    return all(event.kind is EventKind.UPDATE for events in moment.events for event in events)


def _updated(moment: Moment, side: int) -> int:
    return _sum(moment.events[side], EventKind.UPDATE)


# --- numbers ------------------------------------------------------------------------------


def less_done(moment: Moment) -> bool:
    """The second did fewer bytes, or failed for want of space or quota; so it may where the first
    came to a fault."""
    first, second = moment.values
    if second in ("ENOSPC", "EDQUOT"):
        return first == "EFAULT" or (isinstance(first, int) and first >= 0)
    return isinstance(first, int) and isinstance(second, int) and 0 <= second < first


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


def unknown_option(moment: Moment) -> bool:
    """One side refuses as wrong what the other one does, and an option of the paths is named."""
    options = getattr(moment.op, "opts", "").split(",")
    refused = [value == "EINVAL" for value in moment.values]
    return refused[0] != refused[1] and not PATHS.isdisjoint(options)


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


def hard_limit_passed_otherwise(moment: Moment) -> bool:
    """The second reaches no limit that the first does not, and what is told of other things than
    hard limits is the same, but for how often: usage that falls in steps may stop between the
    limits, and usage that rises in between falls again."""
    first, second = moment.values
    if not isinstance(first, tuple) or not isinstance(second, tuple):
        return False
    rest = [{line for line in side if HARD_LIMIT not in line} for side in (first, second)]
    reached = [{line for line in side if line.endswith("reached")} for side in (first, second)]
    return rest[0] == rest[1] and reached[1] <= reached[0]


def deeper_tree(moment: Moment) -> bool:
    """The same extents and reservations with whole blocks more, or fewer, of extent tree."""
    first, second = moment.values
    one, other = moment.files
    if not isinstance(first, int) or not isinstance(second, int) or one is None or other is None:
        return False
    cluster = moment.config.image.cluster_size // 512
    same = one.reserved == other.reserved and runs(one.extents or ()) == runs(other.extents or ())
    return same and (first - second) % cluster == 0
