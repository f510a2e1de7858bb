"""Which blocks are in use, and by what: the counterpart of the block bitmaps.

Blocks that belong to the file system itself (superblocks, descriptors, bitmaps, inode
tables) have owner 0, all others the number of the inode that has them.
"""

from __future__ import annotations

from model.image import features
from model.image.groups import Groups, base_metadata
from model.image.volume import Volume

__all__ = ["METADATA", "Usage", "bit_ranges"]

METADATA = 0


def bit_ranges(bits: int) -> list[tuple[int, int]]:
    """The runs of ones in `bits`: (first, count)."""
    found = []
    at = 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        count = (~bits & (bits + 1)).bit_length() - 1
        found.append((at + skip, count))
        bits >>= count
        at += skip + count
    return found


class Usage:
    """Claims on blocks, gathered while an image is walked."""

    def __init__(self, volume: Volume, groups: Groups) -> None:
        self.volume, self.groups = volume, groups
        self._claims: list[tuple[int, int, int]] = []
        self._total = 0
        for group in range(volume.groups_count):
            for start, count in self.metadata(group):
                self.claim(start, count, METADATA)
        if volume.incompat(features.MMP):
            self.claim(volume.sb.mmp_block, 1, METADATA)

    def metadata(self, group: int) -> list[tuple[int, int]]:
        """Block ranges of `group`'s own structures, wherever they lie."""
        descriptor = self.groups[group]
        return [
            base_metadata(self.volume, group),
            (descriptor.block_bitmap, 1),
            (descriptor.inode_bitmap, 1),
            (descriptor.inode_table, self.volume.table_blocks),
        ]

    def claim(self, start: int, count: int, owner: int) -> None:
        """`owner` uses `count` blocks from `start` on.

        Raises `ImageError` once more blocks are claimed than there are: some are used
        twice, and work would grow without bound.
        """
        if not count:
            return
        self._claims.append((start, count, owner))
        self._total += count
        if self._total > self.volume.blocks_count and not self._shared:
            structure = "file system" if owner == METADATA else f"inode {owner}"
            raise self.volume.error(structure, "uses blocks that are in use already", start)

    @property
    def _shared(self) -> bool:
        return self.volume.ro_compat(features.SHARED_BLOCKS)

    def overlaps(self) -> list[tuple[int, int, int]]:
        """(block, owner, other owner) where two claims meet, or share a cluster."""
        found: list[tuple[int, int, int]] = []
        if self._shared:
            return found
        ratio, first = self.volume.ratio, self.volume.first_block
        end, cluster, owner = -1, -1, METADATA
        for start, count, by in sorted(self._claims):
            if start < end or ((start - first) // ratio == cluster and by != owner):
                found.append((start, owner, by))
            if start + count > end:
                end, owner = start + count, by
                cluster = (end - 1 - first) // ratio
        return found

    def bitmaps(self) -> dict[int, int]:
        """What each group's block bitmap should say, bit 0 its first cluster."""
        found: dict[int, int] = {}
        per_group = self.volume.sb.clusters_per_group
        for start, count, _ in self._claims:
            self._set(found, per_group, start, count)
        return found

    def _set(self, bitmaps: dict[int, int], per_group: int, start: int, count: int) -> None:
        ratio = self.volume.ratio
        offset = start - self.volume.first_block
        cluster, end = offset // ratio, (offset + count - 1) // ratio + 1
        while cluster < end:
            group, bit = divmod(cluster, per_group)
            length = min(end - cluster, per_group - bit)
            bitmaps[group] = bitmaps.get(group, 0) | ((1 << length) - 1) << bit
            cluster += length

    def initial_bitmap(self, group: int) -> int:
        """What the kernel takes for an uninitialised bitmap (ext4_init_block_bitmap)."""
        bitmaps: dict[int, int] = {}
        for start, count in self.metadata(group):
            if count:
                self._set(bitmaps, self.volume.sb.clusters_per_group, start, count)
        return bitmaps.get(group, 0)
