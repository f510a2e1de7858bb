"""Quota warnings: what the kernel tells over netlink of a user's limits (fs/quota/dquot.c).

One is sent when the hard limit refuses something, and no second until space is freed or the
limit is set. Falling below the hard limit is told too, and so is getting to nothing, which
counts as falling below a soft limit, though none is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.units import SECTOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.inode import Inode
    from model.quota import Quota

__all__ = ["QuotaWarnings"]

HARD = "block hard limit reached"
HARD_BELOW = "below the block hard limit again"
SOFT_BELOW = "below the block soft limit again"
INODE_SOFT_BELOW = "below the inode soft limit again"
FORGOTTEN = "the kernel may have forgotten that it has warned"
PASSING = (
    "a conversion after I/O takes a tree block that another one gives back: which extents there "
    "are by then is a matter of time"
)
IN_PIECES = (
    "blocks that nobody saw were freed down to nothing: in how many pieces, so that usage was "
    "below the hard limit before, is not known"
)


class QuotaWarnings:
    """What was said since the first mount, in order; `unknown` is the reason if that can't
    be told."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.said: list[str] = []
        self.unknown: str | None = None
        self.awaited = False
        self._told: set[int] = set()
        self._unsure: set[int] = set()

    def seen(self) -> tuple[str, ...] | None:
        """What was said; None if that is not known, or no limit was ever to be set."""
        return None if self.unknown or not self.awaited else tuple(self.said)

    def refused(self, uid: int) -> None:
        """The hard limit of `uid` refuses something (dquot_add_space, warning_issued)."""
        if uid in self._unsure:
            self.unknown = self.unknown or FORGOTTEN
        if uid not in self._told:
            self._told.add(uid)
            self._say(uid, HARD)

    def freed(self, inode: Inode, clusters: int, held: int = 0) -> None:
        """`clusters` of the file are given back, allocated or reserved ones
        (__dquot_free_space); `held` of them st_blocks does not show."""
        quota, uid = self.quota, inode.uid
        self.forget(uid)
        if quota.tracked and quota.limits.get(uid):
            cluster = quota.sb.block_size * quota.sb.ratio
            self._below(uid, quota.usage(uid) + held * cluster, clusters * cluster)

    def freed_pieces(self, inode: Inode, pieces: Sequence[int], *, unsure: bool = False) -> None:
        """The same for several pieces of clusters in turn that st_blocks shows no more. If they
        are `unsure` ever to have been there, what they would have the kernel tell is not known."""
        quota = self.quota
        held, before = sum(pieces), len(self.said)
        if quota.sb.placer.piecemeal and self._may_stop_below(inode, held):
            self.unknown = self.unknown or IN_PIECES
        for clusters in pieces:
            self.freed(inode, clusters, held)
            held -= clusters
        if unsure and len(self.said) > before:
            self.unknown = self.unknown or PASSING
        quota.freed(inode.uid)

    def _may_stop_below(self, inode: Inode, clusters: int) -> bool:
        """Whether `clusters` that go are all that the owner of `inode` has, and reach its hard
        limit: with part of them gone usage may be below that, and not nothing yet."""
        quota, cluster = self.quota, self.quota.sb.block_size * self.quota.sb.ratio
        hard, used = quota.limits.get(inode.uid, 0), quota.usage(inode.uid)
        return used <= 0 and used + clusters * cluster >= hard > cluster

    def inode_freed(self, inode: Inode) -> None:
        """A file goes, or gets another owner (dquot_free_inode, info_idq_free)."""
        quota, uid = self.quota, inode.uid
        owned = sum(file.uid == uid for file in quota.files.values())
        if uid and owned == 1 and quota.enforced and quota.limits.get(uid):
            self._say(uid, INODE_SOFT_BELOW)

    def transferred(self, inode: Inode, uid: int) -> None:
        """The file is about to belong to `uid` (__dquot_transfer)."""
        quota, old = self.quota, inode.uid
        if uid == old:
            return
        self.inode_freed(inode)
        self.forget(old)
        if quota.limits.get(old):
            self._below(old, quota.usage(old), inode.i_blocks * SECTOR + _reserved(inode))

    def forget(self, uid: int) -> None:
        """The next refusal is told again (DQ_BLKS_B)."""
        self._told.discard(uid)
        self._unsure.discard(uid)

    def unmounted(self) -> None:
        """All is forgotten (invalidate_dquots)."""
        self._told.clear()
        self._unsure.clear()

    def dropped(self, files: set[str]) -> None:
        """The inodes of `files` have left memory: what nobody else's file keeps there may
        leave it too (dqcache_shrink_scan)."""
        kept = {file.uid for name, file in self.quota.files.items() if name not in files}
        self._unsure |= self._told - kept

    def _below(self, uid: int, used: int, space: int) -> None:
        """info_bdq_free: `space` bytes of `used` go."""
        hard = self.quota.limits[uid]
        unknown = (f.tree_unknown for f in self.quota.files.values() if f.uid == uid)
        self.unknown = self.unknown or next(filter(None, unknown), None)
        if used > 0 and used - space <= 0:
            self._say(uid, SOFT_BELOW)
        elif used >= hard > used - space:
            self._say(uid, HARD_BELOW)

    def _say(self, uid: int, text: str) -> None:
        self.quota.sb.rule("quota warning: prepare_warning")
        self.said.append(f"uid {uid}: {text}")


def _reserved(inode: Inode) -> int:
    return inode.reserved * inode.sb.ratio * inode.sb.block_size
