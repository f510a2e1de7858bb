"""What a campaign runs follows from its plan alone, and every program is in one shard."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from harness.campaign.plan import CATALOGUED, Plan, Shard, items, shards
from harness.campaign.shelf import Shelf
from harness.lab import Lab
from harness.pairs import make_pair
from harness.sides.side import Choice
from workloads.files import catalogue


@pytest.mark.parametrize("count", [1, 19, 20, 21, 40, 41, 137])
def test_as_many_seeded_programs_as_asked_for(count: int) -> None:
    found = list(shards(Plan(seed=3, count=count)))
    programs = [(s.kind, s.seed, n) for s in found for n in range(s.start, s.stop)]
    assert len(programs) == len(set(programs)) == count
    assert len({shard.name for shard in found}) == len(found)


def test_kinds_take_turns_without_end() -> None:
    first = list(itertools.islice(shards(Plan(seed=3, shard=10)), 4))
    assert [shard.name for shard in first] == [
        "random:3:0:10", "swarm:3:0:10", "random:3:10:20", "swarm:3:10:20",
    ]  # fmt: skip


def test_what_is_limited_comes_first() -> None:
    plan = Plan(seed=3, kinds=(), exhaustive=(5, 48), catalogue=True)
    found = list(shards(plan))
    numbers = [n for s in found if s.kind == "exhaustive" for n in range(s.start, s.stop)]
    assert numbers == list(range(5, 48))
    rest = [s for s in found if s.kind == CATALOGUED]
    assert found[-len(rest) :] == rest
    assert sum(s.stop - s.start for s in rest) == len(catalogue())


def test_items_are_named_as_in_a_differential_run() -> None:
    lab = Lab(make_pair("model", Choice()))
    plan = Plan(seed=3)
    found = list(items(plan, Shard("random", 3, 7, 9), lab))
    assert [item.number for item in found] == [7, 8]
    assert found[0].name.startswith("random/seed-3/000007::")
    named = Counter(
        item.name
        for shard in shards(Plan(seed=3, kinds=(), catalogue=True))
        for item in items(plan, shard, lab)
    )
    assert set(named.values()) == {1}
    assert "quota/quota-across-limit.ops::quota4k@delalloc,usrquota" in named


def test_artifacts_stay_within_their_budget_the_oldest_go_first(tmp_path) -> None:
    shelf = Shelf(tmp_path, 1000)
    for number in range(5):
        for signature in ("one", "two"):
            shelf.put(f"artifacts/{signature}/{number}.tar.zst", bytes(150))
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("artifacts/*/*"))
    assert len(left) == 6
    assert "artifacts/one/0.tar.zst" in left  # the first of each signature goes last
    assert "artifacts/two/0.tar.zst" in left
    assert "artifacts/two/4.tar.zst" in left
    assert shelf.dropped == 4


@pytest.mark.parametrize(
    "where", ["../x", "/etc/x", "artifacts/x", "artifacts/../../x", "artifacts/a/../b", "x/y/z"]
)
def test_no_artifact_leaves_its_folder(tmp_path, where: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        Shelf(tmp_path, 1000).put(where, b"")
    assert list(tmp_path.iterdir()) == []
