"""Files without extents have the indirect blocks that the kernel gives and leaves them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import measured

from model.indirect_pointers import IndirectTreeError, max_file_bytes
from model.indirect_tree import IndirectTree

TINY = 16
"""A block size that no file system has; four pointers a block make deep trees at once."""
TINY_REACH = 12 + 4 + 16 + 64


def test_indirect_blocks_come_with_the_first_block_that_needs_them() -> None:
    tree = IndirectTree(4096)
    seen = []
    for lblk in (0, 11, 12, 12 + 1023, 12 + 1024, 12 + 2048, 12 + 1024 + 1024**2):
        tree.insert(lblk, 1)
        seen.append(tree.blocks())
    assert seen == [0, 0, 1, 1, 3, 4, 7]


def test_one_run_across_all_kinds_of_pointers() -> None:
    tree = IndirectTree(1024)
    tree.insert(0, 12 + 256 + 300)
    assert tree.blocks() == 1 + 1 + 2
    assert tree.ranges() == [(0, 568)]


def test_hole_leaves_an_empty_indirect_block_until_a_truncate() -> None:
    tree = IndirectTree(4096)
    tree.insert(0, 20)
    tree.remove(12, 19)
    assert (tree.ranges(), tree.blocks()) == ([(0, 12)], 1)
    tree.remove(12)
    assert tree.blocks() == 0


def test_hole_frees_an_indirect_block_that_lies_in_it() -> None:
    tree = IndirectTree(1024)
    tree.insert(0, 12 + 256 + 10)
    tree.remove(12, 12 + 255)
    assert (tree.ranges(), tree.blocks()) == ([(0, 12), (268, 10)], 2)


def test_truncate_frees_indirect_blocks_that_keep_nothing() -> None:
    tree = IndirectTree(1024)
    tree.insert(0, 12 + 256 + 600)
    assert tree.blocks() == 5
    tree.remove(12 + 256 + 257)
    assert tree.blocks() == 4
    tree.remove(12 + 256)
    assert tree.blocks() == 1
    tree.remove(13)
    assert (tree.ranges(), tree.blocks()) == ([(0, 13)], 1)
    tree.remove(12)
    assert tree.blocks() == 0


def test_impossible_calls_are_refused() -> None:
    tree = IndirectTree(TINY)
    tree.insert(5, 5)
    for lblk, length in ((9, 2), (0, 0), (TINY_REACH - 1, 2), (-1, 1)):
        with pytest.raises(IndirectTreeError):
            tree.insert(lblk, length)
    assert (tree.ranges(), tree.blocks()) == ([(5, 5)], 0)


@pytest.mark.parametrize(
    ("block_size", "huge_file", "limit"),
    [
        (1024, True, 17247252480),
        (2048, True, 275415851008),
        (4096, True, 4402345721856),
        (4096, False, 2196873666560),
    ],
)
def test_size_limit_follows_from_block_size(block_size: int, huge_file: bool, limit: int) -> None:
    assert max_file_bytes(block_size, huge_file) == limit


def test_indirect_blocks_are_those_of_a_real_kernel() -> None:
    """Replays random writes, holes and truncates; see the head of the data file."""
    tree, compared, empty = IndirectTree(1024), 0, 0
    for number, name, numbers in measured("indirect_tree.txt"):
        if name == "file":
            tree = IndirectTree(numbers[0])
        elif name == "=":
            assert tree.blocks() == numbers[0], f"line {number}"
            compared, empty = compared + 1, empty + (tree.blocks() != needed(tree))
        else:
            getattr(tree, name)(*numbers)
    assert compared > 500
    assert empty > 100


def needed(tree: IndirectTree) -> int:
    """Indirect blocks of a file that got the same mapping without ever losing a block."""
    fresh = IndirectTree(1024)
    for first, length in tree.ranges():
        fresh.insert(first, length)
    return fresh.blocks()


calls = st.lists(
    st.tuples(
        st.sampled_from(["insert", "insert", "punch", "punch", "truncate"]),
        st.integers(0, TINY_REACH - 2),
        st.sampled_from([1, 2, 4, 5, 16, 40]),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(calls)
def test_any_tree_maps_like_a_plain_set(todo: list[tuple[str, int, int]]) -> None:
    tree, mapped = IndirectTree(TINY), set[int]()
    for name, lblk, length in todo:
        end = min(lblk + length, TINY_REACH - 1)
        if name == "insert":
            for at in sorted(set(range(lblk, end)) - mapped):
                tree.insert(at, 1)
            mapped |= set(range(lblk, end))
        elif name == "punch":
            tree.remove(lblk, end - 1)
            mapped -= set(range(lblk, end))
        else:
            tree.remove(lblk)
            mapped = {at for at in mapped if at < lblk}
        found = [at for first, count in tree.ranges() for at in range(first, first + count)]
        assert found == sorted(mapped)
        assert all(tree.mapped(at) == (at in mapped) for at in range(TINY_REACH))
        assert tree.blocks() == count_blocks(tree)
    tree.remove(0)
    assert tree.blocks() == 0


def count_blocks(tree: IndirectTree) -> int:
    found, blocks = 0, [tree._root]
    while blocks:
        below = [child for child in blocks.pop().slots.values() if child is not None]
        found += len(below)
        blocks += below
    return found
