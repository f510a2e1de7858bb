"""Intended differences of the two paths in writing: what is reserved, allocated, given back."""

from __future__ import annotations

from harness.differences.intended import Difference, Sign
from harness.differences.rules import (
    ALLOCATE,
    DATA,
    FAULT,
    FOLIO,
    KEPT,
    LOW,
    NEW,
    NO_SPACE,
    PUNCH,
    SHUT,
    SPACE,
    SPLIT,
    STORES,
    TRIM,
    WRITES,
    ZEROOUT,
    D,
    U,
    W,
    rules,
)
from harness.differences.shapes import (
    both,
    hard_limit_passed_otherwise,
    less_done,
    more_data,
    more_done,
    other_hard_limit_warnings,
    without,
)
from harness.differences.shapes_events import fewer_reserves, gives_back, gives_up, reserves_in_vain
from harness.differences.shapes_extents import in_the_call, moved
from harness.differences.shapes_space import nearly_low
from workloads.ops import Op, Remount, Seek

__all__ = ["WRITING"]

WRITING: tuple[Difference, ...] = (
    Difference(
        name="reserved-in-one-step",
        situation="a write, or a store through a mapping, into more than one block of a hole",
        first="each block is reserved by itself",
        second="the whole range of the hole is reserved at once",
        why="ext4_da_map_blocks() gets the length of the call, not of one block",
        source="iomap series, ext4_iomap_map_blocks",
        signs=(Sign("events", fewer_reserves, (*WRITES, *STORES), rules(second=(NEW, FOLIO))),),
    ),
    Difference(
        name="short-write-gives-back",
        situation="with delalloc, a write into a hole copies less than it mapped, or nothing",
        first="what was reserved for the rest stays delayed until truncate or eviction, or is"
        " written as zeroes",
        second="what was reserved for the rest is given back before write(2) returns",
        why="the mapping is known to be new, and iomap_end punches what was not written of it",
        source="iomap series, ext4_iomap_buffered_da_write_end",
        signs=(
            Sign("extents", moved((D, None)), WRITES, rules(second=(PUNCH,))),
            Sign("events", gives_back, WRITES, rules(second=(PUNCH,))),
            # The second's mapping ended before the hole that the first had reserved.
            Sign("extents", moved((D, None)), WRITES, rules((KEPT,), (FAULT,))),
            Sign("events", reserves_in_vain, WRITES, rules((KEPT,), (FAULT,))),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="short-write-zeroes-the-rest",
        situation="a write into unwritten blocks copies less than it mapped, then writeback",
        first="the rest of what was mapped is zeroed, and written back too",
        second="only what was copied is written back; the rest stays unwritten",
        why="the copy that stops short dirties no block behind it",
        source="iomap_write_end; folio_zero_new_buffers",
        signs=(
            Sign("extents", moved((W, U)), rules=rules(first=(KEPT,)), earlier=True),
            Sign("result", more_data, (Seek,), rules(first=(KEPT,)), earlier=True),
        ),
        follows=SPACE,
    ),
    Difference(
        name="short-write-keeps-allocated",
        situation="a write that allocates at once copies less than was asked for, or nothing",
        first="blocks are allocated up to the end of the folio, and past EOF removed again,"
        " preallocated ones too",
        second="the range of the call is allocated as far as it is contiguous, and stays"
        " allocated, unwritten",
        why="there is no iomap_end for blocks that were allocated at once",
        source="iomap series, ext4_iomap_get_blocks",
        signs=(
            Sign("extents", moved((None, U), (W, U)), WRITES, rules((*TRIM, KEPT), (ALLOCATE,))),
            Sign("extents", moved((None, U)), WRITES, rules(TRIM, (FAULT, *NO_SPACE))),
            # The second's mapping, and what it allocated, ends before the folio.
            Sign("extents", moved((W, None), (W, U)), WRITES, rules((KEPT,), (ALLOCATE, FAULT))),
            # The same where space is low: the first's blocks are unwritten until writeback.
            Sign("extents", both(moved((U, None)), in_the_call), WRITES, rules((KEPT,), (FAULT,))),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="all-or-nothing",
        situation="a write needs more space than is left, or than a quota allows",
        first="as many blocks, or folios, are written as fit, and their bytes returned",
        second="the range is reserved in one step, which fails as a whole",
        why="one reservation for the whole mapping",
        source="iomap series, ext4_iomap_buffered_do_write_begin",
        signs=(Sign("result", less_done, WRITES, rules(second=NO_SPACE)),),
        follows=DATA,
        everywhere=True,
    ),
    Difference(
        name="up-to-the-last-block",
        situation="a write needs more space than is left",
        first="a folio of which not all blocks can be had is not written",
        second="what is mapped is written, to the last block",
        why="each round of the loop writes to what its mapping got, whatever the folio",
        source="iomap series, ext4_iomap_get_blocks",
        signs=(Sign("result", more_done, WRITES, rules(NO_SPACE, (ALLOCATE, *NO_SPACE))),),
        follows=DATA,
        everywhere=True,
    ),
    Difference(
        name="gives-up-at-once",
        situation="a write for which space or quota do not suffice, not even for one folio",
        first="what was reserved before that showed is released again",
        second="nothing is reserved",
        why="one reservation for the whole mapping",
        source="iomap series, ext4_iomap_buffered_do_write_begin",
        signs=(Sign("events", gives_up, WRITES, rules(NO_SPACE, NO_SPACE)),),
    ),
    Difference(
        name="failed-write-keeps-reserved",
        situation="a write below EOF for which space or quota do not suffice, not even for one"
        " folio",
        first="what was reserved or allocated before that showed stays, and becomes zeroes",
        second="nothing is reserved",
        why="one reservation for the whole mapping; only past EOF is a failed write removed",
        source="iomap series, ext4_iomap_buffered_do_write_begin; ext4_da_write_begin",
        signs=(
            Sign("extents", moved((D, None)), WRITES, rules(NO_SPACE, NO_SPACE)),
            Sign("events", reserves_in_vain, WRITES, rules(NO_SPACE, NO_SPACE)),
        ),
        follows=DATA,
        everywhere=True,
    ),
    Difference(
        name="quota-hard-limit-warnings",
        situation="a write reaches the hard limit of a quota",
        first="what was reserved or allocated for the folio that failed is given back, and the"
        " user told of it",
        second="the one reservation fails, so there is nothing to give back, and no retry",
        why="one reservation for the whole mapping",
        source="iomap series, ext4_iomap_buffered_do_write_begin; dquot_reserve_block",
        signs=(
            Sign("warnings", other_hard_limit_warnings, modelled=False),
            Sign("warnings", hard_limit_passed_otherwise),
        ),
    ),
    Difference(
        name="low-space-by-call",
        situation="with delalloc, space gets low in the middle of a long write",
        first="whether to write back, and whether still to delay allocation, is decided for"
        " each folio",
        second="it is decided once for the call, before its first block",
        why="the choice of the iomap operations is made before the loop",
        source="iomap series, ext4_iomap_buffered_write",
        signs=(
            Sign("extents", moved((U, D), (W, D)), WRITES, rules(LOW)),
            # The rest of a short write: the first keeps it, the second has given it back.
            Sign(
                "extents",
                moved((U, D), (W, D), (U, None), (D, None)),
                WRITES,
                rules(LOW, (PUNCH,)),
            ),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="low-space-seen-at-once",
        situation="with delalloc, so much is delayed that space is nearly low",
        first="blocks that were reserved one by one are in a CPU's part of the counter, where the"
        " decision does not look, or are written back: space is low at another moment",
        second="a range of 32 blocks and more counts at once, and stays delayed",
        why="percpu_counter_add() keeps less than a batch to the CPU; what is low depends on what"
        " is delayed",
        source="ext4_claim_free_clusters; ext4_nonda_switch",
        signs=(
            Sign("extents", both(nearly_low, moved((D, W), (D, U))), WRITES, rules(second=LOW)),
            Sign(
                "extents",
                both(nearly_low, moved((D, W), (D, U), (D, None))),
                WRITES,
                rules((KEPT,), LOW),
            ),
            # A store that comes to several folios; the counters are folded at other ones.
            Sign("extents", both(nearly_low, moved((U, D))), STORES, rules(LOW)),
            Sign("extents", both(nearly_low, moved((D, U))), STORES, rules(second=LOW)),
        ),
        follows=SPACE | {"disksize"},
    ),
    Difference(
        name="allocated-unwritten",
        situation="a write or a store allocates blocks at once: nodelalloc, or little space",
        first="with nodelalloc they are written at once, whatever is on the disk",
        second="they are unwritten until their data is on the disk",
        why="there is no ordered data on this path to keep stale blocks from being seen",
        source="iomap series, ext4_iomap_get_blocks",
        signs=(
            Sign("extents", moved((W, U)), (*WRITES, *STORES), rules(second=(ALLOCATE,))),
            Sign("extents", moved((W, U)), STORES, rules(second=(FOLIO,))),
        ),
        follows=SPACE,
    ),
    Difference(
        name="converted-after-io",
        situation="with nodelalloc, a write or a store into unwritten blocks",
        first="they are converted when they are mapped, and short unwritten neighbours zeroed",
        second="they are converted after the I/O, and only they",
        why="mapping finds unwritten blocks and leaves them so",
        source="iomap series, ext4_iomap_get_blocks; ext4_ext_convert_to_initialized",
        signs=(
            Sign("extents", both(moved((W, U)), without(ALLOCATE, FOLIO)), (*WRITES, *STORES)),
            # A shutdown hides the file; the next mount sees what was not converted.
            Sign("extents", moved((W, U)), (Remount,), rules((SHUT,), (SHUT,)), earlier=True),
        ),
        follows=SPACE,
        options=frozenset({"nodelalloc"}),
    ),
    Difference(
        name="split-after-io",
        situation="with nodelalloc, a write into unwritten blocks splits their extent, and the"
        " quota does not allow the tree block that this takes",
        first="the write fails",
        second="the write is done; the extent is split after the I/O, where zeroing its other"
        " parts helps against a lack of space",
        why="mapping finds unwritten blocks and leaves them so",
        source="iomap series, ext4_iomap_get_blocks; ext4_split_extent",
        signs=(Sign("result", more_done, WRITES, rules(SPLIT)),),
        follows=DATA,
        options=frozenset({"nodelalloc"}),
    ),
    Difference(
        name="dioread-lock-ignored",
        situation="with dioread_lock, writeback of a part of an unwritten extent",
        first="it is converted when it is mapped, and short unwritten neighbours zeroed",
        second="it is converted after the I/O, and only it",
        why="blocks under I/O are always unwritten on this path",
        source="iomap series, ext4_iomap_map_writeback_range; ext4_ext_convert_to_initialized",
        signs=(Sign("extents", moved((W, U)), (Op,), rules((ZEROOUT,))),),
        follows=SPACE,
    ),
)
"""Entries of `harness.differences.table`."""
