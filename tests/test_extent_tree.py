"""The extent tree has the shape that the kernel gives it, and so the right size."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import measured

from model.extent_nodes import Branch, Leaf
from model.extent_tree import (
    Extent,
    ExtentTree,
    ExtentTreeError,
    node_entries,
)
from model.units import INIT_MAX_LEN, UNWRITTEN_MAX_LEN

TINY = 64
"""A block size that no file system has; four entries a node make deep trees at once."""


def scattered(count: int, block_size: int = 4096) -> ExtentTree:
    """A file with `count` one-block extents, appended, none of which can merge."""
    tree = ExtentTree(block_size)
    for number in range(count):
        tree.insert(2 * number, 1, 100 + 2 * number, unwritten=False)
    return tree


def states(tree: ExtentTree) -> list[tuple[int, int, bool]]:
    return [(extent.lblk, extent.length, extent.unwritten) for extent in tree.extents()]


def check_structure(tree: ExtentTree) -> None:
    """What holds for every tree: sorted, disjoint, exact keys, no empty or overfull node."""

    def walk(node: Branch | Leaf, depth: int) -> int:
        assert len(node.slots) <= node.capacity
        if isinstance(node, Leaf):
            assert depth == tree.depth()
            return 0
        assert node.slots
        for index in node.slots:
            assert index.child.slots
            assert index.first == index.child.slots[0].first
        return sum(1 + walk(index.child, depth + 1) for index in node.slots)

    assert tree.blocks() == walk(tree._root, 0)
    extents = tree.extents()
    for left, right in pairwise(extents):
        assert left.lblk + left.length <= right.lblk
    for extent in extents:
        assert 0 < extent.length <= (UNWRITTEN_MAX_LEN if extent.unwritten else INIT_MAX_LEN)
        assert tree.lookup(extent.lblk + extent.length - 1) == extent


# Sizes


@pytest.mark.parametrize(
    ("block_size", "entries"),
    [
        (1024, 84),
        (2048, 169),
        (4096, 340),
        (8192, 681),
        (16384, 1364),
        (32768, 2729),
        (65536, 5460),
    ],
)
def test_capacity_follows_from_block_size(block_size: int, entries: int) -> None:
    assert node_entries(block_size) == entries
    assert scattered(entries, block_size).blocks() == 1
    assert scattered(entries + 1, block_size).blocks() == 2


@pytest.mark.parametrize(
    ("count", "blocks", "depth"),
    [(0, 0, 0), (4, 0, 0), (5, 1, 1), (340, 1, 1), (341, 2, 1), (1360, 4, 1), (1361, 6, 2)],
)
def test_tree_of_appended_extents(count: int, blocks: int, depth: int) -> None:
    tree = scattered(count)
    assert (tree.blocks(), tree.depth()) == (blocks, depth)
    check_structure(tree)


# Insertion


def test_adjacent_extents_merge_only_if_adjacent_on_the_device_and_alike() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=False)
    tree.insert(4, 4, 104, unwritten=False)
    tree.insert(8, 4, 200, unwritten=False)
    tree.insert(12, 4, 204, unwritten=True)
    assert states(tree) == [(0, 8, False), (8, 4, False), (12, 4, True)]


def test_insertion_between_two_neighbours_merges_all_three() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=False)
    tree.insert(8, 4, 108, unwritten=False)
    tree.insert(4, 4, 104, unwritten=False)
    assert tree.extents() == [Extent(0, 12, 100, False)]


@pytest.mark.parametrize(("unwritten", "longest"), [(False, 32768), (True, 32767)])
def test_extents_merge_up_to_the_longest(unwritten: bool, longest: int) -> None:
    tree = ExtentTree(4096)
    tree.insert(0, longest - 1, 1000, unwritten)
    tree.insert(longest - 1, 1, 999 + longest, unwritten)
    tree.insert(longest, 1, 1000 + longest, unwritten)
    assert states(tree) == [(0, longest, unwritten), (longest, 1, unwritten)]
    with pytest.raises(ExtentTreeError):
        tree.insert(100_000, longest + 1, 200_000, unwritten)


def test_merging_needs_no_free_entry() -> None:
    tree = ExtentTree(4096)
    for lblk in range(0, 3400, 10):
        tree.insert(lblk, 1, 100 + lblk, unwritten=False)
    for lblk in (3391, 1009, 1011):
        tree.insert(lblk, 1, 100 + lblk, unwritten=False)
    assert (len(tree.extents()), tree.blocks()) == (340, 1)
    assert tree.lookup(1009) == Extent(1009, 3, 1109, False)


def test_four_extents_fold_into_the_inode() -> None:
    tree = scattered(5)
    assert tree.blocks() == 1
    tree.insert(1, 1, 101, unwritten=False)
    assert (len(tree.extents()), tree.blocks()) == (4, 0)


def test_full_leaf_splits_behind_the_nearest_extent() -> None:
    tree = scattered(340)
    tree.insert(11, 1, 9000, unwritten=False)
    assert tree.blocks() == 2
    assert isinstance(tree._root, Branch)
    assert [len(index.child.slots) for index in tree._root.slots] == [7, 334]


def test_next_leaf_takes_what_a_full_leaf_cannot() -> None:
    tree = scattered(341)
    tree.insert(679, 1, 9000, unwritten=False)
    assert tree.blocks() == 2
    assert isinstance(tree._root, Branch)
    assert [len(index.child.slots) for index in tree._root.slots] == [340, 2]
    assert tree._root.slots[1].first == 679


def test_growth_for_a_passing_extent_stays() -> None:
    """Peaks count: four extents and a split in three make six, then five at last."""
    tree = scattered(3)
    tree.insert(10, 4, 500, unwritten=True)
    assert tree.blocks() == 0
    tree.convert(11, 1)
    tree.convert(12, 1)
    tree.convert(13, 1)
    assert (len(tree.extents()), tree.blocks()) == (5, 1)


# Conversion


def test_every_second_block_of_a_preallocation_then_the_others() -> None:
    """Measured with 4 KiB blocks: 136 sectors while the tree block is there, then 128."""
    tree = ExtentTree(4096)
    tree.insert(0, 16, 1000, unwritten=True)
    seen = []
    for lblk in [*range(1, 16, 2), *range(0, 16, 2)]:
        tree.convert(lblk, 1)
        seen.append((len(tree.extents()), 8 * (16 + tree.blocks())))
    odd = [(3, 128), (5, 136), (7, 136), (9, 136), (11, 136), (13, 136), (15, 136), (16, 136)]
    even = [(15, 136), (13, 136), (11, 136), (9, 136), (7, 136), (5, 136), (3, 128), (1, 128)]
    assert seen == odd + even
    assert tree.extents() == [Extent(0, 16, 1000, False)]


def test_sequential_conversion_keeps_two_extents() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 100, 1000, unwritten=True)
    for lblk in range(0, 99, 3):
        tree.convert(lblk, 3)
        assert states(tree) == [(0, lblk + 3, False), (lblk + 3, 97 - lblk, True)]
    assert tree.blocks() == 0


def test_conversion_spans_extents_and_skips_those_that_are_converted() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=True)
    tree.insert(4, 4, 200, unwritten=False)
    tree.insert(8, 4, 300, unwritten=True)
    tree.convert(2, 8)
    assert states(tree) == [
        (0, 2, True),
        (2, 2, False),
        (4, 4, False),
        (8, 2, False),
        (10, 2, True),
    ]


def test_conversion_of_a_hole_is_refused_and_changes_nothing() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=True)
    tree.insert(6, 4, 106, unwritten=True)
    before = tree.extents()
    with pytest.raises(ExtentTreeError, match="block 4 is not mapped"):
        tree.convert(0, 10)
    assert tree.extents() == before


def test_zero_range_takes_more_than_the_longest_unwritten_extent_in_halves() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, INIT_MAX_LEN, 100_000, unwritten=False)
    tree.convert(0, INIT_MAX_LEN, to_unwritten=True)
    assert states(tree) == [(0, 16383, True), (16383, 16385, True)]


def test_write_at_the_edge_of_a_preallocation_moves_the_edge() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=False)
    tree.insert(4, 100, 104, unwritten=True)
    tree.insert(104, 4, 204, unwritten=False)
    assert tree.initialize(4, 2, eof=200, zeroout=0) == (4, 2)
    assert tree.initialize(102, 2, eof=200, zeroout=0) == (102, 2)
    assert states(tree) == [(0, 6, False), (6, 96, True), (102, 6, False)]


def test_write_over_a_whole_preallocation_merges_it() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=False)
    tree.insert(4, 4, 104, unwritten=True)
    assert tree.initialize(4, 4, eof=8, zeroout=8) == (4, 4)
    assert tree.extents() == [Extent(0, 8, 100, False)]


@pytest.mark.parametrize(("length", "blocks"), [(1, 1), (2, 2)])
def test_edge_does_not_move_if_the_written_extent_gets_as_long_as_can_be(
    length: int, blocks: int
) -> None:
    """Then the extent is split in a full leaf, and that leaf stays split."""
    tree = scattered(338)
    tree.insert(1000, INIT_MAX_LEN - 2, 100_000, unwritten=False)
    tree.insert(1000 + INIT_MAX_LEN - 2, 10, 100_000 + INIT_MAX_LEN - 2, unwritten=True)
    assert tree.blocks() == 1
    tree.initialize(1000 + INIT_MAX_LEN - 2, length, eof=10**6, zeroout=0)
    assert tree.blocks() == blocks


def test_right_end_is_split_off_first() -> None:
    """The leaf has one free entry for it; the middle part then splits the leaf before it."""
    tree = scattered(338)
    tree.remove(20, 20)
    tree.insert(1000, 1, 9000, unwritten=False)
    tree.insert(19, 3, 7000, unwritten=True)
    assert len(tree.extents()) == 339
    tree.convert(20, 1)
    assert isinstance(tree._root, Branch)
    assert [len(index.child.slots) for index in tree._root.slots] == [12, 329]


@pytest.mark.parametrize(
    ("lblk", "eof", "zeroout", "written"),
    [
        (12, 20, 9, (10, 8)),
        (12, 20, 8, (12, 6)),
        (12, 17, 8, (12, 1)),
        (12, 20, 0, (12, 1)),
        (12, 20, 4, (10, 3)),
        (16, 20, 4, (16, 2)),
        (12, 20, 3, (12, 1)),
        (14, 20, 4, (14, 4)),
    ],
)
def test_write_into_a_short_preallocation_zeroes_around(
    lblk: int, eof: int, zeroout: int, written: tuple[int, int]
) -> None:
    tree = ExtentTree(4096)
    tree.insert(10, 8, 100, unwritten=True)
    assert tree.initialize(lblk, 1, eof, zeroout) == written
    first, length = written
    for block in range(10, 18):
        extent = tree.lookup(block)
        assert extent is not None
        assert extent.unwritten == (not first <= block < first + length)


# Removal


def test_truncate_keeps_the_tree_block_until_a_merge() -> None:
    tree = scattered(100)
    tree.remove(1)
    assert (len(tree.extents()), tree.blocks(), tree.depth()) == (1, 1, 1)
    tree.insert(1, 1, 101, unwritten=False)
    assert (len(tree.extents()), tree.blocks(), tree.depth()) == (1, 0, 0)


def test_removing_all_frees_all_tree_blocks() -> None:
    tree = scattered(2000)
    assert tree.depth() == 2
    tree.remove(0)
    assert (tree.extents(), tree.blocks(), tree.depth()) == ([], 0, 0)
    tree.insert(7, 1, 100, unwritten=False)
    assert tree.blocks() == 0


def test_empty_leaves_go_and_the_depth_stays() -> None:
    tree = scattered(1361)
    tree.remove(10)
    assert (tree.blocks(), tree.depth()) == (2, 2)
    check_structure(tree)


def test_hole_within_an_extent_can_add_a_tree_block() -> None:
    tree = scattered(3)
    tree.insert(100, 10, 1000, unwritten=False)
    tree.remove(103, 105)
    assert states(tree)[3:] == [(100, 3, False), (106, 4, False)]
    assert tree.blocks() == 1


def test_removing_nothing_changes_nothing() -> None:
    tree = scattered(3)
    before = tree.extents()
    tree.remove(5)
    tree.remove(1, 1)
    tree.remove(4, 3)
    assert tree.extents() == before


# Collapse and insert range


def test_collapse_range_merges_across_the_seam() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 4, 100, unwritten=False)
    tree.insert(8, 4, 104, unwritten=False)
    tree.insert(20, 4, 500, unwritten=False)
    tree.shift(8, -4)
    assert tree.extents() == [Extent(0, 8, 100, False), Extent(16, 4, 500, False)]


def test_insert_range_splits_and_does_not_merge_across_the_hole() -> None:
    tree = ExtentTree(4096)
    tree.insert(0, 10, 100, unwritten=False)
    tree.shift(4, 3)
    assert tree.extents() == [Extent(0, 4, 100, False), Extent(7, 6, 104, False)]


def test_shift_merges_what_a_split_left_apart() -> None:
    for delta in (5, -5):
        tree = ExtentTree(4096)
        tree.insert(10, 8, 100, unwritten=False)
        tree.split_at(14)
        assert len(tree.extents()) == 2
        tree.shift(10, delta)
        assert tree.extents() == [Extent(10 + delta, 8, 100, False)]


def test_collapse_range_does_not_fold_the_tree_into_the_inode() -> None:
    tree = scattered(5)
    tree.remove(4)
    assert tree.blocks() == 1
    tree.shift(2, -1)
    assert (len(tree.extents()), tree.blocks()) == (2, 1)


def test_impossible_shifts_are_refused() -> None:
    tree = ExtentTree(4096)
    tree.insert(5, 5, 100, unwritten=False)
    for first, delta in ((5, -6), (7, -1), (10, -1), (5, 0xFFFFFFFF - 9)):
        with pytest.raises(ExtentTreeError):
            tree.shift(first, delta)
    assert tree.extents() == [Extent(5, 5, 100, False)]


@pytest.mark.parametrize(("lblk", "length"), [(4, 2), (5, 1), (9, 3), (0, 20), (0, 0), (-1, 1)])
def test_impossible_insertions_are_refused(lblk: int, length: int) -> None:
    tree = ExtentTree(4096)
    tree.insert(5, 5, 100, unwritten=False)
    with pytest.raises(ExtentTreeError):
        tree.insert(lblk, length, 1000, unwritten=False)
    assert tree.extents() == [Extent(5, 5, 100, False)]


# Against the kernel, and against a map that has no tree


def test_tree_blocks_are_those_of_a_real_kernel() -> None:
    """Replays calls with physical numbers from FIEMAP; see the head of the data file."""
    tree, compared, deepest = ExtentTree(1024), 0, 0
    for number, name, numbers in measured("extent_tree.txt"):
        if name == "file":
            tree = ExtentTree(numbers[0])
        elif name == "=":
            assert tree.blocks() == numbers[0], f"line {number}"
            compared, deepest = compared + 1, max(deepest, tree.depth())
        elif name == "comb":
            for lblk in range(numbers[0], numbers[1] + 1, numbers[2]):
                tree.remove(lblk, lblk)
        else:
            getattr(tree, name)(*numbers)
    assert compared > 900
    assert deepest == 2


SPAN = 120
Call = tuple[str, int, int, int, bool]

calls = st.lists(
    st.tuples(
        st.sampled_from(
            ["insert", "insert", "insert", "convert", "remove", "cut", "shift", "init"]
        ),
        st.integers(0, SPAN - 1),
        st.integers(1, 12),
        st.sampled_from([0, 0, 0, 7, 1000]),
        st.booleans(),
    ),
    max_size=80,
)


def free_from(blocks: dict[int, tuple[int, bool]], lblk: int, length: int) -> int:
    """How many of `length` blocks from `lblk` are free in a row."""
    return next((step for step in range(length) if lblk + step in blocks), length)


def move(
    blocks: dict[int, tuple[int, bool]], first: int, delta: int
) -> dict[int, tuple[int, bool]]:
    return {(lblk + delta if lblk >= first else lblk): to for lblk, to in blocks.items()}


@settings(max_examples=150, deadline=None)
@given(calls)
def test_any_tree_maps_like_a_plain_dictionary(todo: list[Call]) -> None:
    check_against_dictionary(todo)


@pytest.mark.parametrize("seed", range(8))
def test_deep_trees_map_like_a_plain_dictionary(seed: int) -> None:
    chance = random.Random(seed)
    names = ["insert"] * 12 + ["convert"] * 3 + ["remove", "remove", "shift", "init"]
    check_against_dictionary(
        [
            (
                chance.choice(names),
                chance.randrange(SPAN),
                chance.randint(1, 3),
                chance.choice([0, 7, 1000]),
                chance.random() < 0.5,
            )
            for _ in range(600)
        ]
    )


def check_against_dictionary(todo: list[Call]) -> None:
    """Make the calls on a tree and on a dictionary; after each the tree must be sound."""
    tree, blocks = ExtentTree(TINY), dict[int, tuple[int, bool]]()
    for step, (name, lblk, length, jump, flag) in enumerate(todo):
        if name == "insert":
            pblk = 10_000 + lblk + jump * step
            for offset in range(length := free_from(blocks, lblk, length)):
                blocks[lblk + offset] = pblk + offset, flag
            if length:
                tree.insert(lblk, length, pblk, flag, nomerge=jump == 7)
        elif name == "convert":
            end = next((at for at in range(lblk, lblk + length) if at not in blocks), lblk + length)
            tree.convert(lblk, end - lblk, to_unwritten=flag)
            for at in range(lblk, end):
                blocks[at] = blocks[at][0], flag
        elif name in ("remove", "cut"):
            end = lblk + length if name == "remove" else 10 * SPAN
            tree.remove(lblk, end - 1) if name == "remove" else tree.remove(lblk)
            blocks = {at: to for at, to in blocks.items() if not lblk <= at < end}
        elif name == "shift" and flag:
            tree.remove(lblk, lblk + length - 1)
            tree.shift(lblk + length, -length)
            blocks = {at: to for at, to in blocks.items() if not lblk <= at < lblk + length}
            blocks = move(blocks, lblk, -length)
        elif name == "shift":
            tree.shift(lblk, length)
            blocks = move(blocks, lblk, length)
        elif blocks.get(lblk, (0, False))[1]:
            first, count = tree.initialize(lblk, length, eof=SPAN if flag else 0, zeroout=jump)
            for at in range(first, first + count):
                blocks[at] = blocks[at][0], False
        check_structure(tree)
    mapped = {
        extent.lblk + offset: (extent.pblk + offset, extent.unwritten)
        for extent in tree.extents()
        for offset in range(extent.length)
    }
    assert mapped == blocks


@pytest.mark.parametrize("at", [5, 15])
@pytest.mark.parametrize(("length", "free"), [(5, True), (6, False), (12, False)])
def test_what_reaches_the_next_extent_is_refused(at: int, length: int, free: bool) -> None:
    tree = ExtentTree(4096)
    for lblk in (0, 10, 20):
        tree.insert(lblk, 2, 100 * lblk, False)
    if free:
        tree.insert(at, length, 5000, False)
    else:
        with pytest.raises(ExtentTreeError, match="is mapped already"):
            tree.insert(at, length, 5000, False)
