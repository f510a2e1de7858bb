"""Block maps of inodes without extents (fs/ext4/indirect.c)."""

from __future__ import annotations

import struct

from model.image.inode import Inode
from model.image.mapping import Extent, Mapping
from model.image.volume import Volume

__all__ = ["read_indirect"]

_DIRECT = 12
_LEVELS = 3


class _Map:
    """One inode's map; adjacent blocks are joined to extents as they are met."""

    def __init__(self, volume: Volume, inode: Inode) -> None:
        self.volume, self.inode = volume, inode
        self.per_block = volume.block_size // 4
        self.extents: list[Extent] = []
        self.nodes: list[int] = []
        self._seen: set[int] = set()
        self._depth = 0
        self._room = volume.blocks_count  # no more blocks can be mapped

    def read(self) -> Mapping:
        words = struct.unpack("<15I", self.inode.record.block)
        self._data(0, words[:_DIRECT])
        logical, span = _DIRECT, self.per_block
        for level in range(1, _LEVELS + 1):
            if block := words[_DIRECT + level - 1]:
                self._depth = level
                self._tree(block, level, logical)
            logical, span = logical + span, span * self.per_block
        return Mapping(tuple(self.extents), tuple(self.nodes), self._depth)

    def _tree(self, block: int, level: int, logical: int) -> None:
        words = self._node(block)
        if level == 1:
            self._data(logical, words)
            return
        span: int = self.per_block ** (level - 1)
        for index, child in enumerate(words):
            if child:
                self._tree(child, level - 1, logical + index * span)

    def _node(self, block: int) -> tuple[int, ...]:
        structure = f"indirect blocks of inode {self.inode.number}"
        if block in self._seen:
            raise self.volume.error(structure, "the block is reached twice", block)
        self._seen.add(block)
        self.nodes.append(block)
        return struct.unpack(f"<{self.per_block}I", self.volume.read(block, structure))

    def _data(self, logical: int, words: tuple[int, ...]) -> None:
        if not any(words):
            return
        start = physical = length = 0
        for number, block in enumerate((*words, 0), logical):
            if length and block == physical + length:
                length += 1
                continue
            if length:
                self._extent(start, length, physical)
            start, physical, length = number, block, 1 if block else 0

    def _extent(self, logical: int, length: int, physical: int) -> None:
        structure = f"block map of inode {self.inode.number}"
        self._room -= length
        if self._room < 0:
            raise self.volume.error(structure, "maps more blocks than the file system has")
        if not self.volume.valid(physical, length):
            reason = f"block {logical} of the file is at {physical} + {length}, outside"
            raise self.volume.error(structure, reason)
        last = self.extents[-1] if self.extents else None
        if last and last.end == logical and last.physical + last.length == physical:
            logical, physical, length = last.logical, last.physical, last.length + length
            self.extents.pop()
        self.extents.append(Extent(logical, length, physical))


def read_indirect(volume: Volume, inode: Inode) -> Mapping:
    """What the block map of `inode` maps; all of it is written."""
    return _Map(volume, inode).read()
