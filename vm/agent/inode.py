"""Raw inodes of a mounted ext4, read through the block device.

A buffered read of the block device shares its cache with the mounted file system, so
the answer is current as soon as `ext4_do_update_inode` has run. Layout:
`struct ext4_super_block`, `struct ext4_group_desc`, `struct ext4_inode` in
`fs/ext4/ext4.h`.
"""

from __future__ import annotations

import os
from struct import unpack_from

__all__ = ["InodeTable"]

INCOMPAT_META_BG, INCOMPAT_64BIT = 0x10, 0x80
RO_COMPAT_BIGALLOC = 0x200
SUPERBLOCK = 1024
MAGIC = 0xEF53


INODE_BYTES = 128
"""What every inode has, of whatever size: the old part (EXT2_GOOD_OLD_INODE_SIZE)."""


class InodeTable:
    """Where the inodes of the file system on `device` are; `block_size` is bytes.

    Raises `ValueError` if `device` holds no ext4, or one with meta_bg, whose group
    descriptors are elsewhere. `close` it before umount, or the device's cache outlives
    the mount.
    """

    def __init__(self, device: str) -> None:
        self._fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        try:
            self._read_superblock(device)
        except BaseException:
            self.close()
            raise

    def _read_superblock(self, device: str) -> None:
        raw = os.pread(self._fd, 1024, SUPERBLOCK)
        (magic,) = unpack_from("<H", raw, 0x38)
        if magic != MAGIC:
            raise ValueError(f"{device} holds no ext4: magic {magic:#x}")
        log_block, log_cluster = unpack_from("<II", raw, 0x18)
        (self._per_group,) = unpack_from("<I", raw, 0x28)
        (self._inode_size,) = unpack_from("<H", raw, 0x58)
        incompat, ro_compat = unpack_from("<II", raw, 0x60)
        (desc_size,) = unpack_from("<H", raw, 0xFE)
        if incompat & INCOMPAT_META_BG:
            raise ValueError("file systems with meta_bg are not supported")
        self.block_size: int = 1024 << log_block
        bigalloc = ro_compat & RO_COMPAT_BIGALLOC
        self.cluster_size: int = 1024 << log_cluster if bigalloc else self.block_size
        self._desc_size = desc_size if incompat & INCOMPAT_64BIT else 32
        self._tables: dict[int, int] = {}
        self._places: dict[int, int] = {}

    def _table(self, group: int) -> int:
        """The block at which the inode table of `group` begins."""
        if group not in self._tables:
            # The block after the superblock's, which is not s_first_data_block + 1 in a
            # bigalloc file system with 1024-byte blocks (descriptor_loc in super.c).
            first = SUPERBLOCK // self.block_size + 1
            start = first * self.block_size + group * self._desc_size
            raw = os.pread(self._fd, self._desc_size, start)
            (block,) = unpack_from("<I", raw, 8)
            if self._desc_size >= 64:
                block |= unpack_from("<I", raw, 0x28)[0] << 32
            self._tables[group] = block
        return self._tables[group]

    def read(self, number: int) -> bytes:
        """The first 128 bytes of the inode `number` as it is in the block device's cache now."""
        if number not in self._places:
            group, index = divmod(number - 1, self._per_group)
            self._places[number] = self._table(group) * self.block_size + index * self._inode_size
        return os.pread(self._fd, INODE_BYTES, self._places[number])

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)
