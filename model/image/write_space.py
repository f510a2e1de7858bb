"""Clusters and inodes that are in use, and free ones for what has no place yet."""

from __future__ import annotations

from collections.abc import Iterator

from model.image.groups import Groups
from model.image.usage import Usage
from model.image.volume import Volume

__all__ = ["Space"]

_ROOM = "free space"


class Space:
    """The bitmaps of all groups, bit 0 the first cluster or inode of the group.

    `owners` says what each cluster taken here is for: with bigalloc, several extents of a
    file may share one, if it is the same part of the file.
    """

    def __init__(self, volume: Volume, groups: Groups) -> None:
        self.volume = volume
        self.clusters = _block_bitmaps(volume, groups)
        self.inodes = _inode_bitmaps(volume, groups)
        self.owners: dict[int, tuple[str, int]] = {}

    # --- clusters ---------------------------------------------------------------------

    def cluster_of(self, block: int) -> int:
        """The cluster that holds `block`, counted through all groups."""
        return (block - self.volume.first_block) // self.volume.ratio

    def first_block_of(self, cluster: int) -> int:
        """The first block of `cluster`."""
        return cluster * self.volume.ratio + self.volume.first_block

    def take(self, block: int, count: int, name: str, part: int) -> bool:
        """Take `count` clusters from that of `block` on for the file `name`, of which they are
        the clusters from `part` on; False, and none is taken, if one is not free, nor the same
        part's already."""
        first = self.cluster_of(block)
        owners = {first + number: (name, part + number) for number in range(count)}
        pieces = list(self._pieces(first, count))
        for group, bit, length in pieces:
            used = self.clusters[group] >> bit & (1 << length) - 1
            start = group * self.volume.sb.clusters_per_group + bit
            while used:
                cluster = start + (used & -used).bit_length() - 1
                if self.owners.get(cluster) != owners[cluster]:
                    return False
                used &= used - 1
        for group, bit, length in pieces:
            self.clusters[group] |= (1 << length) - 1 << bit
        self.owners.update(owners)
        return True

    def _pieces(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Group, bit and number of the clusters of each group among `count` from `first` on."""
        while count > 0:
            group, bit = divmod(first, self.volume.sb.clusters_per_group)
            length = min(count, self.volume.sb.clusters_per_group - bit)
            yield group, bit, length
            first, count = first + length, count - length

    def release(self, start: int, count: int) -> None:
        """Mark the clusters of `count` blocks from `start` on as free."""
        for cluster in range(self.cluster_of(start), self.cluster_of(start + count - 1) + 1):
            group, bit = divmod(cluster, self.volume.sb.clusters_per_group)
            self.clusters[group] &= ~(1 << bit)

    def find(self, name: str, parts: list[int]) -> list[int]:
        """Take free clusters for `parts` of the file `name`, in one piece if that is possible.

        Raises `ImageError` if there are not enough.
        """
        found = self._run(len(parts)) or [self._run(1)[0] for _ in parts]
        for part, cluster in zip(parts, found, strict=True):
            self.owners[cluster] = (name, part)
        return found

    def _run(self, count: int) -> list[int]:
        """Mark the first `count` free clusters that follow each other in a group; none if
        there is no such place. Raises `ImageError` if not even one is free."""
        if count == 0:
            return []
        for group, used in enumerate(self.clusters):
            bit = _first_run(~used & (1 << self.volume.clusters_in(group)) - 1, count)
            if bit >= 0:
                self.clusters[group] |= (1 << count) - 1 << bit
                first = group * self.volume.sb.clusters_per_group + bit
                return list(range(first, first + count))
        if count == 1:
            raise self.volume.error(_ROOM, "no cluster is free")
        return []

    def free_clusters(self, group: int) -> int:
        """Clusters of `group` that are free."""
        return self.volume.clusters_in(group) - self.clusters[group].bit_count()

    # --- inodes -----------------------------------------------------------------------

    def new_inode(self) -> int:
        """Take the lowest free inode number that files may have (ext4_new_inode)."""
        per_group = self.volume.sb.inodes_per_group
        for group, taken in enumerate(self.inodes):
            kept = (1 << self.volume.first_inode - 1) - 1 if group == 0 else 0
            used = taken | kept
            bit = (~used & (used + 1)).bit_length() - 1
            if bit < per_group:
                self.inodes[group] |= 1 << bit
                return group * per_group + bit + 1
        raise self.volume.error(_ROOM, "no inode is free")

    def release_inode(self, number: int) -> None:
        """Mark inode `number` as free."""
        group, index = divmod(number - 1, self.volume.sb.inodes_per_group)
        self.inodes[group] &= ~(1 << index)

    def free_inodes(self, group: int) -> int:
        """Inodes of `group` that are free."""
        return self.volume.sb.inodes_per_group - self.inodes[group].bit_count()


def _first_run(free: int, count: int) -> int:
    """The first bit of `count` ones in a row in `free`, -1 if there are none."""
    have = 1
    while have < count and free:
        step = min(have, count - have)
        free &= free >> step
        have += step
    return (free & -free).bit_length() - 1


def _block_bitmaps(volume: Volume, groups: Groups) -> list[int]:
    usage = Usage(volume, groups)
    found = []
    for group in range(volume.groups_count):
        bitmap = groups.block_bitmap(group)
        if bitmap is None:
            used = usage.initial_bitmap(group)
        else:
            used = int.from_bytes(bitmap, "little") & (1 << volume.clusters_in(group)) - 1
        found.append(used)
    return found


def _inode_bitmaps(volume: Volume, groups: Groups) -> list[int]:
    ones = (1 << volume.sb.inodes_per_group) - 1
    bitmaps = (groups.inode_bitmap(group) for group in range(volume.groups_count))
    return [int.from_bytes(bitmap or b"", "little") & ones for bitmap in bitmaps]
