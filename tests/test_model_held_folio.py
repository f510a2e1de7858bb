"""A folio that the worker which ended its I/O holds when the waiting task goes on."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import geometry, run, states

from harness.running.suppositions import ANY_LAST
from harness.trace import TURNS, Extent, State
from model import Behaviour, Model

FILLED = "pread a 0 1; pwrite a 4k 16k; sync_range a 8k 1"
"""Shows whether anything of the file was cached: a miss reads ahead page by page, and so fewer
blocks are written with the one that is asked for."""


def delayed(line: str, config: str = "4k@delalloc", **switches: object) -> int:
    """Blocks of `a` that are delayed at the end."""
    last = run(line, config, **switches).steps[-1]  # type: ignore[arg-type]
    return sum(length for _, length, state in states(last) if state == "delayed") // 4096


@pytest.mark.parametrize("iomap", [False, True])
@pytest.mark.parametrize(
    ("before", "left"),
    [
        ("pwrite a 0 8k", 3),  # it goes as a whole
        ("pwrite a 0 8k; fsync a", 2),  # the worker has come to its end
        ("pwrite a 0 8k; fsync a; pwrite a 0 8k", 2),  # nothing is converted: an interrupt ends it
        ("pwrite a 0 8k; pwrite a 8k 8k", 2),  # another one is held
        ("pwrite a 8k 8k; fsync a; pwrite a 0 8k", 3),
    ],
)
def test_a_shift_cuts_a_folio_that_it_has_just_written(
    before: str, left: int, *, iomap: bool
) -> None:
    assert delayed(f"{before}; finsert a 4k 16k; {FILLED}", iomap=iomap) == left


def test_blocks_that_are_allocated_written_are_not_converted() -> None:
    line = f"pwrite a 0 8k; finsert a 4k 16k; {FILLED}"
    assert delayed(line, "4k@delalloc,dioread_lock") == 2


def test_a_task_that_does_not_preempt_the_worker_finds_nothing_held() -> None:
    line = f"pwrite a 0 8k; finsert a 4k 16k; {FILLED}"
    assert delayed(line, waker_preempted=False) == 2


def test_a_collapse_that_writes_only_before_the_range_cuts_a_held_folio() -> None:
    line = f"pwrite a 0 16k; fcollapse a 4k 4k; finsert a 4k 16k; {FILLED}"
    assert delayed(line) == 3
    assert delayed(line.replace("0 16k", "0 16k; pwrite a 16k 8k", 1)) == 2


@pytest.mark.parametrize(("page", "left"), [("16k", 1), ("12k", 2)])
def test_a_direct_write_through_the_page_cache_leaves_its_last_folio(page: str, left: int) -> None:
    """A store there reads nothing; one into another page reads around it."""
    line = f"pwrite_fault a 0 12k fault=8k; dwrite a 0 20k; truncate a 60k; mwrite a {page} 1"
    assert delayed(f"{line}; pwrite a 20k 12k; sync_range a 24k 1") == left


@pytest.mark.parametrize(("turn", "cached"), [((), 61440), (TURNS[:1], 1024), (TURNS[1:2], 1024)])
def test_the_folio_of_any_io_may_be_the_one_that_is_held(
    turn: tuple[str, ...], cached: int
) -> None:
    """Two blocks are dirty, far from each other: two I/Os. Both were seen on 7.3.4+series."""
    line = "pwrite a 0 65537; fzero_keep a 512 64k; finsert a 64512 4k; seek a"
    workload = make_workload(line, "1k@delalloc")
    place = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    steps = [place, place, {**place, **dict.fromkeys(turn, ())}, place, place]
    trace = Model(Behaviour(iomap=False), geometry).run(workload, tuple(steps))
    assert trace.steps[-1].result == [[0, cached], [69632, 69633]]
    assert ANY_LAST in trace.steps[2].because
