"""Tree blocks that the file system refuses, for want of space or by the owner's quota
(`ext4_ext_new_meta_block`, `ext4_new_meta_blocks`).

Those that delayed blocks need are never refused: they are not claimed at all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import EndlessError, NotModelledError
from model.balloc import has_free_clusters, need_plenty
from model.errors import OpError
from model.extent_nodes import ROOT_ENTRIES
from model.extent_tree import TreeBlockRefused
from model.units import UNWRITTEN, WRITTEN

if TYPE_CHECKING:
    from model.extent_status import Run
    from model.inode import Inode
    from model.superblock import Superblock

__all__ = [
    "claim_tree_blocks", "conversion_room", "limited_tree", "may_lack_tree_block", "room_for_tree",
    "split_at", "take_reserved",
]  # fmt: skip

PLENTY = 5
"""No operation adds more tree blocks (EXT4_MAX_EXTENT_DEPTH)."""
UNKNOWN_CLAIM = (
    "little space or quota is left, and a block may need a tree block that is refused: where the "
    "kernel put it is not known"
)


def room_for_tree(inode: Inode, taken: int, use_reserved: bool) -> tuple[int, str]:
    """How many tree blocks the file may still get, up to `PLENTY`, when `taken` clusters are
    allocated for its data, and the errno's name for one more."""
    sb, room, error = inode.sb, PLENTY, ""
    while room and not has_free_clusters(sb, taken + room, use_reserved):
        room, error = room - 1, "ENOSPC"
    there = _before_commit(sb) - taken
    if there < room:
        room, error = max(there, 0), "ENOSPC"
    allowed = sb.quota.room(inode, taken)
    if allowed is not None and allowed - taken < room:
        room, error = max(allowed - taken, 0), "EDQUOT"
    return room, error


def claim_tree_blocks(inode: Inode, run: Run, taken: int, use_reserved: bool) -> None:
    """Whether the tree blocks that mapping `run` takes can be had, `taken` clusters being
    charged for its data; else these are given back (ext4_ext_map_blocks). Raises `OpError`."""
    if inode.sb.without_trees:
        return
    room, error = room_for_tree(inode, taken, use_reserved)
    if room == PLENTY:
        return
    if run.pblk is None or inode.tree_unknown:
        if inode.extents and (inode.allocated + taken) * inode.sb.ratio > ROOT_ENTRIES:
            raise NotModelledError(UNKNOWN_CLAIM)
        return
    if _tree_growth(inode, run, run.pblk) > room:
        _give_back(inode, taken)
        warnings = inode.sb.quota.warnings
        if error == "EDQUOT":
            warnings.refused(inode.uid)
        if taken:
            warnings.freed(inode, taken, taken)
        raise OpError(error)


def take_reserved(inode: Inode, run: Run, taken: int) -> Run:
    """`run` of delayed blocks, as much of it as can be allocated; it takes `taken` clusters.

    They are reserved, but their tree blocks are not: these may have to wait for a commit, and
    are taken from what is kept for conversions, and then from what others have reserved
    (ext4_new_meta_blocks). That the last ones find nothing is a bug that the model follows as
    a quirk only; without it they find space all the same. Raises `OpError` where blocks are
    lost or have to wait, and `EndlessError` where the kernel tries again for ever.
    """
    sb = inode.sb
    free = sb.free.sum()
    growth = 0
    if run.pblk is not None and inode.tree_unknown is None:
        growth = _tree_growth(inode, run, run.pblk)
    elif sb.free_pending or "reserved_blocks_run_out" in sb.behaviour.quirks:
        raise NotModelledError(UNKNOWN_CLAIM)
    if sb.free_pending and _before_commit(sb) < taken + growth <= free:
        _give_back(inode, taken)
        raise OpError("ENOSPC")
    if taken + growth <= free or not sb.quirk("reserved_blocks_run_out"):
        return run
    if taken > max(free, 0):
        if free <= 0:
            raise OpError("ENOSPC")
        return run.cut(run.start, (run.start // sb.ratio + free) * sb.ratio)
    if free > 0:
        raise EndlessError(
            "a delayed block finds space, its tree block none: the kernel gives the block back, "
            "so that space is free, and tries the same again for ever"
        )
    raise OpError("ENOSPC")


def conversion_room(inode: Inode) -> int | None:
    """How many tree blocks converting an extent after I/O may take, None if more than it can need.

    What is kept for conversions may be used (ext4_ext_handle_unwritten_extents), and no quota
    binds a worker of the kernel. Raises `NotModelledError` where it takes to know a tree.
    """
    sb = inode.sb
    if sb.without_trees:
        need_plenty(sb, PLENTY + sb.free_pending)
        return None
    if sb.space_unknown is not None:
        if has_free_clusters(sb, PLENTY + sb.free_pending, use_reserved=True):
            return None
        if inode.tree_unknown is not None:
            raise NotModelledError(UNKNOWN_CLAIM)
    room = min(sb.free.sum() - sb.dirty.sum(), _before_commit(sb))
    return None if room >= PLENTY else max(room, 0)


def _before_commit(sb: Superblock) -> int:
    """Clusters that the allocator can find: what was freed since the last commit is not there."""
    return sb.free.sum() - sb.free_pending


def _give_back(inode: Inode, taken: int) -> None:
    """The tree block for new blocks can't be had: the `taken` clusters are freed again, and so is
    what was set aside (ext4_ext_map_blocks). A cheap read of the counter tells the difference."""
    inode.sb.rule("tree block refused: ext4_ext_new_meta_block")
    inode.prealloc.discard()
    inode.sb.free.add(-taken)
    inode.sb.free.add(taken)
    inode.sb.wait_for_commit(taken)


@contextmanager
def limited_tree(inode: Inode, use_reserved: bool = True) -> Iterator[None]:
    """The tree may grow inside of this only as far as space and quota allow; what is kept for
    conversions may be used (ext4_ext_handle_unwritten_extents) unless `use_reserved` says no.
    Raises `OpError`."""
    room, error = room_for_tree(inode, 0, use_reserved)
    tree = inode.tree
    if room == PLENTY:
        yield
        return

    def refuses(count: int) -> bool:
        full = tree.blocks() - inode.tree_blocks + count > room
        if full and error == "EDQUOT":
            inode.sb.quota.warnings.refused(inode.uid)
        return full

    tree.refuses = refuses
    try:
        yield
    except TreeBlockRefused:
        inode.tree_changed()
        raise OpError(error) from None
    finally:
        tree.refuses = None


def may_lack_tree_block(inode: Inode) -> bool:
    """Whether a split may find no tree block before the next commit, though it may use what is
    kept for conversions (EXT4_GET_BLOCKS_METADATA_NOFAIL)."""
    return inode.extents and room_for_tree(inode, 0, use_reserved=True)[0] < PLENTY


def split_at(inode: Inode, lblk: int) -> None:
    """Let an extent of the file begin at block `lblk`, so that what is before or behind it can go
    or move (ext4_force_split_extent_at, ext4_insert_range). Nobody commits to find a tree block
    for that. Raises `OpError`."""
    run = inode.es.lookup(lblk)
    across = run.start < lblk and run.state in (UNWRITTEN, WRITTEN)
    if not across or not may_lack_tree_block(inode):
        return
    if inode.sb.without_trees:
        need_plenty(inode.sb, PLENTY + inode.sb.free_pending)
        return
    if inode.tree_unknown is not None:
        raise NotModelledError(UNKNOWN_CLAIM)
    try:
        with limited_tree(inode):
            inode.tree.split_at(lblk)
    except OpError:
        inode.sb.rule("no tree block for a split: ext4_force_split_extent_at")
        raise
    inode.tree_changed()


def _tree_growth(inode: Inode, run: Run, pblk: int) -> int:
    """Tree blocks that mapping `run` to the blocks from `pblk` takes, those included that go again
    when extents have merged (ext4_ext_try_to_merge_up)."""
    if not inode.extents:
        indirect = copy.deepcopy(inode.indirect)
        indirect.insert(run.start, run.end - run.start)
        return indirect.blocks() - inode.tree_blocks
    tree = copy.deepcopy(inode.tree)
    tree.insert(run.start, run.end - run.start, pblk, run.state == UNWRITTEN)
    return tree.blocks() + tree.freed - inode.tree_blocks
