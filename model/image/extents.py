"""Extent trees (fs/ext4/extents.c: __ext4_ext_check, ext4_valid_extent_entries)."""

from __future__ import annotations

import struct

from model.image.checksum import chain
from model.image.inode import Inode
from model.image.layout import EXTENT, EXTENT_HEADER, ExtentHeader
from model.image.mapping import Extent, Mapping
from model.image.volume import Volume

__all__ = ["EXTENT_MAGIC", "MAX_DEPTH", "UNWRITTEN_OVER", "extent_block_checksum", "read_extents"]

EXTENT_MAGIC = 0xF30A
MAX_DEPTH = 5
UNWRITTEN_OVER = 32768
"""A longer `ee_len` means an unwritten extent of `ee_len - 32768` blocks."""

_LAST = 1 << 32  # logical blocks have 32 bits
_INDEX = struct.Struct("<IIHH")

_Node = tuple[bytes, ExtentHeader, int, int, int | None]
"""A node, its header, first block and end of what it may map, its block (root: None)."""


def extent_block_checksum(seed: int, node: bytes, max_entries: int) -> int:
    """What the word after the last possible entry should be (ext4_extent_block_csum)."""
    return chain(seed, node[: EXTENT_HEADER.size + max_entries * EXTENT.size])


class _Tree:
    """One inode's tree, walked from left to right."""

    def __init__(self, volume: Volume, inode: Inode) -> None:
        self.volume, self.inode = volume, inode
        self.extents: list[Extent] = []
        self.nodes: list[int] = []
        self._seen: set[int] = set()
        self._next = 0  # first logical block that may come next
        self._room = volume.blocks_count  # no more blocks can be mapped

    def walk(self) -> Mapping:
        root = self.inode.record.block
        header = self._header(root, None, None)
        todo: list[_Node] = [(root, header, 0, _LAST, None)] if header.entries else []
        depth = header.depth
        while todo:
            node, header, first, end, block = todo.pop()
            if header.depth:
                todo += reversed(self._children(node, header, first, end, block))
            else:
                self._leaf(node, header, first, end, block)
        return Mapping(tuple(self.extents), tuple(self.nodes), depth)

    def _bad(self, reason: str, block: int | None) -> Exception:
        return self.volume.error(f"extent tree of inode {self.inode.number}", reason, block)

    def _header(self, node: bytes, depth: int | None, block: int | None) -> ExtentHeader:
        header = ExtentHeader._make(EXTENT_HEADER.unpack_from(node))
        room = (len(node) - EXTENT_HEADER.size) // EXTENT.size
        if header.magic != EXTENT_MAGIC:
            raise self._bad("wrong magic", block)
        if not header.entries <= header.max <= room or header.max == 0:
            raise self._bad(f"{header.entries} of {header.max} entries in room for {room}", block)
        if header.depth > MAX_DEPTH or depth not in (None, header.depth):
            raise self._bad(f"depth {header.depth} cannot be", block)
        if header.entries == 0 and header.depth:
            raise self._bad("an index without entries", block)
        return header

    def _children(
        self, node: bytes, header: ExtentHeader, first: int, end: int, block: int | None
    ) -> list[_Node]:
        """The nodes below an index, each with the range of the file that it may map."""
        size = EXTENT_HEADER.size
        entries = [
            (start, low | high << 32)
            for start, low, high, _ in _INDEX.iter_unpack(node[size : size + header.entries * 12])
        ]
        if block is not None and entries[0][0] != first:
            raise self._bad(f"first index at {entries[0][0]}, but its parent says {first}", block)
        ends = [start for start, _ in entries[1:]] + [end]
        found: list[_Node] = []
        for (start, child), limit in zip(entries, ends, strict=True):
            if not self._next <= start < limit <= end:
                raise self._bad(f"index to block {child} is out of order", block)
            found.append((*self._node(child, header.depth - 1), start, limit, child))
        return found

    def _node(self, block: int, depth: int) -> tuple[bytes, ExtentHeader]:
        volume = self.volume
        if block in self._seen:
            raise self._bad("the node is reached twice", block)
        self._seen.add(block)
        self.nodes.append(block)
        node = volume.read(block, f"extent tree of inode {self.inode.number}")
        header = self._header(node, depth, block)
        if volume.verify:
            at = EXTENT_HEADER.size + header.max * EXTENT.size
            stored = int.from_bytes(node[at : at + 4], "little")
            computed = extent_block_checksum(self.inode.seed, node, header.max)
            structure = f"extent tree of inode {self.inode.number}"
            volume.check(stored == computed and at + 4 <= len(node), structure, block)
        return node, header

    def _leaf(
        self, node: bytes, header: ExtentHeader, first: int, end: int, block: int | None
    ) -> None:
        size = EXTENT_HEADER.size
        records = EXTENT.iter_unpack(node[size : size + header.entries * EXTENT.size])
        for index, (logical, word, high, low) in enumerate(records):
            physical = low | high << 32
            written = word <= UNWRITTEN_OVER
            length = word if written else word - UNWRITTEN_OVER
            if block is not None and index == 0 and logical != first:
                raise self._bad(f"first extent at {logical}, but its index says {first}", block)
            if length == 0 or logical < self._next or logical + length > end:
                raise self._bad(f"extent at {logical}, {length} blocks, is out of order", block)
            if not self.volume.valid(physical, length):
                raise self._bad(
                    f"extent at {logical}: blocks {physical} + {length} are outside", block
                )
            self._next = logical + length
            self._room -= length
            if self._room < 0:
                raise self._bad("maps more blocks than the file system has", block)
            self.extents.append(Extent(logical, length, physical, written))


def read_extents(volume: Volume, inode: Inode) -> Mapping:
    """What the extent tree of `inode` maps; `ImageError` if the tree is damaged."""
    return _Tree(volume, inode).walk()
