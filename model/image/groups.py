"""Group descriptors, bitmaps, and where each group's own structures lie."""

from __future__ import annotations

import struct

import msgspec

from model.image import features
from model.image.checksum import ONES, chain, crc16
from model.image.layout import GROUP, GROUP_HIGH, GroupHigh, GroupLow
from model.image.volume import Volume

__all__ = [
    "BLOCK_UNINIT", "INODE_UNINIT", "Group", "Groups", "base_metadata", "descriptor_block",
    "descriptor_checksum", "has_superblock",
]  # fmt: skip

INODE_UNINIT, BLOCK_UNINIT = 1, 2
_CHECKSUM_AT = 0x1E
_WITHOUT_HIGH = GroupHigh._make([0] * len(GroupHigh._fields))


class Group(msgspec.Struct, frozen=True):
    """One group descriptor: block numbers, counts (clusters, inodes), flags, checksums."""

    number: int
    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    free_clusters: int
    free_inodes: int
    used_dirs: int
    unused_inodes: int
    flags: int
    block_bitmap_checksum: int
    inode_bitmap_checksum: int


def _power_of(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def has_superblock(volume: Volume, group: int) -> bool:
    """Whether `group` starts with a superblock or its backup (ext4_bg_has_super)."""
    if group == 0:
        return True
    if volume.compat(features.SPARSE_SUPER2):
        return group in (volume.sb.backup_bg_first, volume.sb.backup_bg_second)
    if group <= 1 or not volume.ro_compat(features.SPARSE_SUPER):
        return True
    return any(_power_of(group, base) for base in (3, 5, 7))


def _per_block(volume: Volume) -> int:
    return volume.block_size // volume.descriptor_size


def _in_meta_group(volume: Volume, group: int) -> bool:
    if not volume.incompat(features.META_BG):
        return False
    return group // _per_block(volume) >= volume.sb.first_meta_bg


def _shift(volume: Volume, group: int) -> int:
    """With 1 KiB blocks and bigalloc, group 0 starts a block before the superblock."""
    return volume.superblock_block - volume.first_block if group == 0 else 0


def descriptor_block(volume: Volume, group: int) -> int:
    """The block with `group`'s descriptor (ext4's descriptor_loc)."""
    number = group // _per_block(volume)
    if not _in_meta_group(volume, group):
        return volume.superblock_block + 1 + number
    first = number * _per_block(volume)
    before = has_superblock(volume, first) + _shift(volume, first)
    return volume.group_start(first) + before


def base_metadata(volume: Volume, group: int) -> tuple[int, int]:
    """First block and count of what `group` starts with: superblock, descriptors, reserve.

    Follows ext4_num_base_meta_blocks. Block 0 counts where the superblock is in block 1.
    """
    start = volume.group_start(group)
    count = int(has_superblock(volume, group))
    if not _in_meta_group(volume, group):
        if count:
            blocks = -(-volume.groups_count // _per_block(volume))
            if volume.incompat(features.META_BG):
                blocks = min(blocks, volume.sb.first_meta_bg)
            count += blocks + volume.sb.reserved_gdt_blocks
    elif group % _per_block(volume) in (0, 1, _per_block(volume) - 1):
        count += 1
    return start, min(count + _shift(volume, group) if count else 0, volume.group_blocks(group))


def descriptor_checksum(volume: Volume, group: int, raw: bytes) -> int:
    """What `raw` (one descriptor) should carry as checksum (ext4_group_desc_csum)."""
    number = struct.pack("<I", group)
    if volume.ro_compat(features.METADATA_CSUM):
        parts = number + raw[:_CHECKSUM_AT] + b"\0\0" + raw[_CHECKSUM_AT + 2 :]
        return chain(volume.seed, parts) & 0xFFFF
    after = raw[_CHECKSUM_AT + 2 :] if volume.sixty_four else b""
    return crc16(0xFFFF, volume.sb.uuid + number + raw[:_CHECKSUM_AT] + after)


class Groups:
    """The groups of a volume, each read when it is first asked for."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._groups: dict[int, Group] = {}

    def __getitem__(self, number: int) -> Group:
        """The descriptor of group `number`, checked."""
        group = self._groups.get(number)
        if group is None:
            self._read_block(number)
            group = self._groups[number]
        return group

    def _read_block(self, number: int) -> None:
        """Read all descriptors that share a block with `number`'s."""
        volume = self.volume
        block = descriptor_block(volume, number)
        table = volume.read(block, f"descriptor of group {number}")
        first = number - number % _per_block(volume)
        size = volume.descriptor_size
        for index in range(min(_per_block(volume), volume.groups_count - first)):
            raw = table[index * size : (index + 1) * size]
            self._groups[first + index] = self._parse(first + index, raw, block)

    def _parse(self, number: int, raw: bytes, block: int) -> Group:
        volume = self.volume
        low = GroupLow._make(GROUP.unpack_from(raw))
        structure = f"descriptor of group {number}"
        if volume.verify_groups and descriptor_checksum(volume, number, raw) != low.checksum:
            raise volume.error(structure, "wrong checksum", block)
        high = _WITHOUT_HIGH
        if volume.sixty_four:
            high = GroupHigh._make(GROUP_HIGH.unpack_from(raw, GROUP.size))
        group = Group(
            number=number,
            block_bitmap=low.block_bitmap_lo | high.block_bitmap_hi << 32,
            inode_bitmap=low.inode_bitmap_lo | high.inode_bitmap_hi << 32,
            inode_table=low.inode_table_lo | high.inode_table_hi << 32,
            free_clusters=low.free_blocks_count_lo | high.free_blocks_count_hi << 16,
            free_inodes=low.free_inodes_count_lo | high.free_inodes_count_hi << 16,
            used_dirs=low.used_dirs_count_lo | high.used_dirs_count_hi << 16,
            unused_inodes=low.itable_unused_lo | high.itable_unused_hi << 16,
            flags=low.flags if volume.group_checksums else 0,
            block_bitmap_checksum=low.block_bitmap_csum_lo | high.block_bitmap_csum_hi << 16,
            inode_bitmap_checksum=low.inode_bitmap_csum_lo | high.inode_bitmap_csum_hi << 16,
        )
        self._check(group, block)
        return group

    def _check(self, group: Group, block: int) -> None:
        volume = self.volume
        structure = f"descriptor of group {group.number}"
        for what, start, count in (
            ("block bitmap", group.block_bitmap, 1),
            ("inode bitmap", group.inode_bitmap, 1),
            ("inode table", group.inode_table, volume.table_blocks),
        ):
            if not volume.valid(start, count):
                raise volume.error(structure, f"{what} at block {start} is outside", block)
        per_group = volume.sb.inodes_per_group
        if max(group.free_inodes, group.unused_inodes, group.used_dirs) > per_group:
            raise volume.error(structure, f"counts more than {per_group} inodes", block)

    def block_bitmap(self, number: int) -> bytes | None:
        """The block bitmap (a bit a cluster), verified; None if it is not initialised."""
        group = self[number]
        if group.flags & BLOCK_UNINIT:
            return None
        length = self.volume.sb.clusters_per_group // 8
        return self._bitmap(
            group.block_bitmap,
            length,
            group.block_bitmap_checksum,
            f"block bitmap of group {number}",
        )

    def inode_bitmap(self, number: int) -> bytes | None:
        """The inode bitmap, verified; None if it is not initialised (no inode in use)."""
        group = self[number]
        if group.flags & INODE_UNINIT:
            return None
        length = self.volume.sb.inodes_per_group // 8
        return self._bitmap(
            group.inode_bitmap,
            length,
            group.inode_bitmap_checksum,
            f"inode bitmap of group {number}",
        )

    def _bitmap(self, block: int, length: int, checksum: int, structure: str) -> bytes:
        bitmap = self.volume.read(block, structure)
        mask = ONES if self.volume.descriptor_size >= 64 else 0xFFFF
        computed = chain(self.volume.seed, bitmap[:length]) if self.volume.verify else 0
        self.volume.check(computed & mask == checksum & mask, structure, block)
        return bitmap
