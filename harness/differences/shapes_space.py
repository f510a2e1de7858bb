"""What an intended difference that comes of little space looks like (see `shapes`): how
much there was before the step, and how a decision about it may have gone."""

from __future__ import annotations

from harness.differences.moment import Moment
from harness.differences.shapes_past import observed_after
from harness.trace import Observation

__all__ = ["more_where_more_is_left", "nearly_low", "other_space_before"]

HIDDEN = 31
"""Clusters by which a cheap read of a counter is off at most, for each CPU
(percpu_counter_batch less one)."""


def nearly_low(moment: Moment) -> bool:
    """Between what either side had before and after the step, and as the counters may have been
    read, a decision of ext4_nonda_switch() may have gone either way."""
    cpus, image = moment.traces[0].workload.cpus, moment.config.image
    ratio = image.cluster_size // image.block_size
    watermark = 4 * (HIDDEN + 1) * cpus
    counts = [count for seen in _around(moment) for count in _counters(seen, ratio)]
    if not counts:
        return False
    slack = HIDDEN * cpus
    most = max(free for free, _ in counts) + slack, min(dirty for _, dirty in counts) - slack
    least = min(free for free, _ in counts) - slack, max(dirty for _, dirty in counts) + slack

    def decisions(free: int, dirty: int) -> tuple[bool, ...]:
        return free < 2 * dirty, 2 * free < 3 * dirty, free < dirty + watermark

    return decisions(*most) != decisions(*least)


def _around(moment: Moment) -> list[Observation]:
    """What was seen before the moment's step and after it."""
    index = moment.place if isinstance(moment.place, int) else len(moment.traces[0].steps) - 1
    return [*moment.before, *(observed_after(trace, index) for trace in moment.traces)]


def _counters(seen: Observation, ratio: int) -> list[tuple[int, int]]:
    """Free and dirty clusters, if they were seen."""
    if seen.bfree is None or seen.delalloc is None:
        return []
    return [((seen.bfree + seen.delalloc) // ratio, seen.delalloc // ratio)]


def other_space_before(moment: Moment) -> bool:
    """Before the step the two sides had different space left, or taken by files; and this is of a
    file that the step works on."""
    one, other = ((o.bfree, {name: f.blocks for name, f in o.files.items()}) for o in moment.before)
    worked_on = (None, getattr(moment.op, "file", None), getattr(moment.op, "to", None))
    return one != other and moment.file in worked_on


def more_where_more_is_left(moment: Moment) -> bool:
    """The side that had more space left before the step did more; both did what they could, or
    came to a fault or the end of space or quota."""
    done = [rank for rank in map(_rank, moment.values) if rank is not None]
    left = [
        (-1 if seen.bfree is None else seen.bfree, -sum(f.blocks or 0 for f in seen.files.values()))
        for seen in moment.before
    ]
    if len(done) < 2 or done[0] == done[1] or left[0] == left[1]:
        return False
    return (done[0] < done[1]) == (left[0] < left[1])


def _rank(result: object) -> int | None:
    """How far a call came: a number of bytes, or an end before the first one."""
    if isinstance(result, int):
        return result
    ends = {"ENOSPC": -2, "EDQUOT": -2, "EFAULT": -1, "SIGBUS": -1}
    return ends.get(result) if isinstance(result, str) else None
