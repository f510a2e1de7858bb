"""Without placement st_blocks is not known, but between which numbers it is."""

from __future__ import annotations

import msgspec
import pytest
from modelled import chosen, file, geometry_of, run

from harness.comparison.compare import compare
from harness.errors import NotModelledError
from harness.recordings.recording import recorded_by
from harness.trace import Trace, placement_of
from model import Behaviour, Model
from model.extent_status import ExtentStatus, Run
from model.extent_tree import ExtentTree
from model.tree_bounds import tree_bounds
from model.units import DELAYED, UNWRITTEN, WRITTEN


def bounds(*runs: Run, size: int = 4096, most: int = 0, by_state: bool = True) -> tuple[int, int]:
    """Bounds on the tree blocks of a file with these runs."""
    es = ExtentStatus(1)
    for one in runs:
        es.set(one)
    mapped = sum(one.end - one.start for one in runs if one.state != DELAYED)
    return tree_bounds(es, size, max(most, mapped), by_state)


def test_four_blocks_fit_into_the_inode_wherever_they_are() -> None:
    assert bounds(Run(0, 4, WRITTEN), Run(9, 99, DELAYED)) == (0, 0)
    assert bounds(Run(0, 5, WRITTEN)) == (0, 1)


def test_five_runs_need_a_leaf_and_neighbours_may_be_one() -> None:
    apart = [Run(block, block + 1, WRITTEN, 10 * block) for block in range(0, 10, 2)]
    assert bounds(*apart) == (1, 1)
    beside = [Run(block, block + 1, WRITTEN, 10 * block) for block in range(5)]
    assert bounds(*beside) == (0, 1)
    mixed = [Run(block, block + 1, (WRITTEN, UNWRITTEN)[block % 2]) for block in range(5)]
    assert bounds(*mixed) == (1, 1)
    assert bounds(*mixed, by_state=False) == (0, 1)


def test_longest_extents_and_full_tree_blocks_bound_from_below() -> None:
    assert bounds(Run(0, 32768 * 5, WRITTEN))[0] == 1
    assert bounds(Run(0, 32767 * 4, UNWRITTEN))[0] == 0
    assert bounds(*(Run(2 * b, 2 * b + 1, WRITTEN) for b in range(4 * 84)), size=1024)[0] == 4
    assert bounds(*(Run(2 * b, 2 * b + 1, WRITTEN) for b in range(4 * 84 + 1)), size=1024)[0] == 6


def test_a_tree_that_once_grew_may_have_stayed() -> None:
    assert bounds(Run(0, 2, WRITTEN), most=2) == (0, 0)
    assert bounds(Run(0, 2, WRITTEN), most=200) == (0, 1)
    assert bounds(Run(0, 2, WRITTEN), size=1024, most=200) == (0, 2 + 2 + 1)


@pytest.mark.parametrize("count", [5, 84, 85, 87, 88, 89, 120, 200])
def test_no_order_of_insertions_takes_more_than_the_bound(count: int) -> None:
    """From the end to the start each insertion into the full first leaf can split it."""
    for order in (range(count), range(count - 1, -1, -1), [*range(84), *range(count - 1, 83, -1)]):
        tree, run = ExtentTree(1024), [Run(3 * b, 3 * b + 1, WRITTEN) for b in range(count)]
        for block in (number for number in order if number < count):
            tree.insert(3 * block, 1, 1000 - 9 * block + (1 << 20), unwritten=False)
            assert tree.blocks() <= bounds(*run, size=1024)[1]


def test_the_model_gives_bounds_where_it_lacks_the_number() -> None:
    steps = run("pwrite a 0 20k; fsync a; truncate a 0; pwrite a 0 4k").steps
    assert [file(step).blocks for step in steps] == [40, None, 0, 8]
    assert file(steps[1]).blocks_range == file(steps[1]).disk_blocks_range == (40, 48)
    assert [file(step).blocks_range for step in (steps[0], steps[2], steps[3])] == [None] * 3


def test_what_zeroing_of_short_extents_hides_is_left_open() -> None:
    """Without delayed allocation a write may zero all of a short unwritten extent."""
    step = run("falloc a 0 64k; pwrite a 0 4k", "4k@nodelalloc").steps[1]
    assert file(step).extents is None
    assert "zeroed" in step.unpredicted["a.extents"]


def seen_with(blocks: int, expected: Trace) -> Trace:
    """`expected` as a kernel's trace in which `a` has so many sectors."""
    step = expected.steps[-1]
    one = msgspec.structs.replace(file(step), blocks=blocks, blocks_range=None)
    observed = msgspec.structs.replace(step.observation, files={"a": one})
    last = msgspec.structs.replace(step, observation=observed)
    return msgspec.structs.replace(expected, steps=(*expected.steps[:-1], last))


def test_a_number_outside_the_bounds_is_a_mismatch() -> None:
    expected = run("pwrite a 0 20k; fsync a")
    for blocks, fine in ((39, False), (40, True), (48, True), (49, False)):
        verdict = compare(expected, seen_with(blocks, expected))
        found = [(one.field, one.expected, one.actual) for one in verdict.mismatches]
        assert found == ([] if fine else [("blocks", "40 to 48", blocks)])
        assert any(where[0] == "blocks" for where in verdict.not_compared)


@pytest.mark.parametrize("name", ["bh-rand", "iomap-rand", "bh73-focus"])
def test_real_kernels_stay_within_the_bounds(name: str) -> None:
    behaviour = recorded_by(name).behaviour(frozenset({"efault_beyond_eof_moves_size"}))
    found, ranged, refused = [], 0, 0
    for trace in chosen(name, "")[::5]:
        geometry = geometry_of(trace)
        try:
            mine = Model(behaviour, lambda _, known=geometry: known).run(trace.workload)
        except NotModelledError:
            refused += 1
            continue
        ranged += sum(
            one.blocks_range is not None
            for step in mine.steps
            for one in step.observation.files.values()
        )
        found += [m for m in compare(mine, trace).mismatches if m.field == "blocks"]
    assert found == []
    assert ranged > 100
    assert refused < len(chosen(name, "")) // 10, "on a file system that is nearly full"


def test_without_placement_little_space_is_no_silent_guess() -> None:
    """What the last blocks do depends on tree blocks: the model refuses, and does not guess."""
    behaviour = Behaviour.of_release(recorded_by("bh-hand").release, iomap=False)
    for trace in chosen("bh-hand", "enospc-sparse@small4k@nodelalloc"):
        geometry = geometry_of(trace)
        model = Model(behaviour, lambda _, known=geometry: known)
        with pytest.raises(NotModelledError, match="depends on extent tree blocks"):
            model.run(trace.workload)
        assert model.run(trace.workload, placement_of(trace)).final is not None


def test_without_placement_pieces_on_a_full_disk_are_open() -> None:
    trace = run("pwrite b 0 1m; falloc a 0 29m; fsync b", "4k@delalloc")
    assert trace.steps[0].events, "reserved block by block, wherever they will be"
    assert trace.steps[2].events is None
    assert "more than half full" in trace.steps[2].unpredicted["events"]
