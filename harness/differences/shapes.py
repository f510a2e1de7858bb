"""What an intended difference looks like: predicates on one differing field of one step.

The entries of `harness.differences.table` are made of these, and of those in `shapes_extents`,
`shapes_events` and `shapes_past`. Each takes a `Moment` and says whether its two values differ in
the described way and in no other.
"""

from __future__ import annotations

from harness.differences.moment import Moment, Shape
from harness.extent import runs

__all__ = [
    "anything", "at_end", "both", "deeper_tree", "hard_limit_passed_otherwise",
    "left_dirty", "less_data", "less_done", "less_on_disk", "more_data", "more_done", "neither",
    "never", "other_hard_limit_warnings", "refused", "small_blocks", "smaller",
    "unknown_option", "without",
]  # fmt: skip

PAGE = 4096
HARD_LIMIT = "block hard limit"
PATHS = frozenset({"buffered_iomap", "nobuffered_iomap"})


def both(*shapes: Shape) -> Shape:
    """All of `shapes`."""
    return lambda moment: all(shape(moment) for shape in shapes)


def anything(_moment: Moment) -> bool:
    """Whatever the values: the rest of the sign says enough."""
    return True


def at_end(moment: Moment) -> bool:
    """After the last step, whose rules nobody tells."""
    return moment.place == "final"


def small_blocks(moment: Moment) -> bool:
    """Blocks are smaller than a page."""
    return moment.config.image.block_size < PAGE


def without(*rules: str) -> Shape:
    """The second side applied none of these rules of the model in the step."""
    unwanted = frozenset(rules)
    return lambda moment: not unwanted & moment.rules[1]


def neither(*rules: str) -> Shape:
    """No side applied any of these rules of the model in the step."""
    unwanted = frozenset(rules)
    return lambda moment: unwanted.isdisjoint(moment.rules[0] | moment.rules[1])


def never(*rules: str) -> Shape:
    """The second side has applied none of these rules so far."""
    unwanted = frozenset(rules)
    return lambda moment: not unwanted & moment.history[1]


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
