"""Bitmaps, group descriptors and superblock after blocks and inodes were taken."""

from __future__ import annotations

import struct

from model.image import features
from model.image.checksum import ONES, chain
from model.image.groups import (
    BLOCK_UNINIT,
    INODE_UNINIT,
    Groups,
    descriptor_block,
    descriptor_checksum,
)
from model.image.layout import GROUP, GROUP_HIGH, SUPERBLOCK, GroupHigh, GroupLow, Superblock
from model.image.volume import Volume
from model.image.write_space import Space
from model.image.write_target import Target

__all__ = ["put_groups", "put_superblock"]

_SUPERBLOCK_AT = 1024
_SUPERBLOCK_SIZE = 1024
_RESERVED_AT = _SUPERBLOCK_SIZE - 4 - 372
_GROUP_CHECKSUM_AT = 0x1E
_ERROR_FS = 2  # s_state


def put_groups(volume: Volume, groups: Groups, before: Space, space: Space, target: Target) -> None:
    """Write bitmaps and descriptor of each group in which `space` differs from `before`."""
    writer = _GroupWriter(volume, groups, space, target)
    for number in range(volume.groups_count):
        blocks = before.clusters[number] != space.clusters[number]
        inodes = before.inodes[number] != space.inodes[number]
        if blocks or inodes:
            writer.put(number, blocks=blocks, inodes=inodes)


_Halves = tuple[GroupLow, GroupHigh]


def _high(volume: Volume, raw: bytes) -> GroupHigh:
    if not volume.sixty_four:
        return GroupHigh._make([0] * len(GroupHigh._fields))
    return GroupHigh._make(GROUP_HIGH.unpack_from(raw, GROUP.size))


def _packed(volume: Volume, number: int, halves: _Halves, old: bytes) -> bytes:
    """The descriptor with its checksum; what lies behind the known fields stays."""
    low, high = halves
    known = GROUP.pack(*low)
    if volume.sixty_four:
        known += GROUP_HIGH.pack(*high)
    raw = known + old[len(known) :]
    if not volume.group_checksums:
        return raw
    checksum = struct.pack("<H", descriptor_checksum(volume, number, raw))
    return raw[:_GROUP_CHECKSUM_AT] + checksum + raw[_GROUP_CHECKSUM_AT + 2 :]


def _bitmap(volume: Volume, used: int, count: int) -> bytes:
    """A bitmap of `count` bits as a block; all behind them is set (ext4_mark_bitmap_end)."""
    bits = 8 * volume.block_size
    return (used | (1 << bits) - (1 << count)).to_bytes(volume.block_size, "little")


class _GroupWriter:
    """Writes what a group says of itself."""

    def __init__(self, volume: Volume, groups: Groups, space: Space, target: Target) -> None:
        self.volume, self.groups, self.space, self.target = volume, groups, space, target

    def put(self, number: int, *, blocks: bool, inodes: bool) -> None:
        """Write the descriptor of group `number`, and those bitmaps that changed."""
        volume = self.volume
        block = descriptor_block(volume, number)
        at = number % (volume.block_size // volume.descriptor_size) * volume.descriptor_size
        data = volume.read(block, f"descriptor of group {number}")
        raw = data[at : at + volume.descriptor_size]
        halves = (GroupLow._make(GROUP.unpack_from(raw)), _high(volume, raw))
        if blocks:
            halves = self._blocks(number, *halves)
        if inodes:
            halves = self._inodes(number, *halves)
        raw = _packed(volume, number, halves, raw)
        self.target.write(block * volume.block_size + at, raw)

    def _blocks(self, number: int, low: GroupLow, high: GroupHigh) -> _Halves:
        volume = self.volume
        bitmap = _bitmap(volume, self.space.clusters[number], volume.clusters_in(number))
        self.target.put(self.groups[number].block_bitmap, bitmap)
        checksum = _checksum(volume, bitmap, volume.sb.clusters_per_group)
        free = self.space.free_clusters(number)
        low = low._replace(
            free_blocks_count_lo=free & 0xFFFF,
            block_bitmap_csum_lo=checksum & 0xFFFF,
            flags=low.flags & ~BLOCK_UNINIT,
        )
        return low, high._replace(
            free_blocks_count_hi=free >> 16, block_bitmap_csum_hi=checksum >> 16
        )

    def _inodes(self, number: int, low: GroupLow, high: GroupHigh) -> _Halves:
        volume, total = self.volume, self.volume.sb.inodes_per_group
        bitmap = _bitmap(volume, self.space.inodes[number], total)
        self.target.put(self.groups[number].inode_bitmap, bitmap)
        checksum = _checksum(volume, bitmap, total)
        free, unused = self.space.free_inodes(number), self.groups[number].unused_inodes
        if volume.group_checksums:
            unused = min(unused, total - self.space.inodes[number].bit_length())
        low = low._replace(
            free_inodes_count_lo=free & 0xFFFF,
            itable_unused_lo=unused & 0xFFFF,
            inode_bitmap_csum_lo=checksum & 0xFFFF,
            flags=low.flags & ~INODE_UNINIT,
        )
        return low, high._replace(
            free_inodes_count_hi=free >> 16,
            itable_unused_hi=unused >> 16,
            inode_bitmap_csum_hi=checksum >> 16,
        )


def _checksum(volume: Volume, bitmap: bytes, count: int) -> int:
    """What the descriptor says of a bitmap; 0 without the feature (ext4_*_bitmap_csum_set)."""
    if not volume.ro_compat(features.METADATA_CSUM):
        return 0
    return chain(volume.seed, bitmap[: count // 8])


def put_superblock(volume: Volume, space: Space, target: Target, errors: int = 0) -> None:
    """Write the superblock with the free counts of `space` and so many `errors` more noted; its
    backups stay as they are."""
    groups = range(volume.groups_count)
    blocks = volume.ratio * sum(space.free_clusters(group) for group in groups)
    sb: Superblock = volume.sb._replace(
        free_blocks_count_lo=blocks & ONES,
        free_inodes_count=sum(space.free_inodes(group) for group in groups),
        state=volume.sb.state | (_ERROR_FS if errors else 0),
        error_count=volume.sb.error_count + errors,
    )
    if volume.sixty_four:
        sb = sb._replace(free_blocks_count_hi=blocks >> 32)
    old = volume.source.read(_SUPERBLOCK_AT, _SUPERBLOCK_SIZE)
    raw = SUPERBLOCK.pack(*sb, 0)[:_RESERVED_AT] + old[_RESERVED_AT:]
    if volume.ro_compat(features.METADATA_CSUM):
        raw = raw[:-4] + struct.pack("<I", chain(ONES, raw[:-4]))
    target.write(_SUPERBLOCK_AT, raw)
