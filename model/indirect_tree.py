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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from model.units import MAX_LFS_FILESIZE

__all__ = ["DIRECT", "IndirectTree", "IndirectTreeError", "max_file_bytes"]

DIRECT = 12
"""Data blocks that the inode points to itself (EXT4_NDIR_BLOCKS)."""
_LAST = 0xFFFFFFFE


class IndirectTreeError(ValueError):
    """The tree was asked for what the kernel never does; the caller has lost track."""


def max_file_bytes(block_size: int, huge_file: bool = True) -> int:
    """Size limit of a file without extents, in bytes (ext4_max_bitmap_size).

    `block_size` is in bytes; `huge_file` is the file system's feature, which raises the
    limit of i_blocks from 2**32 - 1 to 2**48 - 1 sectors.
    """
    per = block_size // 4
    limit = (1 << 48) - 1 if huge_file else ((1 << 32) - 1) // (block_size // 512)
    blocks = DIRECT + per + per**2 + per**3
    if blocks + 1 + (1 + per) + (1 + per + per**2) > limit:
        rest = limit - DIRECT - per
        meta = 1
        if rest < per**2:
            meta += 1 + -(-rest // per)
        else:
            rest -= per**2
            meta += 1 + per + 1 + -(-rest // per) + -(-rest // per**2)
        blocks = limit - meta
    return min(blocks * block_size, MAX_LFS_FILESIZE)


@dataclass(slots=True, eq=False)
class _Block:
    """The inode's pointers or an indirect block's; None points to data."""

    slots: dict[int, _Block | None] = field(default_factory=dict)

    def empty_before(self, place: int) -> bool:
        return all(slot >= place for slot in self.slots)


@dataclass(slots=True)
class _Cut:
    """Where a removed range begins or ends in the tree (the result of ext4_find_shared).

    `blocks` leads from the inode down, `places` is the position in each. `level` counts
    from 0 (the inode) and walks up while the range is removed. `top` says that the pointer
    there leads to a subtree with nothing on the left of the cut.
    """

    blocks: list[_Block]
    places: list[int]
    level: int
    height: int
    top: bool

    @property
    def block(self) -> _Block:
        return self.blocks[self.level]

    @property
    def place(self) -> int:
        return self.places[self.level]

    @property
    def below(self) -> int:
        """Levels of indirect blocks under the pointers of `block`; 0 if they lead to data."""
        return self.height - 1 - self.level


class IndirectTree:
    """The pointers of one file, none at first.

    Blocks are given by their number in the file. Calls that make no sense raise
    `IndirectTreeError` and leave the tree as it was.
    """

    def __init__(self, block_size: int) -> None:
        """`block_size` is in bytes."""
        self._per = block_size // 4
        self._root = _Block()
        self._blocks = 0

    @classmethod
    def grown(
        cls, block_size: int, pointers: Sequence[int], below: Callable[[int], Sequence[int]]
    ) -> Self:
        """The tree of an inode with the 15 `pointers`, 0 for none; `below` gives those of an
        indirect block, `block_size` is in bytes."""
        tree = cls(block_size)

        def block(words: Sequence[int], levels: int) -> _Block:
            tree._blocks += 1
            children = {place: word for place, word in enumerate(words) if word}
            if levels == 1:
                return _Block(dict.fromkeys(children))
            return _Block(
                {place: block(below(word), levels - 1) for place, word in children.items()}
            )

        for place, word in enumerate(pointers):
            if word:
                levels = max(place - DIRECT + 1, 0)
                tree._root.slots[place] = block(below(word), levels) if levels else None
        return tree

    def blocks(self) -> int:
        """Indirect blocks of all levels, empty ones too. Costs nothing to ask."""
        return self._blocks

    @property
    def root(self) -> _Block:
        """The inode's pointers, for who writes the map; not to be changed."""
        return self._root

    def mapped(self, lblk: int) -> bool:
        """Whether `lblk` has a data block."""
        block = self._root
        for offset in self._offsets(lblk):
            if offset not in block.slots:
                return False
            block = block.slots[offset] or block
        return True

    def hole(self, lblk: int) -> int:
        """Blocks from `lblk`, which is not mapped, to the end of what its lowest missing
        pointer would reach: a hole as a lookup reports it (ext4_ind_map_blocks)."""
        offsets = self._offsets(lblk)
        block, level = self._root, 0
        while level < len(offsets) - 1 and offsets[level] in block.slots:
            block = block.slots[offsets[level]] or block
            level += 1
        count = 0
        for offset in offsets[level + 1 :]:
            count = count * self._per + self._per - offset - 1
        return count + 1

    def ranges(self) -> list[tuple[int, int]]:
        """Mapped blocks as (first, number), by first block, adjacent ones joined."""
        found: list[tuple[int, int]] = []
        for lblk in self._mapped_blocks(self._root, 0, -1):
            if found and sum(found[-1]) == lblk:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((lblk, 1))
        return found

    def insert(self, lblk: int, length: int) -> None:
        """Map `length` blocks from `lblk` (ext4_ind_map_blocks, ext4_alloc_branch).

        Missing indirect blocks are added. Raises `IndirectTreeError` if a block is mapped
        already or past what three levels can reach.
        """
        end = lblk + length
        if length <= 0 or any(self.mapped(number) for number in range(lblk, end)):
            raise IndirectTreeError(f"cannot map blocks {lblk}..{end - 1}")
        while lblk < end:
            *above, place = self._offsets(lblk)
            block = self._root
            for offset in above:
                below = block.slots.get(offset)
                if below is None:
                    below = block.slots[offset] = _Block()
                    self._blocks += 1
                block = below
            count = min(end - lblk, (self._per if above else DIRECT) - place)
            block.slots.update(dict.fromkeys(range(place, place + count)))
            lblk += count

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

    # Where a block is

    def _reaches(self, lblk: int) -> bool:
        return 0 <= lblk < DIRECT + self._per + self._per**2 + self._per**3

    def _offsets(self, lblk: int) -> list[int]:
        """Position in the inode, then in each indirect block (ext4_block_to_path)."""
        if not self._reaches(lblk):
            raise IndirectTreeError(f"block {lblk} is past what three levels can reach")
        if lblk < DIRECT:
            return [lblk]
        lblk -= DIRECT
        level = 1
        while lblk >= self._per**level:
            lblk -= self._per**level
            level += 1
        places = [lblk // self._per**power % self._per for power in reversed(range(level))]
        return [DIRECT + level - 1, *places]

    def _mapped_blocks(self, block: _Block, base: int, below: int) -> Iterator[int]:
        """Mapped blocks under `block`, in order; `below` is -1 for the inode."""
        for slot, child in sorted(block.slots.items()):
            if below < 0:
                levels = max(slot - DIRECT + 1, 0)
                start = slot if not levels else DIRECT + sum(self._per**n for n in range(1, levels))
            else:
                levels, start = below, base + slot * self._per**below
            if child is None:
                yield start
            else:
                yield from self._mapped_blocks(child, start, levels - 1)

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

    def _free(self, block: _Block, first: int, end: int, below: int) -> None:
        """Clear pointers `first` to `end` (exclusive) of `block` and free what they lead to.

        Follows ext4_free_branches and ext4_free_data; `below` as in `_Cut`.
        """
        for slot in [slot for slot in block.slots if first <= slot < end]:
            child = block.slots.pop(slot)
            if child is not None:
                self._free(child, 0, self._per, below - 1)
                self._blocks -= 1

    def _free_level(self, level: int) -> None:
        """Free all that hangs on the inode's pointer of an indirection level, 1 to 3."""
        self._free(self._root, DIRECT + level - 1, DIRECT + level, level)

    def _free_top(self, cut: _Cut) -> None:
        if cut.top:
            self._free(cut.block, cut.place, cut.place + 1, cut.below)

    def _free_right(self, cut: _Cut) -> None:
        """Free what is right of `cut` in its block, and step up."""
        self._free(cut.block, cut.place + 1, self._per, cut.below)
        cut.level -= 1

    def _free_left(self, cut: _Cut) -> None:
        """Free what is left of `cut` in its block, and step up."""
        self._free(cut.block, 0, cut.place, cut.below)
        cut.level -= 1

    def _free_from(self, offsets: list[int]) -> None:
        """Free from `offsets` to the end of its indirection level."""
        if len(offsets) == 1:
            self._free(self._root, offsets[0], DIRECT, 0)
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
            self._free(self._root, start[0], end[0], 0)
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
                self._free(left.block, left.place + 1, right.place, left.below)
                return
            from_left = left.level and left.below <= right.below
            from_right = right.level and right.below <= left.below
            if from_left:
                self._free_right(left)
            if from_right:
                self._free_left(right)
