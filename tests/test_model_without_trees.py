"""Results and contents are the same where the model leaves the extent trees out, and it does
so only where no result can depend on them."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import geometry

from harness.trace import Extent, Placement, State
from model import Behaviour, Model
from model.errors import TreesCount
from model.run import can_leave_out_trees
from workloads.images import Geometry, Image
from workloads.workload import Workload

SCATTERED = {"a": tuple(Extent(at, 4096, State.WRITTEN, 2 * at) for at in range(0, 1 << 20, 4096))}
"""Each block of `a` an extent of its own."""


def _placed(workload: Workload) -> Placement:
    return (SCATTERED,) * (len(workload.ops) + 1)


def _small(free: int) -> Model:
    def small(image: Image) -> Geometry:
        return Geometry(
            blocks=5000, free_blocks=free, reserved_blocks=0,
            block_size=image.block_size, cluster_size=image.cluster_size,
        )  # fmt: skip

    return Model(Behaviour(iomap=False), small)


LINES = [
    ("4k@delalloc", "pwrite a 0 20k; fsync a; fpunch a 4k 4k; pread a 0 20k; truncate a 9000"),
    ("4k@nodelalloc", "falloc a 0 64k; pwrite a 8k 4k; seek a; pwrite a 100k 8k; seek a"),
    ("1k@nodelalloc", "falloc a 0 64k; pwrite a 8k 3k; fcollapse a 4k 4k; fsync a; pread a 0 60k"),
    ("bigalloc16k@delalloc", "pwrite a 0 40k; fzero a 5000 10k; append a 100; sync; pread a 0 1m"),
]


@pytest.mark.parametrize(("config", "line"), LINES)
def test_results_and_contents_are_those_of_a_run_with_trees(config: str, line: str) -> None:
    workload = make_workload(line, config)
    model = Model(Behaviour(iomap=False), geometry)
    full = model.run(workload, _placed(workload))
    bare = model.run(workload, _placed(workload), observed=False)
    assert [step.result for step in bare.steps] == [step.result for step in full.steps]
    assert full.final is not None
    assert bare.final is not None
    assert {name: content.sha256 for name, content in (bare.final.content or {}).items()} == {
        name: content.sha256 for name, content in (full.final.content or {}).items()
    }


def _is_left_out(model: Model, workload: Workload) -> bool:
    try:
        model.play(workload, observed=False, without_trees=True)
    except TreesCount:
        return False
    return True


def test_plenty_of_space_needs_no_trees() -> None:
    workload = make_workload("pwrite a 0 40k; fsync a", "4k@delalloc")
    assert _is_left_out(_small(2000), workload)
    assert not _is_left_out(_small(300), workload)


@pytest.mark.parametrize("config", ["4k@delalloc", "4k@nodelalloc"])
def test_where_a_tree_block_takes_the_last_space_trees_are_followed(config: str) -> None:
    line = "; ".join(f"pwrite a {2 * at * 4096} 4k; fsync a" for at in range(8))
    workload = make_workload(line, config)
    outcomes = set()
    for free in range(105, 115):
        model = _small(free)
        full = model.run(workload, _placed(workload))
        bare = model.run(workload, _placed(workload), observed=False)
        results = tuple(step.result for step in full.steps)
        assert tuple(step.result for step in bare.steps) == results
        outcomes.add(results)
    assert len(outcomes) > 2, "space never mattered"


def test_seeking_where_zeroing_may_have_made_data_needs_trees() -> None:
    model = Model(Behaviour(iomap=False), geometry)
    written = "falloc a 0 64k; pwrite a 8k 4k"
    assert _is_left_out(model, make_workload(written, "4k@nodelalloc"))
    assert not _is_left_out(model, make_workload(f"{written}; seek a", "4k@nodelalloc"))
    seen = model.run(make_workload(f"{written}; seek a", "4k@nodelalloc"))
    assert "result" in seen.steps[-1].unpredicted


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("inline@delalloc", "pwrite a 0 100"),
        ("quota4k@delalloc,usrquota", "pwrite a 0 4k"),
        ("4k@delalloc", "pwrite a 0 4k; shutdown 1"),
    ],
)
def test_where_more_than_space_depends_on_places_trees_are_followed(config: str, line: str) -> None:
    assert not can_leave_out_trees(make_workload(line, config))
    assert can_leave_out_trees(make_workload("pwrite a 0 4k", "4k@delalloc"))
