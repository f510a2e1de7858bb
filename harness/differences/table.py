"""Intended differences: what two paths, or two releases, of ext4 do differently, and why.

When two kernels, or the two paths of one, are compared (`--against`), much differs that
should. Each entry of `INTENDED` describes one such difference: between what it lies, in
which steps and fields it shows, what the two values look like there, and which rules the
model applied. What no entry describes is a mismatch (`harness.against.settle`).

Values are always in the order of the entry: buffer_head before iomap, the older release
before the newer one, whichever of them is the expecting side.
"""

from __future__ import annotations

from harness.differences.cache import CACHING
from harness.differences.disk import ON_DISK, WRITING_BACK
from harness.differences.intended import Difference, Sign
from harness.differences.rules import (
    CONTENT,
    DATA,
    FAULT,
    LACK,
    SPACE,
    TREE_REFUSED,
    WRITES,
    ZERO,
    U,
    W,
    rules,
)
from harness.differences.shapes import (
    both,
    deeper_tree,
    small_blocks,
    unknown_option,
)
from harness.differences.shapes_events import one_round_more
from harness.differences.shapes_extents import got_by_one, got_more, moved
from harness.differences.shapes_space import more_where_more_is_left, other_space_before
from harness.differences.writes import WRITING
from workloads.ops import Op, RemountOpts

__all__ = ["CONTENT", "INTENDED"]

RELEASES: tuple[Difference, ...] = (
    Difference(
        name="one-round-less-at-a-fault",
        situation="a write stops at a fault after it has copied something",
        first="one more mapping is made at the fault, finds nothing to copy, and is given back",
        second="the call ends at the fault",
        why="iomap_write_iter() returns the fault with the progress, not only without",
        source="fs/iomap/buffered-io.c of 7.3",
        signs=(Sign("events", one_round_more, WRITES, rules(second=(FAULT,))),),
        between="releases",
        since=(7, 3),
        path="iomap",
    ),
    Difference(
        name="zero-range-edges-first",
        situation="blocks are smaller than a page, and ZERO_RANGE covers a page in part",
        first="the page is dropped from the cache, then read and zeroed in part: it is dirty as"
        " a whole, and all of it written back",
        second="the page is zeroed in part first: only these blocks are dirty",
        why="ext4_zero_range() zeroes the edges before it drops the range from the cache",
        source="fs/ext4/extents.c of 7.3",
        signs=(
            Sign(
                "extents",
                both(small_blocks, moved((W, U))),
                (Op,),
                rules((ZERO,), (ZERO,)),
                earlier=True,
            ),
        ),
        follows=SPACE,
        between="releases",
        since=(7, 3),
        path="iomap",
    ),
)
"""Between releases."""

ANY: tuple[Difference, ...] = (
    Difference(
        name="space-left-by-others",
        situation="an operation needs more space than is left, and of that the two sides have"
        " different amounts, because of what was done before",
        first="more or less of it can be had",
        second="less or more",
        why="what another difference takes or leaves is missed, or found, elsewhere",
        source="ext4_claim_free_clusters; ext4_mb_new_blocks; dquot_reserve_block",
        signs=tuple(
            Sign(field, both(other_space_before, shape), (Op,), refused)
            for refused in (rules(LACK), rules(second=LACK))
            for field, shape in (("result", more_where_more_is_left), ("extents", got_by_one))
        ),
        follows=DATA,
        everywhere=True,
        between="any",
    ),
    Difference(
        name="no-block-for-the-tree",
        situation="an operation comes to where a file's extent tree has to grow, and there is no"
        " block for that; the two sides' blocks lie differently on the device",
        first="the same extents are in more or fewer pieces: it ends there, or goes on",
        second="fewer or more pieces: it goes on, or ends there",
        why="physically adjacent pieces are one entry of the tree, and need no block of it",
        source="ext4_ext_try_to_merge; ext4_ext_new_meta_block",
        signs=(
            Sign("extents", got_more(1), (Op,), rules(first=(TREE_REFUSED,))),
            Sign("extents", got_more(0), (Op,), rules(second=(TREE_REFUSED,))),
        ),
        follows=DATA,
        everywhere=True,
        between="any",
    ),
    Difference(
        name="option-not-known",
        situation="a remount names an option of the iomap path, and one kernel does not know it",
        first="EINVAL, or done",
        second="done, or EINVAL",
        why="a kernel without the series has no such option",
        source="iomap series, ext4_param_specs",
        signs=(Sign("result", unknown_option, (RemountOpts,)),),
        between="any",
    ),
    Difference(
        name="tree-by-placement",
        situation="the same extents lie, or came to lie, differently on the device",
        first="fewer or more pieces in the extent tree",
        second="more or fewer",
        why="physically adjacent pieces merge, and a tree that has grown does not always"
        " shrink again",
        source="ext4_ext_try_to_merge, ext4_ext_try_to_merge_up",
        signs=tuple(Sign(field, deeper_tree) for field in ("blocks", "disk_blocks")),
        follows=frozenset({"blocks", "disk_blocks", "disk_blocks on disk", "bfree", "bavail"}),
        everywhere=True,
        between="any",
    ),
)
"""Between any two kernels."""

INTENDED: tuple[Difference, ...] = (
    *WRITING, *WRITING_BACK, *CACHING, *ON_DISK, *RELEASES, *ANY,
)  # fmt: skip
"""The table. An entry leaves it when no two supported kernels differ so any more."""
