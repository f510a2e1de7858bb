"""What the allocator sets aside: how many blocks one request gets, and when the rest goes."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import placed, states

from harness.trace import EventKind, Step


def pieces(step: Step) -> list[int]:
    """Clusters of each allocation of delayed blocks in the step."""
    return [event.count for event in step.events or () if event.kind is EventKind.UPDATE]


@pytest.mark.parametrize(
    ("config", "line", "expected"),
    [
        ("2k@delalloc", "pwrite a 68k 2m", [1024]),
        ("4k@delalloc", "pwrite a 2400k 2060k", [424, 91]),
        ("bigalloc16k@delalloc", "pwrite a 68k 2m", [128, 1]),
        ("4k@delalloc", "pwrite a 68k 64k", [16]),
    ],
)
def test_a_request_as_long_as_its_piece_takes_all_of_it(
    config: str, line: str, expected: list[int]
) -> None:
    """The windows begin before the request. One of 2 MiB is used up by it, wherever it starts;
    one of 4 MiB is longer than the request, and ends it."""
    assert pieces(placed(make_workload(line + "; fsync a", config)).steps[-1]) == expected


SET_ASIDE = "pwrite a 156k 32k; fsync a; pwrite a 2928k 4k; pwrite a 200k 4k; "
"""Sets aside the 256 KiB around the first write, and leaves block 50 in it delayed."""


@pytest.mark.parametrize(
    ("write_back", "expected"), [("fsync a", [13, 22]), ("close a; sync", [35])]
)
def test_a_piece_of_a_closed_file_goes_with_its_last_delayed_block(
    write_back: str, expected: list[int]
) -> None:
    line = f"{SET_ASIDE}{write_back}; pwrite a 204k 140k; fsync a"
    assert pieces(placed(make_workload(line)).steps[-1]) == expected


def test_clean_blocks_of_a_written_folio_stay_marked_delayed() -> None:
    """The short copy leaves blocks that are delayed and clean; written to later they are
    gathered with those behind them."""
    line = (
        "pwrite_fault a 0 64k fault=4k; pwrite_osync a 6483 1; pwrite a 253084 293162;"
        "pwrite_osync a 1k 16k; pwrite a 20000 258156; fsync a"
    )
    steps = placed(make_workload(line, "1k@delalloc")).steps
    assert [pieces(step) for step in steps] == [[], [7], [], [10], [], [515]]


def test_buffers_that_were_never_mapped_are_not_written() -> None:
    """The store makes all buffers of the page dirty, also those past EOF."""
    line = "truncate a 8193; mwrite a 8k 1; dwrite a 24k 4k; falloc a 11k 5k; sync"
    last = placed(make_workload(line, "1k@delalloc")).steps[-1]
    assert states(last)[1] == (11 * 1024, 5 * 1024, "unwritten")


def test_a_piece_may_begin_in_the_middle_of_a_cluster() -> None:
    """Behind block 75 the direct write of block 83 sets four clusters aside, up to block 140, and
    what is written next all that is from there to 2 MiB, in whole clusters: 24, of which the last
    reaches past 2 MiB. So one request gets both clusters of blocks 511 to 513."""
    line = "pwrite a 0 304k; remount; dwrite a 332k 4k; pwrite a 2044k 12k; fsync a"
    assert pieces(placed(make_workload(line, "bigalloc64k@delalloc")).steps[-1]) == [2]
