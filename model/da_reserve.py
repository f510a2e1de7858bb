"""Reserving: holes of a file become delayed blocks (fs/ext4/inode.c, ext4_da_map_blocks).

One step for a whole hole, or one for each block of it; a cluster is reserved once, unless a block
of it is there.
"""

from __future__ import annotations

from model.balloc import claim_free_clusters, is_plentiful
from model.inode import Inode
from model.units import EOF_BLOCK, touched

__all__ = ["da_reserve_blocks", "da_reserve_singly", "new_clusters"]


def da_reserve_blocks(inode: Inode, lblk: int, end: int) -> None:
    """Reserve for the hole `[lblk, end)` in one step and make it delayed
    (ext4_insert_delayed_blocks). Raises `OpError`."""
    clusters = new_clusters(inode, lblk, end)
    if clusters:
        inode.sb.quota.reserve(inode, clusters)
        claim_free_clusters(inode.sb, clusters)
        inode.da_reserve_space(clusters)
    inode.insert_delayed(lblk, end)


def da_reserve_singly(inode: Inode, lblk: int, end: int) -> int:
    """Reserve for the hole `[lblk, end)` block by block and make it delayed
    (ext4_da_get_block_prep). Returns where it stands: at `end` at once where nothing can
    fail, else one block further. Raises `OpError`."""
    clusters = new_clusters(inode, lblk, end)
    if inode.sb.quota.binds(inode) or not is_plentiful(inode.sb, clusters):
        da_reserve_blocks(inode, lblk, lblk + 1)
        return lblk + 1
    if clusters < end - lblk:
        inode.sb.rule("shared cluster: ext4_clu_alloc_state")
    inode.da_reserve_singly(clusters)
    inode.insert_delayed(lblk, end)
    return end


def new_clusters(inode: Inode, lblk: int, end: int) -> int:
    """Clusters to reserve for the hole `[lblk, end)` (ext4_clu_alloc_state): those at its
    edges may have a delayed or mapped block already."""
    ratio, es = inode.sb.ratio, inode.es
    if ratio == 1:
        return end - lblk
    count = touched(lblk, end, ratio)
    first, last = lblk // ratio, (end - 1) // ratio
    for cluster in {first, last}:
        if es.overlapping(cluster * ratio, (cluster + 1) * ratio):
            inode.sb.rule("shared cluster: ext4_clu_alloc_state")
            count -= 1
        elif _taken_for_mapped(inode, cluster):
            count -= 1
    return count


def _taken_for_mapped(inode: Inode, cluster: int) -> bool:
    """Whether the kernel finds `cluster` mapped though it has no block yet: with the known bug
    `last_cluster_taken_for_mapped` the last one of the longest file, where mapped blocks are
    before it and none behind (ext4_clu_mapped). What comes into it then reserves nothing."""
    last = EOF_BLOCK // inode.sb.ratio
    if cluster != last:
        return False
    wrong = inode.es.last_mapped_before(last * inode.sb.ratio) >= 0 and inode.sb.quirk(
        "last_cluster_taken_for_mapped"
    )
    inode.es.unreserved = last if wrong else None
    return wrong
