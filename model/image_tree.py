"""Extent trees as bytes, node for node as the model has them (fs/ext4/extents.c)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from model.extent_nodes import ROOT_ENTRIES, Branch, Index, Leaf, Slot
from model.image import features
from model.image.extents import EXTENT_MAGIC, UNWRITTEN_OVER, extent_block_checksum
from model.image.layout import EXTENT, EXTENT_HEADER
from model.image.volume import Volume
from model.image.write_target import Target
from model.units import INIT_MAX_LEN, UNWRITTEN_MAX_LEN

__all__ = ["extents_as_tree", "put_tree", "split_extents"]

_INDEX = struct.Struct("<IIHH")
_ROOT_SIZE = 60


def _depth(node: Branch | Leaf) -> int:
    depth = 0
    while isinstance(node, Branch):
        node, depth = node.slots[0].child, depth + 1
    return depth


def _extent(slot: Slot, block: int) -> bytes:
    length = slot.length + (UNWRITTEN_OVER if slot.unwritten else 0)
    return EXTENT.pack(slot.first, length, block >> 32, block & 0xFFFFFFFF)


def put_tree(
    volume: Volume,
    root: Branch | Leaf,
    places: list[Slot],
    new_block: Callable[[], int],
    out: tuple[Target, int],
) -> bytes:
    """Write the nodes below `root` to blocks that `new_block` gives; returns the root.

    The extents lie where `places` says, whatever the tree does. `out` is the target and
    what the checksums of the inode's blocks start from.
    """
    target, seed = out
    where = {slot.first: slot.pblk for slot in places}

    def packed(node: Branch | Leaf, size: int) -> bytes:
        entries = (size - EXTENT_HEADER.size) // EXTENT.size
        if isinstance(node, Branch):
            body = b"".join(below(index) for index in node.slots)
        else:
            body = b"".join(_extent(slot, where[slot.first]) for slot in node.slots)
        header = EXTENT_HEADER.pack(EXTENT_MAGIC, len(node.slots), entries, _depth(node), 0)
        return (header + body).ljust(size, b"\0")

    def below(index: Index) -> bytes:
        block = new_block()
        raw = packed(index.child, volume.block_size)
        if volume.ro_compat(features.METADATA_CSUM):
            entries = (volume.block_size - EXTENT_HEADER.size) // EXTENT.size
            end = EXTENT_HEADER.size + entries * EXTENT.size
            checksum = struct.pack("<I", extent_block_checksum(seed, raw, entries))
            raw = raw[:end] + checksum + raw[end + len(checksum) :]
        target.put(block, raw)
        return _INDEX.pack(index.first, block & 0xFFFFFFFF, block >> 32, 0)

    return packed(root, _ROOT_SIZE)


def extents_as_tree(slots: list[Slot], capacity: int) -> Branch | Leaf:
    """The smallest tree that holds `slots`, for a file whose tree the model does not know.

    `capacity` is the number of entries of a tree block.
    """
    whole = split_extents(slots)
    if len(whole) <= ROOT_ENTRIES:
        return Leaf(whole, ROOT_ENTRIES)
    level: list[Branch | Leaf] = [
        Leaf(whole[at : at + capacity], capacity) for at in range(0, len(whole), capacity)
    ]
    while len(level) > ROOT_ENTRIES:
        level = [
            Branch([_index(node) for node in level[at : at + capacity]], capacity)
            for at in range(0, len(level), capacity)
        ]
    return Branch([_index(node) for node in level], ROOT_ENTRIES)


def _index(node: Branch | Leaf) -> Index:
    return Index(node.slots[0].first, node)


def split_extents(slots: list[Slot]) -> list[Slot]:
    """`slots`, cut to what one extent can hold."""
    return [
        Slot(
            slot.first + at,
            min(_longest(slot), slot.length - at),
            slot.pblk + at,
            slot.unwritten,
        )
        for slot in slots
        for at in range(0, slot.length, _longest(slot))
    ]


def _longest(slot: Slot) -> int:
    return UNWRITTEN_MAX_LEN if slot.unwritten else INIT_MAX_LEN
