"""Extent tree: where a block is, how an extent is put in, and how many blocks the tree takes.

Follows ext4_find_extent, ext4_ext_insert_extent and what these call (fs/ext4/extents.c). All of
them are inside of `model.extent_tree`, which has what a file system calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from model.extent_nodes import (
    EOB,
    ROOT_ENTRIES,
    Branch,
    Index,
    Leaf,
    Path,
    Slot,
    correct_indexes,
    join_neighbour,
    merge_right,
    node_entries,
    position,
)

__all__ = ["GrowingTree", "TreeBlockRefused"]


class TreeBlockRefused(Exception):
    """A tree block is needed and can't be had."""


class GrowingTree:
    """The nodes of one file's extent tree, none but the root in the inode at first. It grows where
    an extent finds no free entry, and folds into the inode where a merge leaves few enough."""

    def __init__(self, block_size: int) -> None:
        """`block_size` is in bytes (ext4_ext_tree_init)."""
        self._capacity = node_entries(block_size)
        self._root: Branch | Leaf = Leaf([], ROOT_ENTRIES)
        self._depth = 0
        self._blocks = 0
        self.freed = 0
        """Tree blocks that went since the owner of the tree last set this to 0."""
        self.refuses: Callable[[int], bool] | None = None
        """Whether that many tree blocks more can't be had; None: they always can."""

    @classmethod
    def grown(cls, block_size: int, root: Branch | Leaf) -> Self:
        """The tree with `root` and all below it, which belong to it from here on;
        `block_size` is in bytes."""
        tree = cls(block_size)
        tree._root = root
        level: list[Branch | Leaf] = [root]
        while isinstance(level[0], Branch):
            level = [index.child for node in level if isinstance(node, Branch)
                     for index in node.slots]  # fmt: skip
            tree._depth += 1
            tree._blocks += len(level)
        return tree

    def blocks(self) -> int:
        """Tree blocks; 0 while the root in the inode suffices. Costs nothing to ask."""
        return self._blocks

    def depth(self) -> int:
        """Levels below the root (ext_depth)."""
        return self._depth

    @property
    def root(self) -> Branch | Leaf:
        """The root with all that is below it, for who writes the tree; not to be changed."""
        return self._root

    # Finding

    def _find(self, lblk: int) -> Path:
        """Path to the extent nearest to `lblk` (ext4_find_extent)."""
        node, turns = self._root, []
        while isinstance(node, Branch):
            at = position(node.slots, lblk)
            turns.append((node, at))
            node = node.slots[at].child
        return Path(turns, node, position(node.slots, lblk))

    def _covering(self, lblk: int) -> tuple[Path, Slot | None]:
        path = self._find(lblk)
        slot = path.slot
        return path, slot if slot is not None and slot.first <= lblk < slot.end else None

    @staticmethod
    def _next_leaf(path: Path) -> int:
        """First block of the next leaf, or EOB (ext4_ext_next_leaf_block)."""
        for branch, at in reversed(path.turns):
            if at + 1 < len(branch.slots):
                return branch.slots[at + 1].first
        return EOB

    def _next_allocated(self, path: Path) -> int:
        """First block of the extent behind `path`'s, or EOB (ext4_ext_next_allocated_block)."""
        slots = path.leaf.slots
        return slots[path.at + 1].first if path.at + 1 < len(slots) else self._next_leaf(path)

    # Inserting

    def _insert(self, path: Path, new: Slot, nomerge: bool) -> None:
        """ext4_ext_insert_extent, `path` being the one to `new`'s first block."""
        if nomerge or not join_neighbour(path, new):
            if path.leaf.full:
                path = self._make_room(path, new)
            slots = path.leaf.slots
            if slots and new.first > slots[path.at].first:
                path.at += 1
            slots.insert(path.at, new)
        if not nomerge:
            self._try_to_merge(path)
        correct_indexes(path)

    def _claim(self, count: int) -> None:
        if self.refuses is not None and self.refuses(count):
            raise TreeBlockRefused

    def _make_room(self, path: Path, new: Slot) -> Path:
        """Path to a leaf with a free entry for `new`: the next leaf, or a new one."""
        if new.first > path.leaf.slots[-1].first:
            after = self._next_leaf(path)
            if after != EOB:
                beside = self._find(after)
                if not beside.leaf.full:
                    return beside
        return self._create_new_leaf(path, new)

    def _create_new_leaf(self, path: Path, new: Slot) -> Path:
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

    def _split(self, path: Path, new: Slot, level: int) -> None:
        """Move all that is right of `path` to new nodes below `level` (ext4_ext_split).

        When appending nothing is right of it, and the new leaf is empty. The leaf was full,
        so the new key is always greater than the one followed (ext4_ext_insert_index).
        """
        self._claim(len(path.turns) - level)
        right = path.leaf.slots[path.at + 1 :]
        del path.leaf.slots[path.at + 1 :]
        border = right[0].first if right else new.first
        child: Branch | Leaf = Leaf(right, self._capacity)
        for branch, at in reversed(path.turns[level + 1 :]):
            child = Branch([Index(border, child), *branch.slots[at + 1 :]], self._capacity)
            del branch.slots[at + 1 :]
        branch, at = path.turns[level]
        branch.slots.insert(at + 1, Index(border, child))
        self._blocks += len(path.turns) - level

    def _grow_indepth(self) -> None:
        """Copy the root to a block of its own, under a new root (ext4_ext_grow_indepth)."""
        self._claim(1)
        old = self._root
        old.capacity = self._capacity
        self._root = Branch([Index(old.slots[0].first, old)], ROOT_ENTRIES)
        self._depth += 1
        self._blocks += 1

    # Merging

    def _try_to_merge(self, path: Path) -> None:
        """Merge the extent at `path` to both sides in its leaf (ext4_ext_try_to_merge)."""
        if path.at > 0 and merge_right(path.leaf, path.at - 1):
            path.at -= 1
        else:
            merge_right(path.leaf, path.at)
        self._try_to_merge_up(path)

    def _try_to_merge_up(self, path: Path) -> None:
        """Fold the only leaf into the inode if it fits (ext4_ext_try_to_merge_up).

        The kernel gives up if the journal has no credits left; then the block stays.
        """
        if self._depth == 1 and len(self._root.slots) == 1 and len(path.leaf.slots) <= ROOT_ENTRIES:
            path.leaf.capacity = ROOT_ENTRIES
            self._root, self._depth = path.leaf, 0
            self._free_block()
            path.turns.clear()

    def _free_block(self) -> None:
        self._blocks -= 1
        self.freed += 1
