"""User quota: what each owner's files use, and the hard limit on it (fs/quota/dquot.c).

Usage and reservations of an owner are what st_blocks of its files adds up to, so nothing
is counted twice here; but for a known bug that lets i_blocks pass 0, where quota stops.
Limits bind whoever lacks CAP_SYS_RESOURCE; the writer's capability decides, the file's owner is
charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import NotModelledError
from model.errors import OpError
from model.quota_warnings import QuotaWarnings
from model.units import SECTOR, ceil_div

if TYPE_CHECKING:
    from model.inode import Inode
    from model.superblock import Superblock

__all__ = ["Quota"]

KIB = 1024
MAX_LIMIT = (1 << 63) - 1
"""Bytes of the largest limit (dqi_max_spc_limit of the v2r1 format)."""
DIRECT_BLOCKS = 12
LOST_FOUND = 16384
"""Bytes of lost+found, unless that takes more blocks than have direct pointers."""
TREE_DEPTH = 5
_ENTRIES_HEADER, _ENTRY = 16, 72
"""Bytes in a block of entries (qt_disk_dqdbheader, v2r1_disk_dqblk)."""


class QuotaFile:
    """The file with the limits: a tree of 1 KiB blocks by the four bytes of the uid, and
    entries of 72 bytes (fs/quota/quota_tree.c). Entries that are given up leave it as long
    as it is. `length` is in blocks, of which `ratio` make a cluster.
    """

    def __init__(self, block_size: int, ratio: int) -> None:
        self.block_size, self.ratio = block_size, ratio
        self.uids: set[int] = set()
        self.length = 0

    def enter(self, uid: int) -> int:
        """Make an entry for `uid`; returns how many clusters the file grows by."""
        self.uids.add(uid)
        tree = sum(len({known >> shift for known in self.uids}) for shift in (32, 24, 16, 8))
        entries = ceil_div(len(self.uids), (KIB - _ENTRIES_HEADER) // _ENTRY)
        needed = ceil_div((1 + tree + entries) * KIB, self.block_size)
        before, self.length = self.length, max(needed, self.length)
        return ceil_div(self.length, self.ratio) - ceil_div(before, self.ratio)

    def reload(self, uids: set[int], length: int) -> None:
        """The file as it lies on disk: `length` blocks with entries for `uids`, and room for
        those that were given up."""
        self.uids, self.length = set(uids), length


class Quota:
    """Hard block limits by uid; `files` are all files of the file system. After
    last_cluster_taken_for_mapped usage may be `apart` from what these have, by so many bytes."""

    def __init__(self, sb: Superblock, files: dict[str, Inode]) -> None:
        self.sb, self.files = sb, files
        self.tracked = "quota" in sb.config.image.features
        self.limits: dict[int, int] = {}
        self.apart: dict[int, int] = {}
        self.file = QuotaFile(sb.block_size, sb.ratio)
        if self.tracked:
            self.file.enter(0)
        self.warnings = QuotaWarnings(self)

    @property
    def enforced(self) -> bool:
        """Usage is tracked with the feature alone, limits need the mount option
        (ext4_enable_quotas)."""
        return self.tracked and bool({"usrquota", "quota"} & self.sb.options)

    def set_limit(self, uid: int, hard: int) -> None:
        """Hard limit of `uid` in KiB, 0 for none (do_set_dqblk). Raises `OpError`."""
        self.warnings.awaited = True
        if not self.tracked:
            raise OpError("ESRCH")
        if not 0 <= hard * KIB <= MAX_LIMIT:
            raise OpError("ERANGE")
        self.limits[uid] = hard * KIB
        self.warnings.forget(uid)
        self.enter(uid)

    def enter(self, uid: int) -> None:
        """`uid` gets an entry in the quota file, which may need a cluster (dquot_acquire)."""
        if self.tracked:
            self.sb.free.add(-self.file.enter(uid))

    def usage(self, uid: int) -> int:
        """Bytes that the files of `uid` have, reserved ones included."""
        reserved = (f.sectors - f.i_blocks for f in self.files.values() if f.uid == uid)
        return self._allocated(uid) + sum(reserved) * SECTOR

    def _allocated(self, uid: int) -> int:
        """The same without reserved ones (dqb_curspace)."""
        used = sum(inode.i_blocks for inode in self.files.values() if inode.uid == uid) * SECTOR
        if uid == 0:
            size, cluster = self.sb.block_size, self.sb.block_size * self.sb.ratio
            used += cluster + ceil_div(min(LOST_FOUND, DIRECT_BLOCKS * size), cluster) * cluster
        return used + self.apart.get(uid, 0)

    def freed(self, uid: int) -> None:
        """Space of `uid` has been given back, or a file to another owner: more than was charged
        leaves nothing, not less (dquot_decr_space)."""
        below = min(self._allocated(uid), 0)
        if below:
            self.sb.rule("quota stays above 0: dquot_decr_space")
            self.part(uid, -below)

    def part(self, uid: int, space: int) -> None:
        """The usage of `uid` is `space` bytes more than its files have, beside what it was before:
        where i_blocks has changed, or gone, and quota was not told."""
        if space and self.tracked:
            self.apart[uid] = self.apart.get(uid, 0) + space

    def binds(self, inode: Inode) -> bool:
        """Whether there is a limit to what `inode` may get now."""
        return bool(self.limits.get(inode.uid)) and not self.sb.root and self.enforced

    def room(self, inode: Inode, want: int) -> int | None:
        """Clusters that the owner of `inode` may still get, None if no limit binds.

        `want` is what is asked for: only an answer that it depends on must be certain.
        Raises `NotModelledError` where tree blocks of unknown number decide.
        """
        if not self.binds(inode):
            return None
        hard = self.limits[inode.uid]
        cluster = self.sb.block_size * self.sb.ratio
        room = max(hard - self.usage(inode.uid), 0) // cluster
        doubt = sum(_unknown_tree(file) for file in self.files.values() if file.uid == inode.uid)
        if room >= want > room - doubt:
            raise NotModelledError(
                f"the quota of uid {inode.uid} depends on extent tree blocks, "
                "and where the kernel put the file's blocks is not known"
            )
        return room

    def reserve(self, inode: Inode, clusters: int) -> None:
        """Whether a reservation of `clusters` is within the limit (dquot_reserve_block).

        Raises `OpError`; nothing is noted, st_blocks will tell.
        """
        room = self.room(inode, clusters)
        if room is not None and clusters > room:
            self.sb.rule("reserve/quota: ext4_da_reserve_space")
            self.warnings.refused(inode.uid)
            raise OpError("EDQUOT")

    def allocate(self, inode: Inode, clusters: int) -> int:
        """How many of `clusters` the limit lets be allocated at once, at least one
        (ext4_mb_new_blocks asks for one less until it fits). Raises `OpError`."""
        room = self.room(inode, clusters)
        if room is None or clusters <= room:
            return clusters
        self.sb.rule("allocate/quota: ext4_mb_new_blocks")
        self.warnings.refused(inode.uid)
        if not room:
            raise OpError("EDQUOT")
        return room


def _unknown_tree(inode: Inode) -> int:
    """Tree blocks that the file may have beyond those that are known."""
    if inode.tree_unknown is None or inode.allocated * inode.sb.ratio <= 4:
        return 0
    half_full = inode.sb.block_size // 24
    return inode.allocated * inode.sb.ratio // half_full + TREE_DEPTH
