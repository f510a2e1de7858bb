"""Nodes of the extent tree, and what the kernel does within one node.

Follows fs/ext4/extents.c and ext4_extents.h. `model.extent_tree` joins the nodes to a
tree. All numbers are file system blocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import NamedTuple

import msgspec

from model.units import INIT_MAX_LEN, UNWRITTEN_MAX_LEN

__all__ = [
    "EOB", "ROOT_ENTRIES", "Branch", "Extent", "ExtentTreeError", "Index", "Leaf", "Path", "Slot",
    "correct_indexes", "join_neighbour", "leaves", "merge_right", "mergeable",
    "node_entries", "position", "remove_from_leaf", "shift_extents", "starting_until",
    "transfer_end",
]  # fmt: skip

EOB = 0xFFFFFFFF
"""First block number that no file can have (EXT_MAX_BLOCKS)."""
ROOT_ENTRIES = 4
"""Entries of the root, which sits in the inode (ext4_ext_space_root)."""
_HEADER = 12
_ENTRY = 12


class ExtentTreeError(ValueError):
    """The tree was asked for what the kernel never does; the caller has lost track."""


class Extent(NamedTuple):
    """`length` blocks of the file from `lblk`, which are on the device from `pblk`."""

    lblk: int
    length: int
    pblk: int
    unwritten: bool


def node_entries(block_size: int) -> int:
    """Entries of a tree block of `block_size` bytes (ext4_ext_space_block).

    The checksum at the end of the block fits into what the division leaves over.
    """
    return (block_size - _HEADER) // _ENTRY


class Slot(msgspec.Struct, gc=False):
    """An extent in a leaf (struct ext4_extent)."""

    first: int
    length: int
    pblk: int
    unwritten: bool

    @property
    def end(self) -> int:
        """The first block behind it."""
        return self.first + self.length

    def seen(self) -> Extent:
        """A copy for the world outside, which the tree no longer changes."""
        return Extent(self.first, self.length, self.pblk, self.unwritten)


class Leaf(msgspec.Struct):
    """A node with extents, sorted; `capacity` is eh_max."""

    slots: list[Slot]
    capacity: int

    @property
    def full(self) -> bool:
        """Whether another entry needs another node."""
        return len(self.slots) >= self.capacity


class Index(msgspec.Struct):
    """An entry of an index node (struct ext4_extent_idx); `first` is `child`'s first block."""

    first: int
    child: Branch | Leaf


class Branch(msgspec.Struct):
    """An index node; the position of an index in it is kept in `Path.turns`."""

    slots: list[Index]
    capacity: int

    @property
    def full(self) -> bool:
        """Whether another entry needs another node."""
        return len(self.slots) >= self.capacity


class Path(msgspec.Struct):
    """From the root to a leaf (struct ext4_ext_path).

    `turns` gives each index node with the position of the index that was followed. `at`
    is the position of the nearest extent in `leaf`, 0 if the leaf is empty.
    """

    turns: list[tuple[Branch, int]]
    leaf: Leaf
    at: int

    @property
    def slot(self) -> Slot | None:
        """The nearest extent, None if the leaf is empty."""
        return self.leaf.slots[self.at] if self.leaf.slots else None


_first = attrgetter("first")


def starting_until(slots: list[Slot] | list[Index], lblk: int) -> int:
    """Number of entries that start at or before `lblk`."""
    return bisect_right(slots, lblk, key=_first)


def position(slots: list[Slot] | list[Index], lblk: int) -> int:
    """Last entry that starts at or before `lblk`, or the first one (ext4_ext_binsearch)."""
    return (bisect_right(slots, lblk, key=_first) or 1) - 1


def mergeable(left: Slot, right: Slot) -> bool:
    """Whether the two can be one extent (ext4_can_extents_be_merged)."""
    return (
        left.unwritten == right.unwritten
        and left.first + left.length == right.first
        and left.pblk + left.length == right.pblk
        and left.length + right.length <= (UNWRITTEN_MAX_LEN if left.unwritten else INIT_MAX_LEN)
    )


def merge_right(leaf: Leaf, at: int) -> bool:
    """Merge the extents that follow `at` into it (ext4_ext_try_to_merge_right)."""
    slots, merged = leaf.slots, False
    while at + 1 < len(slots) and mergeable(slots[at], slots[at + 1]):
        slots[at].length += slots[at + 1].length
        del slots[at + 1]
        merged = True
    return merged


def join_neighbour(path: Path, new: Slot) -> bool:
    """Append `new` to the extent before it or prepend it to the one behind.

    Only in the same leaf. If the nearest extent does not touch `new`, only prepending
    to the next one is tried, as ext4_ext_insert_extent does.
    """
    slots, at = path.leaf.slots, path.at
    if not slots:
        return False
    gap = slots[at].end < new.first
    if gap and at + 1 < len(slots):
        at += 1
    elif mergeable(slots[at], new):
        slots[at].length += new.length
        return True
    if not mergeable(new, slots[at]):
        return False
    slots[at].first, slots[at].pblk = new.first, new.pblk
    slots[at].length += new.length
    path.at = at
    return True


def transfer_end(path: Path, slot: Slot, lblk: int, stop: int) -> bool:
    """Move an end of an unwritten extent to its written neighbour, if they touch.

    First part of ext4_ext_convert_to_initialized. Not for a whole extent, and only
    within a leaf; nothing merges, so the leaf keeps its extents.
    """
    slots, at, length = path.leaf.slots, path.at, stop - lblk
    if length == slot.length:
        return False
    if lblk == slot.first:
        beside = slots[at - 1] if at > 0 else None
        touches = beside is not None and (
            (beside.end, beside.pblk + beside.length) == (slot.first, slot.pblk)
        )
    else:
        beside = slots[at + 1] if stop == slot.end and at + 1 < len(slots) else None
        touches = beside is not None and (
            (slot.end, slot.pblk + slot.length) == (beside.first, beside.pblk)
        )
    if beside is None or not touches or beside.unwritten:
        return False
    if beside.length >= INIT_MAX_LEN - length:
        return False
    beside.length += length
    slot.length -= length
    grown = slot if lblk == slot.first else beside
    step = length if grown is slot else -length
    grown.first, grown.pblk = grown.first + step, grown.pblk + step
    return True


def remove_from_leaf(leaf: Leaf, first: int, last: int) -> None:
    """Shorten or drop extents (ext4_ext_rm_leaf); none goes on behind `last`."""
    slots = leaf.slots
    low = bisect_left(slots, first, key=_first)
    high = starting_until(slots, last)
    if low > 0 and slots[low - 1].end > first:
        slots[low - 1].length = first - slots[low - 1].first
    del slots[low:high]


def shift_extents(node: Branch | Leaf, first: int, delta: int) -> None:
    """Move the extents from `first` on below `node` (ext4_ext_shift_path_extents)."""
    if isinstance(node, Branch):
        for index in node.slots[position(node.slots, first) :]:
            shift_extents(index.child, first, delta)
            index.first = index.child.slots[0].first
        return
    slots = node.slots
    at = bisect_left(slots, first, key=_first)
    for slot in slots[at:]:
        slot.first += delta
    if delta > 0:
        for place in reversed(range(at, len(slots))):
            merge_right(node, place)
        return
    while at < len(slots):
        if at == 0 or not merge_right(node, at - 1):
            at += 1


def correct_indexes(path: Path) -> None:
    """Tell the index nodes above that the leaf's first block changed.

    Follows ext4_ext_correct_indexes.
    """
    if path.at > 0:
        return
    border = path.leaf.slots[0].first
    for branch, at in reversed(path.turns):
        branch.slots[at].first = border
        if at > 0:
            break


def leaves(node: Branch | Leaf) -> list[Leaf]:
    """The leaves under `node`, from left to right."""
    if isinstance(node, Leaf):
        return [node]
    return [leaf for index in node.slots for leaf in leaves(index.child)]
