"""Trees of an image's file, node for node, as the model keeps them.

The reader has walked them already (`model.image.extents`, `model.image.indirect`), and so
knows that they are sound; here their shape is taken over, which no list of extents has.
"""

from __future__ import annotations

import struct

from harness.errors import NotModelledError
from model.extent_nodes import ROOT_ENTRIES, Branch, Index, Leaf, Slot, node_entries
from model.extent_tree import ExtentTree
from model.image.extents import UNWRITTEN_OVER
from model.image.inode import Inode
from model.image.layout import EXTENT, EXTENT_HEADER, ExtentHeader
from model.image.volume import Volume
from model.indirect_tree import IndirectTree

__all__ = ["block_map_of", "extent_tree_of"]

_INDEX = struct.Struct("<IIHH")


def extent_tree_of(volume: Volume, inode: Inode) -> ExtentTree:
    """The extent tree of `inode`, which was read without complaint before.

    Raises `NotModelledError` for nodes that hold fewer entries than a kernel lets them.
    """
    structure = f"extent tree of inode {inode.number}"

    def node(raw: bytes, capacity: int) -> Branch | Leaf:
        header = ExtentHeader._make(EXTENT_HEADER.unpack_from(raw))
        if header.max != capacity:
            raise NotModelledError(
                f"{structure}: a node for {header.max} entries where a kernel's has {capacity}"
            )
        start = EXTENT_HEADER.size
        entries = raw[start : start + header.entries * EXTENT.size]
        if not header.depth:
            return Leaf([_slot(*words) for words in EXTENT.iter_unpack(entries)], capacity)
        return Branch(
            [
                Index(first, node(volume.read(low | high << 32, structure), below))
                for first, low, high, _ in _INDEX.iter_unpack(entries)
            ],
            capacity,
        )

    below = node_entries(volume.block_size)
    return ExtentTree.grown(volume.block_size, node(inode.record.block, ROOT_ENTRIES))


def _slot(first: int, word: int, high: int, low: int) -> Slot:
    unwritten = word > UNWRITTEN_OVER
    return Slot(first, word - UNWRITTEN_OVER if unwritten else word, low | high << 32, unwritten)


def block_map_of(volume: Volume, inode: Inode) -> IndirectTree:
    """The block map of `inode`, which was read without complaint before."""
    words = struct.Struct(f"<{volume.block_size // 4}I")

    def below(block: int) -> tuple[int, ...]:
        structure = f"indirect blocks of inode {inode.number}"
        return words.unpack(volume.read(block, structure))

    pointers = struct.unpack("<15I", inode.record.block)
    return IndirectTree.grown(volume.block_size, pointers, below)
