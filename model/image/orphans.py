"""Inodes that wait for truncation or deletion (fs/ext4/orphan.c)."""

from __future__ import annotations

import struct

from model.image.checksum import chain
from model.image.inode import Inode, InodeTable
from model.image.layout import INODE, RawInode
from model.image.mapping import Mapping
from model.image.volume import Volume

__all__ = ["ORPHAN_MAGIC", "orphan_block_checksum", "orphan_file", "orphan_list"]

ORPHAN_MAGIC = 0x0B10CA04
_TAIL_SIZE = 8


def orphan_list(volume: Volume, table: InodeTable) -> tuple[int, ...]:
    """The chain from the superblock's s_last_orphan; each inode's i_dtime names the next."""
    found: dict[int, None] = {}
    number = volume.sb.last_orphan
    while number:
        if number in found:
            raise volume.error("orphan list", f"inode {number} is reached twice")
        found[number] = None
        raw, _ = table.raw(number)
        number = RawInode._make(INODE.unpack_from(raw)).dtime
    return tuple(found)


def orphan_block_checksum(seed: int, number: int, block: bytes) -> int:
    """What the tail of block `number` should carry; `seed` is the orphan file's `Inode.seed`."""
    return chain(seed, struct.pack("<Q", number) + block[:-_TAIL_SIZE])


def orphan_file(volume: Volume, inode: Inode, mapping: Mapping) -> tuple[int, ...]:
    """The inodes in the orphan file, its checksums verified."""
    structure = f"orphan file, inode {inode.number}"
    found: list[int] = []
    for extent in mapping.extents:
        for block in range(extent.physical, extent.physical + extent.length):
            data = volume.read(block, structure)
            magic, stored = struct.unpack_from("<II", data, len(data) - _TAIL_SIZE)
            if magic != ORPHAN_MAGIC or not extent.written:
                raise volume.error(structure, "wrong magic", block)
            if volume.verify:
                volume.check(
                    orphan_block_checksum(inode.seed, block, data) == stored, structure, block
                )
            words = struct.unpack(f"<{(len(data) - _TAIL_SIZE) // 4}I", data[:-_TAIL_SIZE])
            found += [number for number in words if number]
    return tuple(found)
