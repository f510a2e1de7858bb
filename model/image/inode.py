"""Inodes: the record in the inode table, checked, its halves joined."""

from __future__ import annotations

import stat
import struct

import msgspec

from model.image import features
from model.image.checksum import chain
from model.image.groups import Groups
from model.image.layout import EXTRA, INODE, ExtraInode, RawInode
from model.image.volume import SECTOR, Volume

__all__ = [
    "BAD_BLOCKS", "CASEFOLD_FL", "EA_INODE_FL", "EXTENTS_FL", "HUGE_FILE_FL", "INDEX_FL",
    "INLINE_DATA_FL", "ROOT", "VERITY_FL", "Inode", "InodeTable", "inode_checksum",
]  # fmt: skip

BAD_BLOCKS, ROOT = 1, 2
INDEX_FL, HUGE_FILE_FL, EXTENTS_FL, VERITY_FL = 0x1000, 0x40000, 0x80000, 0x100000
EA_INODE_FL, INLINE_DATA_FL, CASEFOLD_FL = 0x200000, 0x10000000, 0x40000000

_OLD_SIZE = 128
_CHECKSUM_LO, _CHECKSUM_HI = 0x7C, 0x82
_CHECKSUM_HI_END = 4  # of extra_isize
_PROJECT_END = 32  # of extra_isize
_TYPES = (
    stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO,
    stat.S_IFSOCK,
)  # fmt: skip
_CACHED = 1024  # blocks of inode tables
_WITHOUT_EXTRA = ExtraInode._make([0] * len(ExtraInode._fields))


class Inode(msgspec.Struct, frozen=True):
    """One inode. `size` is bytes, `blocks` 512-byte sectors, `xattr_block` a block number.

    `seed` is what the checksums of its directory and extent blocks start from; `raw` the
    whole record, `record` and `extra` its fields as they lie on disk.
    """

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    blocks: int
    flags: int
    xattr_block: int
    project: int
    seed: int
    record: RawInode
    extra: ExtraInode
    raw: bytes

    @property
    def type(self) -> int:
        """The type bits of the mode, as `stat.S_IFREG`."""
        return stat.S_IFMT(self.mode)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.type == stat.S_IFDIR

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return self.type == stat.S_IFREG

    @property
    def is_inline(self) -> bool:
        """Whether its content lies in the inode."""
        return bool(self.flags & INLINE_DATA_FL)

    @property
    def is_fast_symlink(self) -> bool:
        """Whether it is a symbolic link whose target lies in the inode's block numbers."""
        if self.type != stat.S_IFLNK or self.flags & (INLINE_DATA_FL | EXTENTS_FL):
            return False
        return self.size < len(self.record.block)

    @property
    def has_blocks(self) -> bool:
        """Whether its block field maps blocks."""
        if self.is_inline or self.is_fast_symlink:
            return False
        return self.type in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)

    @property
    def structure(self) -> str:
        """How errors call it."""
        return f"inode {self.number}"


def _sectors(volume: Volume, record: RawInode) -> int:
    """ext4_inode_blocks."""
    if not volume.ro_compat(features.HUGE_FILE):
        return record.blocks_lo
    count = record.blocks_lo | record.blocks_high << 32
    return count * (volume.block_size // SECTOR) if record.flags & HUGE_FILE_FL else count


def _largest(volume: Volume, inode: Inode) -> int:
    """Bytes that a file may have (ext4_max_size, ext4_max_bitmap_size)."""
    if inode.flags & EXTENTS_FL or not inode.has_blocks:
        return volume.block_size << 32
    per_block = volume.block_size // 4
    return (12 + per_block + per_block**2 + per_block**3) * volume.block_size


def inode_checksum(seed: int, raw: bytes, extra_isize: int) -> int:
    """What the record `raw` should carry (ext4_inode_csum); `seed` as `Inode.seed`."""
    parts = raw[:_CHECKSUM_LO] + b"\0\0" + raw[_CHECKSUM_LO + 2 : _OLD_SIZE]
    if len(raw) > _OLD_SIZE:
        high = raw[_CHECKSUM_HI : _CHECKSUM_HI + 2]
        if extra_isize >= _CHECKSUM_HI_END:
            high = b"\0\0"
        parts += raw[_OLD_SIZE:_CHECKSUM_HI] + high + raw[_CHECKSUM_HI + 2 :]
    return chain(seed, parts)


class InodeTable:
    """Inodes by number."""

    def __init__(self, volume: Volume, groups: Groups) -> None:
        self.volume, self.groups = volume, groups
        self._blocks: dict[int, bytes] = {}

    def offset(self, number: int) -> int:
        """The byte of the image where the record of inode `number` begins
        (ext4_get_inode_loc)."""
        volume = self.volume
        group, index = divmod(number - 1, volume.sb.inodes_per_group)
        return self.groups[group].inode_table * volume.block_size + index * volume.inode_size

    def raw(self, number: int) -> tuple[bytes, int]:
        """The record of inode `number` and the block that holds it."""
        volume = self.volume
        if not 0 < number <= volume.sb.inodes_count:
            raise volume.error(f"inode {number}", f"there are {volume.sb.inodes_count} inodes")
        group, index = divmod(number - 1, volume.sb.inodes_per_group)
        offset = index * volume.inode_size
        block = self.groups[group].inode_table + offset // volume.block_size
        data = self._blocks.get(block)
        if data is None:
            if len(self._blocks) >= _CACHED:
                self._blocks.clear()
            data = self._blocks[block] = volume.read(block, f"inode table of group {group}")
        start = offset % volume.block_size
        return data[start : start + volume.inode_size], block

    def __getitem__(self, number: int) -> Inode:
        """Inode `number`, its checksum verified (__ext4_iget)."""
        volume = self.volume
        raw, block = self.raw(number)
        record = RawInode._make(INODE.unpack_from(raw))
        extra = _WITHOUT_EXTRA
        if len(raw) > _OLD_SIZE:
            extra = ExtraInode._make(EXTRA.unpack_from(raw, _OLD_SIZE))
        seed = chain(volume.seed, struct.pack("<II", number, record.generation))
        if volume.verify:
            self._verify(number, block, raw, extra, seed)
        if stat.S_IFMT(record.mode) not in _TYPES and number != BAD_BLOCKS:
            reason = "is not in use" if not record.mode else f"has no type (mode {record.mode:o})"
            raise volume.error(f"inode {number}", reason, block)
        size = extra.extra_isize
        if size % 4 or (size and size > len(raw) - _OLD_SIZE):
            raise volume.error(f"inode {number}", f"{size} extra bytes cannot be", block)
        inode = self._joined(number, raw, record, extra, seed)
        if inode.size > _largest(volume, inode):
            raise volume.error(f"inode {number}", f"{inode.size} bytes are too many", block)
        return inode

    def _verify(self, number: int, block: int, raw: bytes, extra: ExtraInode, seed: int) -> None:
        computed = inode_checksum(seed, raw, extra.extra_isize)
        good = computed & 0xFFFF == int.from_bytes(raw[_CHECKSUM_LO : _CHECKSUM_LO + 2], "little")
        if good and extra.extra_isize >= _CHECKSUM_HI_END:
            good = computed >> 16 == extra.checksum_hi
        self.volume.check(good, f"inode {number}", block)

    def _joined(
        self, number: int, raw: bytes, record: RawInode, extra: ExtraInode, seed: int
    ) -> Inode:
        volume = self.volume
        size = record.size_lo
        if stat.S_ISREG(record.mode) or volume.incompat(features.LARGE_DIR):
            size |= record.size_high << 32
        xattr_block = record.file_acl_lo
        if volume.sixty_four:
            xattr_block |= record.file_acl_high << 32
        return Inode(
            number=number, mode=record.mode, uid=record.uid | record.uid_high << 16,
            gid=record.gid | record.gid_high << 16, size=size, links=record.links_count,
            blocks=_sectors(volume, record), flags=record.flags, xattr_block=xattr_block,
            project=extra.projid if extra.extra_isize >= _PROJECT_END else 0,
            seed=seed, record=record, extra=extra, raw=raw,
        )  # fmt: skip
