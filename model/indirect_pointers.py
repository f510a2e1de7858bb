"""Indirect blocks: where a block is, and how the pointers of a file grow.

Follows ext4_block_to_path, ext4_ind_map_blocks and ext4_alloc_branch (fs/ext4/indirect.c). All of
it is inside of `model.indirect_tree`, which takes blocks away again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from model.units import MAX_LFS_FILESIZE

__all__ = ["DIRECT", "IndirectTreeError", "PointerBlock", "Pointers", "max_file_bytes"]

DIRECT = 12
"""Data blocks that the inode points to itself (EXT4_NDIR_BLOCKS)."""


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
class PointerBlock:
    """The inode's pointers or an indirect block's; None points to data."""

    slots: dict[int, PointerBlock | None] = field(default_factory=dict)

    def empty_before(self, place: int) -> bool:
        """Whether no pointer is in front of `place`."""
        return all(slot >= place for slot in self.slots)


class Pointers:
    """The pointers of one file without extents, none at first."""

    def __init__(self, block_size: int) -> None:
        """`block_size` is in bytes."""
        self._per = block_size // 4
        self._root = PointerBlock()
        self._blocks = 0

    @classmethod
    def grown(
        cls, block_size: int, pointers: Sequence[int], below: Callable[[int], Sequence[int]]
    ) -> Self:
        """The tree of an inode with the 15 `pointers`, 0 for none; `below` gives those of an
        indirect block, `block_size` is in bytes."""
        tree = cls(block_size)

        def block(words: Sequence[int], levels: int) -> PointerBlock:
            tree._blocks += 1
            children = {place: word for place, word in enumerate(words) if word}
            if levels == 1:
                return PointerBlock(dict.fromkeys(children))
            return PointerBlock(
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
    def root(self) -> PointerBlock:
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
                    below = block.slots[offset] = PointerBlock()
                    self._blocks += 1
                block = below
            count = min(end - lblk, (self._per if above else DIRECT) - place)
            block.slots.update(dict.fromkeys(range(place, place + count)))
            lblk += count

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

    def _mapped_blocks(self, block: PointerBlock, base: int, below: int) -> Iterator[int]:
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
