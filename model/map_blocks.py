"""Mapping: from blocks of a file to blocks on the device (fs/ext4/inode.c, extents.c).

`map_blocks` allocates as `ext4_map_blocks` with EXT4_GET_BLOCKS_CREATE does, one run of
equal state at a time; `model/da_reserve.py` reserves instead.
"""

from __future__ import annotations

from model.balloc import (
    has_free_clusters,
    is_plentiful,
    need_plenty,
    obtainable,
)
from model.errors import OpError
from model.extent_status import Run
from model.indirect import blocks_to_boundary
from model.inode import Inode
from model.superblock import Superblock
from model.tree_claim import PLENTY, claim_tree_blocks, limited_tree, take_reserved
from model.units import (
    DELAYED,
    EOF_BLOCK,
    INIT_MAX_LEN,
    UNWRITTEN,
    UNWRITTEN_MAX_LEN,
    WRITTEN,
    ceil_div,
    round_down,
    touched,
)

__all__ = ["map_blocks", "map_singly"]

UNKNOWN_PIECES = (
    "on a file system that is more than half full an allocation may come in pieces, and where "
    "the kernel put them is not known"
)
HIDDEN_PIECES = (
    "on a file system that is more than half full what is set aside for files, which nobody sees, "
    "may cut an allocation into pieces"
)
UNKNOWN_ZEROOUT = "the extents are not known, so neither is how much of them was zeroed"


def map_blocks(
    inode: Inode,
    lblk: int,
    count: int,
    unwritten: bool,
    *,
    use_reserved: bool = False,
    normalize: bool = True,
) -> Run:
    """Map up to `count` blocks from `lblk`, allocating what is missing (ext4_map_blocks).

    New blocks are unwritten with `unwritten` (EXT4_GET_BLOCKS_UNWRIT_EXT), else written,
    and then unwritten ones that are found become written. Without `normalize` no space is
    set aside beyond the request (EXT4_GET_BLOCKS_NO_NORMALIZE). Returns the run that is mapped
    now, which begins at `lblk` and can be shorter than asked for. Raises `OpError`.
    """
    sb, found = inode.sb, inode.es.lookup(lblk)
    end = min(found.end, lblk + count)
    if found.state == WRITTEN or (found.state == UNWRITTEN and unwritten):
        return found.cut(lblk, end)
    if found.state == UNWRITTEN:
        run = _convert_to_initialized(inode, lblk, end)
        _order(inode, run, submitted=use_reserved)
        return run
    state = UNWRITTEN if unwritten else WRITTEN
    limit = UNWRITTEN_MAX_LEN if unwritten else INIT_MAX_LEN
    if not inode.extents:
        limit = blocks_to_boundary(lblk, sb.block_size)
    delayed = found.state == DELAYED
    length, clusters = _implied_cluster(inode, lblk, min(end - lblk, limit))
    run = Run(lblk, lblk + length, state)
    if not sb.without_trees:
        run = _new_blocks(
            inode, run, clusters, delayed, use_reserved=use_reserved, normalize=normalize
        )
    if clusters:
        taken = touched(lblk, run.end, sb.ratio)
        if sb.without_trees:
            need_plenty(sb, taken + sb.free_pending)
        sb.free.add(-taken)
    inode.insert_mapped(run, claim=delayed)
    if not unwritten:
        _order(inode, run, submitted=use_reserved)
    sb.rule("allocate: ext4_map_blocks")
    return run


def _order(inode: Inode, run: Run, *, submitted: bool) -> None:
    """Blocks that are written from now on: the next commit has their data on disk first; that of
    writeback is `submitted` (EXT4_GET_BLOCKS_IO_SUBMIT)."""
    size = inode.sb.block_size
    inode.order(run.start * size, run.end * size, submitted=submitted)


def _new_blocks(
    inode: Inode, wanted: Run, clusters: bool, delayed: bool, *,
    use_reserved: bool, normalize: bool,
) -> Run:  # fmt: skip
    """What of `wanted` one allocation gets, and where it lies; only with `clusters` it takes new
    ones, which `delayed` blocks have reserved (ext4_mb_new_blocks). Raises `OpError`."""
    sb, lblk, length = inode.sb, wanted.start, wanted.end - wanted.start
    if clusters:
        length, refused = _charge(inode, lblk, length, delayed, use_reserved)
        charged = touched(lblk, lblk + length, sb.ratio)
        there = _obtainable(inode, charged, delayed)
        asked = inode.prealloc.request(inode, lblk, length, normalize and not refused)
        length = min(asked, there * sb.ratio - lblk % sb.ratio)
    run = _place(inode, lblk, length, wanted.state)
    if clusters and run.end < lblk + asked:
        inode.prealloc.cut(lblk, lblk + asked, run.end)
    taken = touched(run.start, run.end, sb.ratio) if clusters else 0
    if not delayed:
        if clusters:
            sb.dirty.add(-charged)
            if charged > taken and sb.quota.tracked:  # what was charged for too much
                sb.quota.warnings.freed(inode, charged - taken, charged)
        claim_tree_blocks(inode, run, taken, use_reserved)
    else:
        _note_hidden_pieces(sb)
    if delayed and sb.free.sum() < taken + PLENTY + sb.free_pending:
        run = take_reserved(inode, run, taken)
    return run


def _note_hidden_pieces(sb: Superblock) -> None:
    """Delayed blocks are allocated, in a piece that ends where the device has no more, or what is
    set aside for small files begins (ext4_mb_use_group_pa)."""
    if sb.free.sum() - sb.free_pending < sb.most_free // 2:
        sb.pieces_hidden = HIDDEN_PIECES


def map_singly(inode: Inode, lblk: int, end: int, unwritten: bool) -> int:
    """Map the hole `[lblk, end)` block by block, each by a call of its own (ext4_get_block).

    Returns where it stands: what is behind the first block is mapped at once as far as it
    follows on the device, comes from the same preallocation, and nothing can fail. Raises
    `OpError`.
    """
    sb, behind = inode.sb, lblk + 1
    if sb.without_trees:
        return map_blocks(inode, lblk, end - lblk, unwritten).end
    first = map_blocks(inode, lblk, 1, unwritten)
    if behind == end or not inode.extents or sb.ratio > 1 or sb.quota.binds(inode):
        return behind
    if not is_plentiful(sb, end - behind + PLENTY + sb.free_pending):
        return behind
    rest, entry = _place(inode, behind, end - behind, first.state), inode.es.lookup(lblk)
    if rest.pblk != (None if entry.pblk is None else entry.pblk + behind - entry.start):
        return behind
    if rest.end - entry.start > UNWRITTEN_MAX_LEN:  # somewhere in it an extent would end
        return behind
    stop = behind + inode.prealloc.request_singly(inode, behind, rest.end)
    if stop > behind:
        sb.free.add_ones(stop - behind, -1)
        inode.insert_mapped(rest.cut(behind, stop), claim=False)
        if not unwritten:
            _order(inode, rest.cut(behind, stop), submitted=False)
    return stop


def _implied_cluster(inode: Inode, lblk: int, count: int) -> tuple[int, bool]:
    """How many of `count` blocks, none of them mapped, one step maps, and whether it takes new
    clusters.

    Blocks in a cluster that has a mapped block already come with it; otherwise the step
    ends before the next such cluster (get_implied_cluster_alloc, ext4_ext_check_overlap).
    """
    ratio, es = inode.sb.ratio, inode.es
    if ratio == 1:
        return count, True
    following = es.next_mapped(lblk)  # EOF_BLOCK, itself in the last cluster, if there is none
    base = round_down(lblk, ratio)
    if es.last_mapped_before(lblk) >= base or following < min(base + ratio, EOF_BLOCK):
        inode.sb.rule("implied cluster: get_implied_cluster_alloc")
        return min(count, base + ratio - lblk, following - lblk), False
    if following == EOF_BLOCK:
        return count, True
    return min(count, round_down(following, ratio) - lblk), True


def _charge(
    inode: Inode, lblk: int, length: int, delayed: bool, use_reserved: bool
) -> tuple[int, bool]:
    """Claim space for `length` blocks unless it is reserved; halve until it fits
    (ext4_mb_new_blocks). Returns the blocks that can be had, and whether quota refused more:
    nothing is set aside then (EXT4_MB_HINT_NOPREALLOC)."""
    sb = inode.sb
    if delayed:
        return length, False
    want = touched(lblk, lblk + length, sb.ratio)
    while want and not has_free_clusters(sb, want, use_reserved):
        want >>= 1
    if not want:
        sb.rule("allocate/no-space: ext4_mb_new_blocks")
        raise OpError("ENOSPC")
    allowed = sb.quota.allocate(inode, want)
    sb.dirty.add(allowed)
    return min(length, allowed * sb.ratio - lblk % sb.ratio), allowed < want


def _obtainable(inode: Inode, charged: int, delayed: bool) -> int:
    """How many of the `charged` clusters can be had before the next commit. Raises `OpError`,
    the charge being given back, if none can (ext4_mb_new_blocks)."""
    sb = inode.sb
    try:
        return obtainable(sb, charged)
    except OpError:
        if not delayed:
            sb.dirty.add(-charged)
            if sb.quota.tracked:
                sb.quota.warnings.freed(inode, charged, charged)
        raise


def _place(inode: Inode, lblk: int, length: int, state: int) -> Run:
    """The physical blocks, as far as they are contiguous."""
    sb = inode.sb
    implied = _place_in_cluster(inode, lblk)
    if implied is not None:
        sb.was_elsewhere(implied)
        return Run(lblk, lblk + length, state, implied)
    before = inode.es.lookup(lblk - 1) if lblk else None
    guess = None
    if before is not None and before.pblk is not None:
        guess = before.pblk + lblk - before.start
    if guess is not None and sb.is_waiting(guess):
        guess = None
    found = sb.placer.lookup(inode.name, lblk, guess, length)
    if inode.extents and (sb.placer.unseen or sb.placer.seen < length):
        sb.rule("place not seen: ext4_mb_new_blocks")
        if length > 1 and sb.placer.unseen and sb.free.sum() < sb.most_free // 2:
            sb.rule("length not seen: ext4_mb_new_blocks")
        if (
            found is not None
            and sb.placer.unseen
            and _is_taken(sb, found[0], min(length, found[1]))
        ):
            found = sb.placer.elsewhere()
    if found is None:
        if length > 1 and sb.free.sum() < sb.most_free // 2:
            sb.pieces_unknown = UNKNOWN_PIECES
        return Run(lblk, lblk + length, state)
    pblk, contiguous = found
    sb.was_elsewhere(pblk)
    return Run(lblk, lblk + min(length, contiguous), state, pblk)


def _place_in_cluster(inode: Inode, lblk: int) -> int | None:
    """Where block `lblk` has to be because another one of its cluster is mapped
    (get_implied_cluster_alloc)."""
    ratio = inode.sb.ratio
    if ratio == 1:
        return None
    base = round_down(lblk, ratio)
    runs = inode.es.overlapping(base, base + ratio)
    return next((run.pblk + lblk - run.start for run in runs if run.pblk is not None), None)


def _is_taken(sb: Superblock, pblk: int, length: int) -> bool:
    """Whether a file has any of the device's `length` blocks from `pblk` on."""
    runs = (run for file in sb.quota.files.values() for run in file.es)
    return any(
        run.pblk < pblk + length and pblk < run.pblk + run.end - run.start
        for run in runs
        if run.pblk is not None
    )


def _convert_to_initialized(inode: Inode, lblk: int, end: int) -> Run:
    """Write over unwritten blocks without end of I/O (ext4_ext_convert_to_initialized).

    The rest of a short extent may be zeroed and become written too, and all of one that
    can't be split for want of a tree block. Raises `OpError`.
    """
    sb = inode.sb
    zeroout = sb.max_zeroout
    low, high = lblk, end
    if inode.tree_unknown is None:
        eof = max(ceil_div(inode.disksize, sb.block_size), end)
        with limited_tree(inode):
            low, count = inode.tree.initialize(lblk, end - lblk, eof, zeroout)
        high = low + count
        inode.tree_changed()
    elif zeroout:
        inode.states_unknown = UNKNOWN_ZEROOUT
    for run in inode.es.overlapping(low, high):
        if run.state == UNWRITTEN:
            inode.es.set(run.become(WRITTEN))
    inode.change_data()
    if (low, high) != (lblk, end):
        _leave_marks(inode, low, lblk)
        _leave_marks(inode, end, high)
        sb.rule("zeroout: ext4_ext_convert_to_initialized")
    return inode.es.lookup(lblk).cut(lblk, min(end, high))


def _leave_marks(inode: Inode, low: int, high: int) -> None:
    """Blocks `[low, high)` are written now, and nobody tells their buffers (BH_Unwritten)."""
    size, cache = inode.sb.block_size, inode.cache
    for folio in cache.overlapping(low * size, high * size) if low < high else ():
        folio.unwritten |= folio.mapped & cache.bits(folio, low * size, high * size)
