"""The end of I/O to unwritten blocks: what was written becomes written (fs/ext4/page-io.c).

For that an extent may have to be split, and then the tree may need a block, for which what is
kept for conversions can be used. If even that is gone, or waits for a commit, what is left of an
extent within EOF is zeroed on disk and becomes written as a whole; past EOF the conversion fails.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from model.extent_nodes import Extent
from model.extent_tree import ExtentTree, TreeBlockRefused
from model.inode import Inode
from model.tree_claim import conversion_room
from model.units import UNWRITTEN, WRITTEN, ceil_div

__all__ = [
    "Blocks", "Outcome", "convert_written", "first_to_end", "may_be_lost", "may_end_early",
    "note_order", "outcomes", "take_turns",
]  # fmt: skip

Blocks = tuple[int, int]
"""Blocks `[low, high)` of a file."""
IO = Sequence[Blocks]
"""Unwritten blocks that one I/O has written, which are converted in this order."""
ENOUGH = 1 << 32
"""More tree blocks than a file has."""
_MOST_TAKING_TURNS = 4
"""Of more I/Os than these only the first ones are looked at in every order."""


def convert_written(inode: Inode, low: int, high: int) -> int:
    """Make blocks `[low, high)` written, to which I/O has ended (ext4_convert_unwritten_extents).

    Returns the block up to which it came: short of `high` where a tree block can't be had and
    nothing may be zeroed, a known bug; without it the block is there all the same.
    """
    inode.sb.worker_holds(inode.cache, inode.cache.get((high - 1) // inode.cache.per_page))
    unknown = inode.sb.space_unknown is not None
    if (unknown and _splits_nothing(inode, low, high)) or (room := conversion_room(inode)) is None:
        inode.convert(low, high, WRITTEN)
        return high
    at = low
    while at < high:
        run = inode.es.lookup(at).cut(at, high)
        if run.state != UNWRITTEN:
            at = run.end
            continue
        found = _convert_extent(inode, at, run.end, room)
        if found is None:
            return at
        first, end = found
        if first < at or end > run.end:
            inode.sb.rule("zeroout at the end of I/O: ext4_split_extent_zeroout")
        at = min(end, high)
        room = conversion_room(inode)
    return high


def _splits_nothing(inode: Inode, low: int, high: int) -> bool:
    """Whether nothing unwritten is beside blocks `[low, high)`: then no extent is split."""
    before, after = inode.es.lookup(low - 1) if low else None, inode.es.lookup(high)
    return UNWRITTEN not in (before and before.state, after.state)


def _convert_extent(inode: Inode, at: int, stop: int, room: int | None) -> Blocks | None:
    """Convert blocks `[at, stop)` as far as one extent of the tree holds them, which may get
    `room` blocks. Returns what is written then, or None if it can't be
    (ext4_convert_unwritten_extents_endio)."""
    tree, eof = inode.tree, ceil_div(inode.disksize, inode.sb.block_size)
    tree.refuses = None if room is None else (lambda count: count > room)
    try:
        first, count = tree.end_io(at, stop - at, eof)
    except TreeBlockRefused:
        inode.sb.rule("no tree block at the end of I/O: ext4_split_extent")
        if inode.sb.quirk("conversion_finds_no_tree_block"):
            return None
        tree.refuses = None
        first, count = tree.end_io(at, stop - at, eof)
    finally:
        tree.refuses = None
        inode.tree_changed()
    for run in inode.es.overlapping(first, first + count):
        if run.state == UNWRITTEN:
            inode.es.set(run.become(WRITTEN))
    return first, first + count


# --- I/Os that end in any order ---------------------------------------------------------------


class Outcome(msgspec.Struct, frozen=True):
    """What converting after several I/Os in this `order` leaves: the tree, the tree blocks that it
    took for that, which it need not have kept, and what of the I/Os was zeroed."""

    order: tuple[IO, ...]
    extents: tuple[Extent, ...]
    taken: int
    lost: frozenset[Blocks]


def may_be_lost(inode: Inode, ends: Iterable[Outcome]) -> list[Blocks]:
    """What of the blocks that I/Os have written is zeroed by the conversion after another one of
    them, in whichever order of `ends`: lost, with a known bug that the model follows as a quirk
    only (ext4_split_extent_zeroout). The page cache has it still."""
    lost = {blocks for outcome in ends for blocks in outcome.lost}
    return sorted(lost) if lost and inode.sb.quirk("conversion_zeroes_other_writes") else []


def take_turns(inode: Inode, ios: Sequence[IO], ends: Iterable[Outcome]) -> list[IO]:
    """`ios` in the order in which they end: as they were submitted, or, where that makes a
    difference to `ends`, as is supposed of this step (ext4_end_io_rsv_work)."""
    orders: dict[tuple[tuple[Extent, ...], int], tuple[IO, ...]] = {}
    for outcome in ends:
        orders.setdefault((outcome.extents, outcome.taken), outcome.order)
    if len(orders) < 2:
        return list(ios)
    inode.sb.rule("order of conversions: ext4_end_io_rsv_work")
    return list([*orders.values()][min(inode.sb.placer.turn, len(orders) - 1)])


def may_end_early(inode: Inode) -> bool:
    """Whether I/Os can be converted before the next extent is mapped, as nothing of that can fail
    for want of space."""
    known = inode.tree_unknown is None and not inode.sb.without_trees
    return known and conversion_room(inode) is None


def first_to_end(inode: Inode, most: int, ended: int) -> int:
    """Which one of those that wait is converted when more than `most` do, `ended` of them being
    converted already (ext4_end_io_rsv_work): the first one. The first `most` of them are submitted
    together, and the device may end these the other way round, or another one of them first."""
    turn = inode.sb.placer.turn
    if turn == 1:
        return max(most - 1 - ended, 0)
    return min(turn - 1, most) if turn and not ended else 0


def note_order(inode: Inode, tree_blocks: int) -> None:
    """The order shows where the tree does not have as many blocks as before, or the file's owner is
    told of those that come and go."""
    if inode.tree_blocks != tree_blocks or inode.sb.quota.limits.get(inode.uid):
        inode.sb.rule("order of conversions: ext4_end_io_rsv_work")


def outcomes(inode: Inode, ios: Sequence[IO]) -> list[Outcome]:
    """What each order of `ios` leaves, that of their submission first (ext4_end_io_rsv_work);
    nothing where the order makes no difference: where space is plentiful, unless a limit is set
    for the file's owner, who is told of tree blocks that are taken and given back."""
    if len(ios) < 2 or inode.tree_unknown is not None:
        return []
    room = conversion_room(inode)
    if room is None:
        if not inode.sb.quota.limits.get(inode.uid):
            return []
        room = ENOUGH  # but what is taken and given back is told
    first, rest = ios[:_MOST_TAKING_TURNS], ios[_MOST_TAKING_TURNS:]
    orders = itertools.permutations(first)
    return [_in_order(inode, (*order, *rest), room) for order in orders]


def _in_order(inode: Inode, ios: tuple[IO, ...], room: int) -> Outcome:
    """What converting after `ios` one by one leaves, with `room` tree blocks to be had."""
    tree, eof = copy.deepcopy(inode.tree), ceil_div(inode.disksize, inode.sb.block_size)
    lost, taken = set[Blocks](), 0

    def refuses(count: int) -> bool:
        nonlocal taken
        if taken + count > room:  # what is given back meanwhile waits for a commit
            return True
        taken += count
        return False

    tree.refuses = refuses
    for io in ios:
        others = [part for other in ios if other is not io for part in other]
        try:
            for first, end, kept in _converted(tree, io, eof):
                lost |= _meeting(others, first, kept[0]) | _meeting(others, kept[1], end)
        except TreeBlockRefused:
            continue
    return Outcome(ios, tuple(tree.extents()), taken, frozenset(lost))


def _converted(tree: ExtentTree, io: IO, eof: int) -> Iterator[tuple[int, int, Blocks]]:
    """Convert after one I/O; yields what became written, and what of it the I/O has written."""
    for low, high in io:
        at = low
        while at < high:
            extent = tree.lookup(at)
            assert extent is not None, "written, so mapped"
            stop = min(extent.lblk + extent.length, high)
            if extent.unwritten:
                first, count = tree.end_io(at, stop - at, eof)
                yield first, first + count, (at, stop)
            at = stop


def _meeting(parts: Sequence[Blocks], low: int, high: int) -> set[Blocks]:
    """What of `parts` lies in blocks `[low, high)`."""
    cut = {(max(start, low), min(end, high)) for start, end in parts}
    return {(start, end) for start, end in cut if start < end}
