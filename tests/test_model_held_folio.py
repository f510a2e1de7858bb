"""A folio that the worker which ended its I/O holds when the waiting task goes on."""

from __future__ import annotations

import pytest
from modelled import run, states

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
