"""Clusters are taken for a file all or none, and only by the part of it that has them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from model.image.write_space import Space


@pytest.fixture
def space() -> Space:
    """Two groups of 64 clusters of 4 blocks, the first block 1; cluster 10 is in use."""
    found = Space.__new__(Space)
    sizes = SimpleNamespace(clusters_per_group=64)
    found.volume = SimpleNamespace(first_block=1, ratio=4, sb=sizes)  # type: ignore[assignment]
    found.clusters, found.owners = [1 << 10, 0], {}
    return found


def block(cluster: int) -> int:
    return cluster * 4 + 1


def test_a_run_may_go_from_one_group_to_the_next(space: Space) -> None:
    assert space.take(block(60) + 3, 8, "a", 5)
    assert space.clusters == [1 << 10 | 0xF << 60, 0xF]
    assert space.owners == {60 + number: ("a", 5 + number) for number in range(8)}


@pytest.mark.parametrize(("first", "count"), [(10, 1), (8, 3), (10, 60), (0, 11)])
def test_nothing_is_taken_if_one_is_in_use(space: Space, first: int, count: int) -> None:
    assert not space.take(block(first), count, "a", 0)
    assert (space.clusters, space.owners) == ([1 << 10, 0], {})


def test_the_same_part_of_a_file_may_have_its_cluster_twice(space: Space) -> None:
    """As two extents in one cluster do; another part, or another file, may not."""
    assert space.take(block(20), 2, "a", 7)
    assert space.take(block(21), 3, "a", 8)
    assert space.owners == {20: ("a", 7), 21: ("a", 8), 22: ("a", 9), 23: ("a", 10)}
    assert not space.take(block(23), 1, "a", 8)
    assert not space.take(block(20), 1, "b", 7)
    assert space.clusters == [1 << 10 | 0xF << 20, 0]
