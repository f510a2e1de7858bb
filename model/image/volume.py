"""A file system's superblock and blocks: what every other structure is read with."""

from __future__ import annotations

import shlex
from functools import cached_property

from model.image import features
from model.image.checksum import ONES, chain
from model.image.errors import ImageError
from model.image.layout import SUPERBLOCK, Superblock
from model.image.source import Source

__all__ = ["MAGIC", "SECTOR", "Volume"]

MAGIC = 0xEF53
SECTOR = 512
_OFFSET = 1024
_LENGTH = 1024
_CHECKSUM_AT = 0x3FC
_LOG_LIMIT = 6  # blocks of 64 KiB
_LOG_CLUSTER_LIMIT = 20
_OLD_INODE_SIZE = 128
_OLD_FIRST_INODE = 11
_OLD_DESCRIPTOR = 32
_CRC32C = 1
_PACKED = {b"\x1f\x8b": "gzip -dc", b"\xfd7zXZ\0": "xz -dc", b"\x28\xb5\x2f\xfd": "zstd -dc"}
"""How packed files begin, and what unpacks them: artifacts keep images as .img.gz."""


class Volume:
    """An opened image: its superblock, checked, and its blocks.

    Follows ext4_fill_super and ext4_check_geometry. Raises `ImageError` if the file holds
    no ext4, is shorter than the superblock says, or uses a feature that is not read.
    `verify` is false to read on past wrong checksums.
    """

    def __init__(self, source: Source, *, verify: bool = True) -> None:
        self.source = source
        self.sb, checksum, raw = self._read_superblock()
        sb = self.sb
        self.verify = verify and bool(sb.feature_ro_compat & features.METADATA_CSUM)
        self.verify_hashes = verify  # which need no feature
        self.verify_groups = verify and self.group_checksums
        if self.verify:
            self._check_checksum(raw, checksum)
        self._refuse_features()
        self.block_size = self._block_size()
        self.ratio = self._ratio()
        self.blocks_count = sb.blocks_count_lo
        self.free_blocks = sb.free_blocks_count_lo
        self.reserved_blocks = sb.r_blocks_count_lo
        if self.sixty_four:
            self.blocks_count |= sb.blocks_count_hi << 32
            self.free_blocks |= sb.free_blocks_count_hi << 32
            self.reserved_blocks |= sb.r_blocks_count_hi << 32
        self.inode_size = sb.inode_size if sb.rev_level else _OLD_INODE_SIZE
        self.first_inode = sb.first_ino if sb.rev_level else _OLD_FIRST_INODE
        self.descriptor_size = (sb.desc_size or 64) if self.sixty_four else _OLD_DESCRIPTOR
        self._check_sizes()
        self._check_counts()
        self.groups_count = self._groups_count()

    # --- features ---------------------------------------------------------------------

    def compat(self, flag: int) -> bool:
        """Whether a compatible feature is on."""
        return bool(self.sb.feature_compat & flag)

    def incompat(self, flag: int) -> bool:
        """Whether an incompatible feature is on."""
        return bool(self.sb.feature_incompat & flag)

    def ro_compat(self, flag: int) -> bool:
        """Whether a read-only compatible feature is on."""
        return bool(self.sb.feature_ro_compat & flag)

    @property
    def sixty_four(self) -> bool:
        """Whether block numbers have 64 bits."""
        return self.incompat(features.SIXTY_FOUR)

    @property
    def group_checksums(self) -> bool:
        """Whether group descriptors carry checksums, and so the uninit flags count."""
        return self.ro_compat(features.METADATA_CSUM | features.GDT_CSUM)

    @cached_property
    def seed(self) -> int:
        """What metadata checksums start from (s_csum_seed)."""
        if self.incompat(features.CSUM_SEED):
            return self.sb.checksum_seed
        return chain(ONES, self.sb.uuid)

    # --- sizes ------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """How messages call the image."""
        return self.source.name

    @property
    def first_block(self) -> int:
        """The first block of group 0 (s_first_data_block)."""
        return self.sb.first_data_block

    @property
    def superblock_block(self) -> int:
        """The block that holds the superblock."""
        return _OFFSET // self.block_size

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return self.block_size * self.ratio

    @property
    def sectors_per_cluster(self) -> int:
        """512-byte sectors of a cluster."""
        return self.cluster_size // SECTOR

    @property
    def table_blocks(self) -> int:
        """Blocks of one group's inode table."""
        return -(-self.sb.inodes_per_group * self.inode_size // self.block_size)

    def group_start(self, group: int) -> int:
        """First block of `group`."""
        return self.first_block + group * self.sb.blocks_per_group

    def group_blocks(self, group: int) -> int:
        """Blocks of `group`; the last one may be shorter."""
        return min(self.sb.blocks_per_group, self.blocks_count - self.group_start(group))

    def clusters_in(self, group: int) -> int:
        """Clusters of `group`."""
        return -(-self.group_blocks(group) // self.ratio)

    # --- blocks -----------------------------------------------------------------------

    def error(self, structure: str, reason: str, block: int | None = None) -> ImageError:
        """An `ImageError` about this image."""
        return ImageError(self.name, structure, reason, block)

    def valid(self, block: int, count: int = 1) -> bool:
        """Whether blocks can belong to a file or a structure: inside, past the superblock."""
        return self.superblock_block < block and block + count <= self.blocks_count

    def read(self, block: int, structure: str, count: int = 1) -> bytes:
        """`count` blocks from `block` on; `structure` names them in errors."""
        if not self.valid(block, count):
            raise self.error(
                structure, f"outside the file system's {self.blocks_count} blocks", block
            )
        size = count * self.block_size
        data = self.source.read(block * self.block_size, size)
        if len(data) != size:
            raise self.error(structure, "the file ends inside it", block)
        return data

    def check(self, good: bool, structure: str, block: int | None = None) -> None:
        """Raise `ImageError` about a wrong checksum unless it is `good` or not verified."""
        if not good and self.verify:
            raise self.error(structure, "wrong checksum", block)

    # --- the superblock's own checks --------------------------------------------------

    def _read_superblock(self) -> tuple[Superblock, int, bytes]:
        raw = self.source.read(_OFFSET, _LENGTH)
        if len(raw) < _LENGTH:
            raise self._no_ext4(f"the file ends inside it: {self.source.size} bytes")
        *fields, checksum = SUPERBLOCK.unpack(raw)
        sb = Superblock._make(fields)
        if sb.magic != MAGIC:
            raise self._no_ext4("holds no ext4 file system (wrong magic)")
        return sb, checksum, raw

    def _no_ext4(self, reason: str) -> ImageError:
        """`reason` why this is no image; of a packed one, how it is unpacked."""
        start = self.source.read(0, max(map(len, _PACKED)))
        for magic, unpack in _PACKED.items():
            if start.startswith(magic):
                pipe = f"{unpack} {shlex.quote(self.source.name)} | cp --sparse=always /dev/stdin"
                reason = f"is packed; unpack it first: {pipe} disk.img"
                return ImageError(self.source.name, "file", reason)
        return self._bad(reason)

    def _bad(self, reason: str) -> ImageError:
        return ImageError(self.source.name, "superblock", reason)

    def _check_checksum(self, raw: bytes, checksum: int) -> None:
        if self.sb.checksum_type != _CRC32C:
            raise self._bad(f"checksum type {self.sb.checksum_type} is not known")
        if chain(ONES, raw[:_CHECKSUM_AT]) != checksum:
            raise self._bad("wrong checksum")

    def _refuse_features(self) -> None:
        if self.sb.rev_level > 1:
            raise self._bad(f"revision {self.sb.rev_level} is not known")
        names = features.unreadable(self.sb.feature_incompat, self.sb.feature_ro_compat)
        if names:
            raise self._bad(f"feature not read: {', '.join(names)}")

    def _block_size(self) -> int:
        if self.sb.log_block_size > _LOG_LIMIT:
            raise self._bad(f"block size 1024 << {self.sb.log_block_size} is too large")
        return 1024 << self.sb.log_block_size

    def _ratio(self) -> int:
        sb = self.sb
        if not self.ro_compat(features.BIGALLOC):
            if sb.clusters_per_group != sb.blocks_per_group:
                raise self._bad("clusters and blocks per group differ without bigalloc")
            return 1
        if not sb.log_block_size <= sb.log_cluster_size <= _LOG_CLUSTER_LIMIT:
            raise self._bad(f"cluster size 1024 << {sb.log_cluster_size} cannot be")
        ratio = 1 << (sb.log_cluster_size - sb.log_block_size)
        if sb.blocks_per_group != sb.clusters_per_group * ratio:
            raise self._bad(f"{sb.blocks_per_group} blocks per group are not whole clusters")
        return ratio

    def _check_sizes(self) -> None:
        sb, size = self.sb, self.inode_size
        if size < _OLD_INODE_SIZE or size > self.block_size or size & (size - 1):
            raise self._bad(f"inode size {size} cannot be")
        smallest = 64 if self.sixty_four else _OLD_DESCRIPTOR
        size = self.descriptor_size
        if not smallest <= size <= 1024 or size & (size - 1):
            raise self._bad(f"group descriptor size {size} cannot be")
        bits = 8 * self.block_size
        if not 0 < sb.inodes_per_group <= bits or sb.inodes_per_group % 8:
            raise self._bad(f"{sb.inodes_per_group} inodes per group cannot be")
        if not 0 < sb.clusters_per_group <= bits or sb.clusters_per_group % 8:
            raise self._bad(f"{sb.clusters_per_group} clusters per group cannot be")
        if sb.reserved_gdt_blocks > self.block_size // 4:
            raise self._bad(f"{sb.reserved_gdt_blocks} reserved descriptor blocks cannot be")
        if sb.first_data_block != (1 if self.block_size == 1024 and self.ratio == 1 else 0):
            raise self._bad(f"first data block {sb.first_data_block} cannot be")

    def _check_counts(self) -> None:
        if self.blocks_count * self.block_size > self.source.size:
            raise self._bad(
                f"{self.blocks_count} blocks of {self.block_size} bytes do not fit the file's"
                f" {self.source.size} bytes: it is cut"
            )
        if self.blocks_count <= self.superblock_block + 1:
            raise self._bad(f"{self.blocks_count} blocks are too few")

    def _groups_count(self) -> int:
        sb = self.sb
        groups = -(-(self.blocks_count - sb.first_data_block) // sb.blocks_per_group)
        if sb.inodes_count != groups * sb.inodes_per_group:
            raise self._bad(
                f"{sb.inodes_count} inodes are not {groups} groups of {sb.inodes_per_group}"
            )
        if not 0 < self.first_inode <= sb.inodes_count:
            raise self._bad(f"first inode {self.first_inode} cannot be")
        return groups
