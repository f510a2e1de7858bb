"""Block allocation: is there space, and what is taken of it (fs/ext4/balloc.c, mballoc.c).

Counts are clusters. Where blocks go is the kernel's freedom: `model.placement` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness.errors import NotModelledError
from model.errors import OpError, TreesCount
from model.percpu_counter import BATCH
from model.superblock import Superblock
from model.tree_bounds import MAX_DEPTH, tree_bounds

__all__ = [
    "claim_free_clusters", "commit_for_writeback", "commit_may_free_some", "has_free_clusters",
    "is_plentiful", "need_plenty", "nonda_switch", "obtainable", "should_retry_alloc",
    "with_retries",
]  # fmt: skip

_Result = TypeVar("_Result")


def has_free_clusters(sb: Superblock, count: int, use_reserved: bool = False) -> bool:
    """Whether `count` clusters may be claimed (ext4_has_free_clusters).

    Root may take the superuser's reserve, never `resv`, which is for conversions
    (`use_reserved`, EXT4_MB_USE_RESERVED).
    """
    if sb.without_trees:
        need_plenty(sb, count)
        return True

    def has(more: int) -> bool:
        free, dirty = sb.free.approx(), sb.dirty.approx()
        kept = sb.r_blocks + sb.resv
        if free - (count + kept + dirty) < sb.watermark:
            free, dirty = sb.free.sum(), sb.dirty.sum()
        free += more
        if free >= count + kept + dirty:
            return True
        if sb.root and free >= count + dirty + sb.resv:
            return True
        return use_reserved and free >= count + dirty

    return has(0) if sb.space_unknown is None else _certain(sb, has)


def obtainable(sb: Superblock, count: int) -> int:
    """How many of `count` clusters the allocator finds: what was freed since the last commit is
    not there yet. Where there is nothing what is set aside for files is given back
    (ext4_mb_discard_preallocations). Raises `OpError` if that is of no use either."""
    if not sb.free_pending:
        return count
    if sb.without_trees:
        need_plenty(sb, count + sb.free_pending)
        return count
    left = sb.free.sum() - sb.free_pending
    if left <= 0:
        for file in sb.quota.files.values():
            file.prealloc.discard()
        sb.rule("freed blocks wait for a commit: ext4_mb_free_metadata")
        raise OpError("ENOSPC")
    return min(count, left)


def is_plentiful(sb: Superblock, count: int) -> bool:
    """Whether `count` clusters can be claimed one by one without asking each time: none can
    fail. The parts of a counter that has_free_clusters() may look at are off by less than
    BATCH."""
    if sb.without_trees:
        need_plenty(sb, count)
        return True
    free = sb.free.sum() - (0 if sb.space_unknown is None else _tree_doubt(sb)[1])
    return free - sb.dirty.sum() >= count + sb.r_blocks + sb.resv + 2 * BATCH


def _certain(sb: Superblock, question: Callable[[int], bool]) -> bool:
    """The answer to `question`, which is given how many clusters more are free than counted;
    what is unknown are tree blocks. Raises `NotModelledError` if it depends on them."""
    answer = question(0)
    slack = MAX_DEPTH * (sb.most_free - sb.free.sum()) * sb.ratio
    if question(slack) == question(-slack):
        return answer
    fewer, more = _tree_doubt(sb)
    if question(fewer) != question(-more):
        raise NotModelledError(
            "little space is left, and whether it is enough depends on extent tree blocks: where "
            "the kernel put the blocks of files is not known"
        )
    return answer


def _tree_doubt(sb: Superblock) -> tuple[int, int]:
    """Tree blocks that there may be less and more than are counted, in clusters."""
    fewer = more = 0
    for file in sb.quota.files.values():
        if file.tree_unknown is not None:
            by_state = file.states_unknown is None
            low, high = tree_bounds(file.es, sb.block_size, file.most_mapped, by_state)
            fewer += max(file.tree_blocks - low, 0)
            more += max(high - file.tree_blocks, 0)
    return fewer, more


def need_plenty(sb: Superblock, count: int) -> None:
    """Raise `TreesCount` unless `count` clusters can be claimed, and no decision on low space
    goes the other way, however many clusters the tree blocks take that nobody counts."""
    free, dirty = sb.free.sum(), sb.dirty.sum()
    spare = free - count - 2 * dirty - sb.r_blocks - sb.resv - sb.watermark - 4 * BATCH
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
    sb.commit()
    return True


def commit_may_free_some(sb: Superblock) -> bool:
    """Whether writeback, which found no space, may find some after a commit
    (mpage_map_and_submit_extent)."""
    return bool(sb.free_pending) and sb.free.sum() > 0


def commit_for_writeback(sb: Superblock) -> None:
    """Commit so that writeback finds space (ext4_do_writepages)."""
    sb.rule("commit for writeback: ext4_do_writepages")
    sb.commit()


def with_retries(sb: Superblock, attempt: Callable[[], _Result]) -> _Result:
    """`attempt` until it finds space or trying again is of no use (ext4_should_retry_alloc). Raises
    `OpError`."""
    retries = 0
    while True:
        try:
            return attempt()
        except OpError as error:
            retries += 1
            if error.name != "ENOSPC" or not should_retry_alloc(sb, retries):
                raise
            sb.rule("retry: ext4_should_retry_alloc")


def nonda_switch(sb: Superblock) -> bool:
    """Whether delayed allocation is off for want of space (ext4_nonda_switch).

    Also asks for writeback when more than half of what is free is dirty; that is done
    before this returns (try_to_writeback_inodes_sb waits for it), unless the flusher thread
    counts as busy still.
    """
    if sb.without_trees:
        need_plenty(sb, 0)
        return False
    dirty = sb.dirty.approx()
    kick = dirty > 0 and _is_low(sb, lambda free: free < 2 * dirty)
    nonda = _is_low(sb, lambda free: 2 * free < 3 * dirty or free < dirty + sb.watermark)
    if kick and sb.flusher_busy is None:
        raise NotModelledError(
            "low space asks for writeback twice in a call that reads from disk in between: whether "
            "the flusher thread has come to its end meanwhile is a matter of time"
        )
    if kick and not _flusher_is_busy(sb):
        sb.rule("low-space writeback: ext4_nonda_switch")
        sb.io_waits = sb.behaviour.waker_preempted
        sb.writeback_all()
        sb.flusher_busy, sb.io_waits = sb.io_waits, False
    if nonda:
        sb.rule("low-space switch: ext4_nonda_switch")
    return nonda


def _flusher_is_busy(sb: Superblock) -> bool:
    """Whether the flusher thread counts as busy. Where it has passed over what was under I/O the
    task may have waited since for that to be converted, so that it has come to its end."""
    if sb.flusher_busy and sb.passed_over:
        return not sb.placer.again()
    return bool(sb.flusher_busy)


def _is_low(sb: Superblock, is_low: Callable[[int], bool]) -> bool:
    """`is_low` of what a cheap read of the free clusters sees. Tree blocks of unknown number
    also shift when the parts of that counter are added up."""
    free = sb.free.approx()
    if sb.space_unknown is None:
        return is_low(free)
    return _certain(sb, lambda more: is_low(free + more + (more > 0) * BATCH - (more < 0) * BATCH))
