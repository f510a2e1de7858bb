"""What an intended difference looks like in the reservation tracepoints of a step (see
`harness.differences.shapes`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from harness.differences.moment import Moment
from harness.trace import Event, EventKind

__all__ = [
    "fewer_reserves", "gives_back", "gives_up", "in_fewer_pieces", "in_more_pieces",
    "in_other_order", "one_round_more", "reserves_another_part", "reserves_in_vain",
    "stores_another_part", "updates_more", "uses_another_part",
]  # fmt: skip


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


def stores_another_part(moment: Moment) -> bool:
    """Both reserve and use up, and nothing else; one side as much more of one as of the other."""
    kinds = {event.kind for events in moment.events for event in events}
    reserved, used = (
        [_sum(events, kind) for events in moment.events]
        for kind in (EventKind.RESERVE, EventKind.UPDATE)
    )
    more = reserved[1] - reserved[0]
    return EventKind.RELEASE not in kinds and more != 0 and used[1] - used[0] == more


def _only_updates(moment: Moment) -> bool:
    return all(event.kind is EventKind.UPDATE for events in moment.events for event in events)


def _updated(moment: Moment, side: int) -> int:
    return _sum(moment.events[side], EventKind.UPDATE)
