"""Ordered data: what a commit has written is clean behind it, also where nothing crashes."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import placed, results, run, states

from harness.trace import Extent, State

PART_OF_A_PAGE = "falloc a 0 256k; pread a 100k 4k; pwrite a 100k 1k; pwrite b 0 1k; "
SEEN = "drop_caches; seek a"


@pytest.mark.parametrize(
    ("config", "commit", "data"),
    [
        ("1k@nodelalloc", "", 4096),  # the page is dirty, so it stays, and so do its zeros
        ("1k@nodelalloc", "fsync b; ", 1024),
        ("1k@nodelalloc,data=writeback", "fsync b; ", 4096),
        ("1k@delalloc", "fsync b; ", 4096),
    ],
)
def test_a_commit_for_another_file_cleans_what_it_writes(
    config: str, commit: str, data: int
) -> None:
    """The first two were seen on Debian's 7.3.4."""
    trace = run(f"{PART_OF_A_PAGE}{commit}{SEEN}", config)
    assert results(trace)[-1] == [[100 << 10, (100 << 10) + data]]


def test_a_commit_for_space_cleans_what_it_writes_too() -> None:
    """What is allocated last finds its blocks only behind the commit that frees them."""
    line = f"falloc f 0 12000k; sync; {PART_OF_A_PAGE}unlink f; falloc g 0 12000k; {SEEN}"
    places = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << power),)
        for name, power in (("a", 31), ("b", 35), ("f", 40), ("g", 45))
    }
    trace = placed(make_workload(line, "1k@nodelalloc"), places)
    assert results(trace)[-3:] == [0, 0, [[100 << 10, 101 << 10]]]
    assert "retry: ext4_should_retry_alloc" in trace.steps[-3].because


def test_what_a_commit_wrote_once_it_does_not_write_again() -> None:
    line = f"{PART_OF_A_PAGE}fsync b; pwrite a 100k 1k; pwrite b 1k 1k; fsync b; {SEEN}"
    assert results(run(line, "1k@nodelalloc"))[-1] == [[100 << 10, 104 << 10]]


@pytest.mark.parametrize(("commit", "left"), [("fsync b; ", 4096), ("", 0)])
def test_a_commit_passes_over_what_is_dirty_past_eof(commit: str, left: int) -> None:
    """A failed write left it there; nothing writes it when it is within EOF."""
    line = f"dwrite a 0 4k; pwrite_fault a 0 8k fault=0; pwrite b 0 4k; {commit}pwrite a 8k 4k"
    last = run(f"{line}; fsync a").steps[-1]
    assert sum(length for _, length, state in states(last) if state == "delayed") == left
