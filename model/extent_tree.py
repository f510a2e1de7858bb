"""Extent tree: how many blocks ext4 spends on remembering where a file's blocks are.

Follows fs/ext4/extents.c. A tree block counts in i_blocks, so the model must know the
shape of the tree and not only the mapping: the same mapping can sit in trees of different
size, depending on the order of operations. Growth is undone in two cases only: the tree
becomes empty, or a merge leaves at most four extents in the only leaf of a tree of depth 1.

All numbers are file system blocks, also with bigalloc (where a tree block then costs a
whole cluster). The caller says which physical blocks were allocated; nothing is
allocated here, and running out of space or of journal credits is not modelled.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

__all__ = [
    "EOB", "MAX_UNWRITTEN", "MAX_WRITTEN", "ROOT_ENTRIES",
    "Extent", "ExtentTree", "ExtentTreeError", "node_entries",
]  # fmt: skip

EOB = 0xFFFFFFFF
"""First block number that no file can have (EXT_MAX_BLOCKS)."""
MAX_WRITTEN = 32768
"""Longest written extent, in blocks (EXT_INIT_MAX_LEN)."""
MAX_UNWRITTEN = 32767
"""Longest unwritten extent, in blocks (EXT_UNWRITTEN_MAX_LEN)."""
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


@dataclass(slots=True)
class _Slot:
    """An extent in a leaf (struct ext4_extent)."""

    first: int
    length: int
    pblk: int
    unwritten: bool

    @property
    def end(self) -> int:
        return self.first + self.length

    def seen(self) -> Extent:
        return Extent(self.first, self.length, self.pblk, self.unwritten)


@dataclass(slots=True)
class _Leaf:
    slots: list[_Slot]
    capacity: int

    @property
    def full(self) -> bool:
        return len(self.slots) >= self.capacity


@dataclass(slots=True)
class _Index:
    """An entry of an index node (struct ext4_extent_idx); `first` is `child`'s first block."""

    first: int
    child: _Branch | _Leaf


@dataclass(slots=True)
class _Branch:
    """An index node; the position of an index in it is kept in `_Path.turns`."""

    slots: list[_Index]
    capacity: int

    @property
    def full(self) -> bool:
        return len(self.slots) >= self.capacity


@dataclass(slots=True)
class _Path:
    """From the root to a leaf (struct ext4_ext_path).

    `turns` gives each index node with the position of the index that was followed. `at`
    is the position of the nearest extent in `leaf`, 0 if the leaf is empty.
    """

    turns: list[tuple[_Branch, int]]
    leaf: _Leaf
    at: int

    @property
    def slot(self) -> _Slot | None:
        return self.leaf.slots[self.at] if self.leaf.slots else None


_first = attrgetter("first")


def _position(slots: list[_Slot] | list[_Index], lblk: int) -> int:
    """Last entry that starts at or before `lblk`, or the first one (ext4_ext_binsearch)."""
    return max(bisect_right(slots, lblk, key=_first) - 1, 0)


def _mergeable(left: _Slot, right: _Slot) -> bool:
    """Whether the two can be one extent (ext4_can_extents_be_merged)."""
    return (
        left.unwritten == right.unwritten
        and left.first + left.length == right.first
        and left.pblk + left.length == right.pblk
        and left.length + right.length <= (MAX_UNWRITTEN if left.unwritten else MAX_WRITTEN)
    )


def _merge_right(leaf: _Leaf, at: int) -> bool:
    """Merge the extents that follow `at` into it (ext4_ext_try_to_merge_right)."""
    slots, merged = leaf.slots, False
    while at + 1 < len(slots) and _mergeable(slots[at], slots[at + 1]):
        slots[at].length += slots[at + 1].length
        del slots[at + 1]
        merged = True
    return merged


class ExtentTree:
    """The extent tree of one file, empty at first.

    Blocks are given by their number in the file. Calls that make no sense raise
    `ExtentTreeError` and leave the tree as it was.
    """

    def __init__(self, block_size: int) -> None:
        """`block_size` is in bytes (ext4_ext_tree_init)."""
        self._capacity = node_entries(block_size)
        self._root: _Branch | _Leaf = _Leaf([], ROOT_ENTRIES)
        self._depth = 0
        self._blocks = 0

    # What the tree says

    def blocks(self) -> int:
        """Tree blocks; 0 while the root in the inode suffices. Costs nothing to ask."""
        return self._blocks

    def depth(self) -> int:
        """Levels below the root (ext_depth)."""
        return self._depth

    def extents(self) -> list[Extent]:
        """All extents by logical block, unmerged ones apart, as they are in the leaves."""
        return [slot.seen() for leaf in _leaves(self._root) for slot in leaf.slots]

    def lookup(self, lblk: int) -> Extent | None:
        """The whole extent that holds `lblk`, None in a hole."""
        slot = self._covering(lblk)[1]
        return None if slot is None else slot.seen()

    # What changes it

    def insert(
        self, lblk: int, length: int, pblk: int, unwritten: bool, nomerge: bool = False
    ) -> None:
        """Map `length` blocks from `lblk` to those from `pblk` (ext4_ext_insert_extent).

        `nomerge` is EXT4_GET_BLOCKS_SPLIT_NOMERGE. Raises `ExtentTreeError` if a block is
        mapped already (ext4_ext_check_overlap) or the length is not one extent's.
        """
        longest = MAX_UNWRITTEN if unwritten else MAX_WRITTEN
        if not 0 < length <= longest or lblk < 0 or lblk + length > EOB:
            raise ExtentTreeError(f"no extent has {length} blocks from block {lblk}")
        path = self._find(lblk)
        near = path.slot
        if near is not None:
            after = near.first if near.first > lblk else self._next_allocated(path)
            if near.first <= lblk < near.end or lblk + length > after:
                raise ExtentTreeError(f"a block of {lblk}..{lblk + length - 1} is mapped already")
        self._insert(path, _Slot(lblk, length, pblk, unwritten), nomerge)

    def split_at(self, lblk: int, nomerge: bool = True) -> None:
        """Let an extent start at `lblk` (ext4_split_extent_at; ext4_force_split_extent_at).

        Nothing happens in a hole or where one starts already. The kernel always splits
        with `nomerge`: the halves would merge again.
        """
        path, slot = self._covering(lblk)
        if slot is None or slot.first == lblk:
            return
        tail = _Slot(lblk, slot.end - lblk, slot.pblk + lblk - slot.first, slot.unwritten)
        slot.length = lblk - slot.first
        self._insert(path, tail, nomerge)

    def convert(self, lblk: int, length: int, to_unwritten: bool = False) -> None:
        """Make `length` blocks from `lblk` written, or unwritten (ext4_split_convert_extents).

        Written: the end of I/O (ext4_convert_unwritten_extents). Unwritten: ZERO_RANGE
        (convert_initialized_extent). Blocks that are in the wanted state already stay as
        they are. Raises `ExtentTreeError` if a block is not mapped.
        """
        end = lblk + length
        self._require_mapped(lblk, end)
        while lblk < end:
            slot = self._require(lblk)
            stop = min(end, slot.end)
            if slot.unwritten != to_unwritten:
                if to_unwritten and min(end, self._run_end(lblk)) - lblk > MAX_UNWRITTEN:
                    stop = min(stop, lblk + MAX_UNWRITTEN // 2)
                self._split_convert(lblk, stop, to_unwritten)
            lblk = stop

    def initialize(self, lblk: int, length: int, eof: int, zeroout: int) -> tuple[int, int]:
        """Write to unwritten blocks without end of I/O (ext4_ext_convert_to_initialized).

        For writes that allocate or convert at once (nodelalloc, dioread_lock): the blocks
        move to a written neighbour if there is one, and the rest of a short extent may be
        zeroed and converted too. `eof` is i_disksize rounded up to blocks, `zeroout` is
        extent_max_zeroout_kb in blocks. Only the extent that holds `lblk` is touched.

        Returns first block and number of the blocks that became written, which can be
        more than asked for, or fewer if the extent ends sooner. Raises `ExtentTreeError`
        if `lblk` is not in an unwritten extent.
        """
        path, slot = self._covering(lblk)
        if slot is None or not slot.unwritten:
            raise ExtentTreeError(f"block {lblk} is not unwritten")
        stop = min(lblk + length, slot.end)
        if self._transfer(path, slot, lblk, stop):
            return lblk, stop - lblk
        if slot.end > max(eof, stop):
            zeroout = 0
        if zeroout and stop < slot.end:
            if slot.end - lblk <= zeroout:
                stop = slot.end
            if stop - slot.first < zeroout:
                lblk = slot.first
        self._split_convert(lblk, stop, to_unwritten=False)
        return lblk, stop - lblk

    def remove(self, first: int, last: int = EOB - 1) -> None:
        """Unmap blocks `first` to `last` inclusive (ext4_ext_remove_space).

        Without `last` this is truncate. With it, it is a hole punched, and an extent that
        goes on behind the hole is split there first, which can add tree blocks that stay.
        Empty tree blocks go; what is left is not folded into the inode.
        """
        if last < EOB - 1 and first <= last:
            self.split_at(last + 1)
        self._remove(self._root, first, last)
        if not self._root.slots:
            self._root, self._depth = _Leaf([], ROOT_ENTRIES), 0

    def shift(self, first: int, delta: int) -> None:
        """Move all extents from block `first` on by `delta` blocks (ext4_ext_shift_extents).

        To the left (collapse range) the blocks passed over must be holes, so `remove` them
        first. To the right (insert range) an extent across `first` is split there. Extents
        that are or become neighbours in a leaf merge; no tree block goes. Raises
        `ExtentTreeError` if a block would land on another one or past the last number.
        """
        if delta > 0:
            self._require_room(delta)
            self.split_at(first)
        elif delta < 0:
            self._require_hole(first + delta, first)
        if delta:
            _shift(self._root, first, delta)

    # Finding

    def _find(self, lblk: int) -> _Path:
        """Path to the extent nearest to `lblk` (ext4_find_extent)."""
        node, turns = self._root, []
        while isinstance(node, _Branch):
            at = _position(node.slots, lblk)
            turns.append((node, at))
            node = node.slots[at].child
        return _Path(turns, node, _position(node.slots, lblk))

    def _covering(self, lblk: int) -> tuple[_Path, _Slot | None]:
        path = self._find(lblk)
        slot = path.slot
        return path, slot if slot is not None and slot.first <= lblk < slot.end else None

    def _require(self, lblk: int) -> _Slot:
        slot = self._covering(lblk)[1]
        if slot is None:
            raise ExtentTreeError(f"block {lblk} is not mapped")
        return slot

    def _require_mapped(self, lblk: int, end: int) -> None:
        while lblk < end:
            lblk = self._require(lblk).end

    def _require_room(self, delta: int) -> None:
        slot = self._find(EOB - 1).slot
        if slot is not None and slot.end + delta > EOB:
            raise ExtentTreeError(f"block {slot.end - 1} cannot move by {delta}")

    def _require_hole(self, first: int, end: int) -> None:
        slot = self._find(end - 1).slot
        if first < 0 or (slot is not None and slot.first < end and slot.end > first):
            raise ExtentTreeError(f"a block of {first}..{end - 1} is mapped")

    @staticmethod
    def _next_leaf(path: _Path) -> int:
        """First block of the next leaf, or EOB (ext4_ext_next_leaf_block)."""
        for branch, at in reversed(path.turns):
            if at + 1 < len(branch.slots):
                return branch.slots[at + 1].first
        return EOB

    def _next_allocated(self, path: _Path) -> int:
        """First block of the extent behind `path`'s, or EOB (ext4_ext_next_allocated_block)."""
        slots = path.leaf.slots
        return slots[path.at + 1].first if path.at + 1 < len(slots) else self._next_leaf(path)

    def _run_end(self, lblk: int) -> int:
        """Where the written run at `lblk` ends that is also physically contiguous.

        It is one entry of the extent status cache, whatever extents it consists of.
        """
        slot = self._require(lblk)
        while (after := self._covering(slot.end)[1]) is not None:
            if after.unwritten or slot.pblk + slot.length != after.pblk:
                break
            slot = after
        return slot.end

    # Inserting

    def _insert(self, path: _Path, new: _Slot, nomerge: bool) -> None:
        """ext4_ext_insert_extent, `path` being the one to `new`'s first block."""
        if nomerge or not self._join_neighbour(path, new):
            if path.leaf.full:
                path = self._make_room(path, new)
            slots = path.leaf.slots
            if slots and new.first > slots[path.at].first:
                path.at += 1
            slots.insert(path.at, new)
        if not nomerge:
            self._try_to_merge(path)
        _correct_indexes(path)

    @staticmethod
    def _join_neighbour(path: _Path, new: _Slot) -> bool:
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
        elif _mergeable(slots[at], new):
            slots[at].length += new.length
            return True
        if not _mergeable(new, slots[at]):
            return False
        slots[at].first, slots[at].pblk = new.first, new.pblk
        slots[at].length += new.length
        path.at = at
        return True

    def _make_room(self, path: _Path, new: _Slot) -> _Path:
        """Path to a leaf with a free entry for `new`: the next leaf, or a new one."""
        if new.first > path.leaf.slots[-1].first:
            after = self._next_leaf(path)
            if after != EOB:
                beside = self._find(after)
                if not beside.leaf.full:
                    return beside
        return self._create_new_leaf(path, new)

    def _create_new_leaf(self, path: _Path, new: _Slot) -> _Path:
        """Split at the lowest index node with a free entry (ext4_ext_create_new_leaf).

        If there is none, the tree grows; only growing from depth 0 gives room by itself.
        """
        while True:
            for level in reversed(range(len(path.turns))):
                if not path.turns[level][0].full:
                    self._split(path, new, level)
                    return self._find(new.first)
            self._grow_indepth()
            path = self._find(new.first)
            if not path.leaf.full:
                return path

    def _split(self, path: _Path, new: _Slot, level: int) -> None:
        """Move all that is right of `path` to new nodes below `level` (ext4_ext_split).

        When appending nothing is right of it, and the new leaf is empty.
        """
        right = path.leaf.slots[path.at + 1 :]
        del path.leaf.slots[path.at + 1 :]
        border = right[0].first if right else new.first
        child: _Branch | _Leaf = _Leaf(right, self._capacity)
        for branch, at in reversed(path.turns[level + 1 :]):
            child = _Branch([_Index(border, child), *branch.slots[at + 1 :]], self._capacity)
            del branch.slots[at + 1 :]
        branch, at = path.turns[level]
        place = at + 1 if border > branch.slots[at].first else at
        branch.slots.insert(place, _Index(border, child))
        self._blocks += len(path.turns) - level

    def _grow_indepth(self) -> None:
        """Copy the root to a block of its own, under a new root (ext4_ext_grow_indepth)."""
        old = self._root
        old.capacity = self._capacity
        self._root = _Branch([_Index(old.slots[0].first, old)], ROOT_ENTRIES)
        self._depth += 1
        self._blocks += 1

    # Merging and converting

    def _try_to_merge(self, path: _Path) -> None:
        """Merge the extent at `path` to both sides in its leaf (ext4_ext_try_to_merge)."""
        if path.at > 0 and _merge_right(path.leaf, path.at - 1):
            path.at -= 1
        else:
            _merge_right(path.leaf, path.at)
        self._try_to_merge_up(path)

    def _try_to_merge_up(self, path: _Path) -> None:
        """Fold the only leaf into the inode if it fits (ext4_ext_try_to_merge_up).

        The kernel gives up if the journal has no credits left; then the block stays.
        """
        if self._depth == 1 and len(self._root.slots) == 1 and len(path.leaf.slots) <= ROOT_ENTRIES:
            path.leaf.capacity = ROOT_ENTRIES
            self._root, self._depth = path.leaf, 0
            self._blocks -= 1
            path.turns.clear()

    def _split_convert(self, lblk: int, stop: int, to_unwritten: bool) -> None:
        """Convert part of one extent (ext4_split_extent, ext4_split_convert_extents).

        The right end is split off first. The parts are merged only after both splits, so
        the tree can grow for an extent that is gone a moment later.
        """
        self.split_at(stop)
        self.split_at(lblk)
        path = self._find(lblk)
        path.leaf.slots[path.at].unwritten = to_unwritten
        self._try_to_merge(path)

    @staticmethod
    def _transfer(path: _Path, slot: _Slot, lblk: int, stop: int) -> bool:
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
        if beside.length >= MAX_WRITTEN - length:
            return False
        beside.length += length
        slot.length -= length
        grown = slot if lblk == slot.first else beside
        step = length if grown is slot else -length
        grown.first, grown.pblk = grown.first + step, grown.pblk + step
        return True

    # Removing

    def _remove(self, node: _Branch | _Leaf, first: int, last: int) -> None:
        """Remove below `node`; the caller drops it if it is empty then."""
        if isinstance(node, _Leaf):
            _remove_from_leaf(node, first, last)
            return
        low = _position(node.slots, first)
        high = bisect_right(node.slots, last, key=_first)
        for index in node.slots[low:high]:
            self._remove(index.child, first, last)
            if index.child.slots:
                index.first = index.child.slots[0].first
            else:
                self._blocks -= 1
        node.slots[low:high] = [index for index in node.slots[low:high] if index.child.slots]


def _remove_from_leaf(leaf: _Leaf, first: int, last: int) -> None:
    """Shorten or drop extents (ext4_ext_rm_leaf); none goes on behind `last`."""
    slots = leaf.slots
    low = bisect_left(slots, first, key=_first)
    high = bisect_right(slots, last, key=_first)
    if low > 0 and slots[low - 1].end > first:
        slots[low - 1].length = first - slots[low - 1].first
    del slots[low:high]


def _shift(node: _Branch | _Leaf, first: int, delta: int) -> None:
    """Move the extents from `first` on below `node` (ext4_ext_shift_path_extents)."""
    if isinstance(node, _Branch):
        for index in node.slots[_position(node.slots, first) :]:
            _shift(index.child, first, delta)
            index.first = index.child.slots[0].first
        return
    slots = node.slots
    at = bisect_left(slots, first, key=_first)
    for slot in slots[at:]:
        slot.first += delta
    if delta > 0:
        for place in reversed(range(at, len(slots))):
            _merge_right(node, place)
        return
    while at < len(slots):
        if at == 0 or not _merge_right(node, at - 1):
            at += 1


def _correct_indexes(path: _Path) -> None:
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


def _leaves(node: _Branch | _Leaf) -> list[_Leaf]:
    if isinstance(node, _Leaf):
        return [node]
    return [leaf for index in node.slots for leaf in _leaves(index.child)]
