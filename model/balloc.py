"""Block allocation: is there space, and what is taken of it (fs/ext4/balloc.c, mballoc.c).

Counts are clusters. Where blocks go is the kernel's freedom: `model.placement` tells.
"""

from __future__ import annotations

from model.errors import OpError, TreesCount
from model.superblock import BATCH, Superblock
from model.tree_bounds import MAX_DEPTH, tree_bounds

__all__ = [
    "claim_free_clusters", "has_free_clusters", "is_plentiful", "need_plenty", "nonda_switch",
    "should_retry_alloc", "watermark",
]  # fmt: skip


def watermark(sb: Superblock) -> int:
    """Clusters below which the counters are read exactly (EXT4_FREECLUSTERS_WATERMARK)."""
    return 4 * BATCH * sb.behaviour.nr_cpu


def has_free_clusters(sb: Superblock, count: int, use_reserved: bool = False) -> bool:
    """Whether `count` clusters may be claimed (ext4_has_free_clusters).

    Root may take the superuser's reserve, never `resv`, which is for conversions
    (`use_reserved`, EXT4_MB_USE_RESERVED).
    """
    if sb.without_trees:
        need_plenty(sb, count)
        return True
    free, dirty = sb.free.approx(), sb.dirty.approx()
    kept = sb.r_blocks + sb.resv
    if free - (count + kept + dirty) < watermark(sb):
        free, dirty = sb.free.sum(), sb.dirty.sum()
    if free >= count + kept + dirty:
        return True
    if sb.root and free >= count + dirty + sb.resv:
        return True
    return use_reserved and free >= count + dirty


def is_plentiful(sb: Superblock, count: int) -> bool:
    """Whether `count` clusters can be claimed one by one without asking each time: none can
    fail. The parts of a counter that has_free_clusters() may look at are off by less than
    BATCH."""
    if sb.without_trees:
        need_plenty(sb, count)
        return True
    return sb.free.sum() - sb.dirty.sum() >= count + sb.r_blocks + sb.resv + 2 * BATCH


def need_plenty(sb: Superblock, count: int) -> None:
    """Raise `TreesCount` unless `count` clusters can be claimed, and no decision on low space
    goes the other way, however many clusters the tree blocks take that nobody counts."""
    free, dirty = sb.free.sum(), sb.dirty.sum()
    spare = free - count - 2 * dirty - sb.r_blocks - sb.resv - watermark(sb) - 4 * BATCH
    mapped = (sb.most_free - free) * sb.ratio
    if spare < MAX_DEPTH * mapped and spare < _most_tree_blocks(sb):
        raise TreesCount


def _most_tree_blocks(sb: Superblock) -> int:
    files = sb.quota.files.values()
    return sum(tree_bounds(f.es, sb.block_size, f.most_mapped, True)[1] for f in files)


def claim_free_clusters(sb: Superblock, count: int) -> None:
    """Count clusters as dirty, all or none (ext4_claim_free_clusters)."""
    if not has_free_clusters(sb, count):
        sb.rule("claim/no-space: ext4_claim_free_clusters")
        raise OpError("ENOSPC")
    sb.dirty.add(count)


def should_retry_alloc(sb: Superblock, retries: int) -> bool:
    """Whether to try again after ENOSPC; `retries` counts this one
    (ext4_should_retry_alloc)."""
    if not sb.journal or retries > 3:
        return False
    if not sb.free_pending:
        return has_free_clusters(sb, 1)
    sb.free_pending = 0
    return True


def nonda_switch(sb: Superblock) -> bool:
    """Whether delayed allocation is off for want of space (ext4_nonda_switch).

    Also asks for writeback when more than half of what is free is dirty; that is done
    before this returns (try_to_writeback_inodes_sb waits for it).
    """
    if sb.without_trees:
        need_plenty(sb, 0)
        return False
    free, dirty = sb.free.approx(), sb.dirty.approx()
    if dirty and free < 2 * dirty:
        sb.rule("low-space writeback: ext4_nonda_switch")
        sb.writeback_all()
    nonda = 2 * free < 3 * dirty or free < dirty + watermark(sb)
    if nonda:
        sb.rule("low-space switch: ext4_nonda_switch")
    return nonda
