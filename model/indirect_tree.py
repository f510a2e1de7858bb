"""Indirect blocks: what a file without extents spends on remembering where its blocks are.

Follows fs/ext4/indirect.c. The inode has 15 pointers: 12 to data, then one each to an
indirect, a double and a triple indirect block. An indirect block holds `block size / 4`
pointers. Indirect blocks count in i_blocks.

The number of indirect blocks does not follow from the mapping alone. A hole punched frees
the indirect blocks that lie in it, and the one that it starts in if that maps nothing
before the hole. The one that maps the first block after the hole stays, even when nothing
is left in it, until a truncate takes it. So the tree itself is kept.

All numbers are file system blocks unless stated. Files without extents have no unwritten
blocks, and bigalloc does not allow them.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.indirect_pointers import DIRECT, PointerBlock, Pointers

__all__ = ["IndirectTree"]

_LAST = 0xFFFFFFFE


@dataclass(slots=True)
class _Cut:
    """Where a removed range begins or ends in the tree (the result of ext4_find_shared).

    `blocks` leads from the inode down, `places` is the position in each. `level` counts
    from 0 (the inode) and walks up while the range is removed. `top` says that the pointer
    there leads to a subtree with nothing on the left of the cut.
    """

    blocks: list[PointerBlock]
    places: list[int]
    level: int
    height: int
    top: bool

    @property
    def block(self) -> PointerBlock:
        return self.blocks[self.level]

    @property
    def place(self) -> int:
        return self.places[self.level]

    @property
    def below(self) -> int:
        """Levels of indirect blocks under the pointers of `block`; 0 if they lead to data."""
        return self.height - 1 - self.level


class IndirectTree(Pointers):
    """The pointers of one file, none at first.

    Blocks are given by their number in the file. Calls that make no sense raise
    `IndirectTreeError` and leave the tree as it was.
    """

    def remove(self, first: int, last: int = _LAST) -> None:
        """Unmap blocks `first` to `last` inclusive.

        Without `last` this is truncate (ext4_ind_truncate), with it a hole punched
        (ext4_ind_remove_space); they differ in the indirect blocks that they leave.
        """
        if last >= _LAST:
            if self._reaches(first):
                self._truncate(self._offsets(first))
        elif first <= last:
            self._punch(self._offsets(first), self._offsets(last + 1))

    def _cut(self, offsets: list[int]) -> _Cut:
        """The deepest block that keeps something on the left of a block (ext4_find_shared).

        If that is the block with the last pointer on the path, the position is stepped
        back by one, so that what is right of it goes and no subtree is detached.
        """
        depth = len(offsets)
        while depth > 1 and offsets[depth - 1] == 0:
            depth -= 1
        blocks, level = [self._root], 0
        while level < depth - 1:
            below = blocks[level].slots.get(offsets[level])
            if below is None:
                break
            blocks.append(below)
            level += 1
        while level > 0 and blocks[level].empty_before(offsets[level]):
            level -= 1
        cut = _Cut(blocks, list(offsets), level, len(offsets), top=False)
        if level == depth - 1 and level > 0:
            cut.places[level] -= 1
        else:
            cut.top = cut.place in cut.block.slots
        return cut

    # Removing

    def _free(self, block: PointerBlock, first: int, end: int) -> None:
        """Clear pointers `first` to `end` (exclusive) of `block` and free what they lead to
        (ext4_free_branches, ext4_free_data)."""
        for slot in [slot for slot in block.slots if first <= slot < end]:
            child = block.slots.pop(slot)
            if child is not None:
                self._free(child, 0, self._per)
                self._blocks -= 1

    def _free_level(self, level: int) -> None:
        """Free all that hangs on the inode's pointer of an indirection level, 1 to 3."""
        self._free(self._root, DIRECT + level - 1, DIRECT + level)

    def _free_top(self, cut: _Cut) -> None:
        if cut.top:
            self._free(cut.block, cut.place, cut.place + 1)

    def _free_right(self, cut: _Cut) -> None:
        """Free what is right of `cut` in its block, and step up."""
        self._free(cut.block, cut.place + 1, self._per)
        cut.level -= 1

    def _free_left(self, cut: _Cut) -> None:
        """Free what is left of `cut` in its block, and step up."""
        self._free(cut.block, 0, cut.place)
        cut.level -= 1

    def _free_from(self, offsets: list[int]) -> None:
        """Free from `offsets` to the end of its indirection level."""
        if len(offsets) == 1:
            self._free(self._root, offsets[0], DIRECT)
            return
        cut = self._cut(offsets)
        self._free_top(cut)
        while cut.level:
            self._free_right(cut)

    def _truncate(self, offsets: list[int]) -> None:
        """ext4_ind_truncate."""
        self._free_from(offsets)
        for level in range(len(offsets), 4):
            self._free_level(level)

    def _punch(self, start: list[int], end: list[int]) -> None:
        """ext4_ind_remove_space; `end` is the first block that stays."""
        if len(start) < len(end):
            self._free_from(start)
            cut = self._end_cut(end)
            while cut.level:
                self._free_left(cut)
            for level in range(len(start), len(end) - 1):
                self._free_level(level)
        elif len(start) == 1:
            self._free(self._root, start[0], end[0])
        else:
            self._punch_within_level(start, end)

    def _end_cut(self, end: list[int]) -> _Cut:
        """The cut at the end of a hole: its position is the first pointer that stays."""
        cut = self._cut(end)
        if not cut.top:
            cut.places[cut.level] += 1
        return cut

    def _punch_within_level(self, start: list[int], end: list[int]) -> None:
        """Free between two cuts, going up from both until they meet in one block."""
        left, right = self._cut(start), self._end_cut(end)
        shared = min(left.level, right.level) + 1
        if start[:shared] != end[:shared]:
            self._free_top(left)
        while left.level or right.level:
            if left.level and right.level and left.block is right.block:
                self._free(left.block, left.place + 1, right.place)
                return
            from_left = left.level and left.below <= right.below
            from_right = right.level and right.below <= left.below
            if from_left:
                self._free_right(left)
            if from_right:
                self._free_left(right)
