"""Direct writes: when they are refused, what they leave then, and how far a file can grow."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, placed, results, run, states

from harness.trace import Trace

KIB = 1024
LAST = 17592186036224  # bytes: the last block of 4 KiB that a file can have


def aligned_to_nothing(line: str, config: str = "4k@delalloc") -> Trace:
    """The trace of `line`, whose last operation is a direct write that is refused."""
    trace = placed(make_workload(line, config))
    assert results(trace)[-1] == "EINVAL"
    return trace


def test_blocks_that_a_refused_write_mapped_inside_the_file_stay_unwritten() -> None:
    trace = aligned_to_nothing("truncate a 64k; dwrite a 4095 1023", "1k@nodelalloc")
    assert states(trace.steps[-1]) == [(3 * KIB, 2 * KIB, "unwritten")]


def test_what_is_cached_of_the_range_is_written_back_first() -> None:
    trace = aligned_to_nothing("truncate a 64k; pwrite a 4k 8k; dwrite a 4100 512")
    assert states(trace.steps[-1]) == [(4 * KIB, 4 * KIB, "written"), (8 * KIB, 4 * KIB, "delayed")]


def test_a_refused_write_past_the_size_on_disk_makes_the_size_durable() -> None:
    trace = aligned_to_nothing("pwrite a 0 4k; pwrite a 4k 60k; dwrite a 100 512")
    assert states(trace.steps[-1]) == [(0, 4 * KIB, "written"), (4 * KIB, 60 * KIB, "delayed")]
    assert file(trace.steps[-1]).disksize == 64 * KIB


def test_a_refused_write_past_eof_trims_the_file_and_makes_its_size_durable() -> None:
    trace = aligned_to_nothing("falloc_keep a 0 64k; pwrite a 0 4097; dwrite a 33266 2")
    assert states(trace.steps[-1]) == [(0, 8 * KIB, "unwritten")]
    assert (file(trace.steps[-1]).size, file(trace.steps[-1]).disksize) == (4097, 4097)


def test_runs_before_the_refused_one_are_written_but_not_converted() -> None:
    line = "pwrite a 0 4k; fsync a; falloc a 4k 4k; falloc a 12k 4k; {}; pread a 0 16k"
    plain = placed(make_workload(line.format("dwrite a 0 4k tag=9")))
    refused = placed(make_workload(line.format("dwrite a 0 12289 tag=9")))
    assert results(refused)[4] == "EINVAL"
    assert results(refused)[5] == results(plain)[5]
    assert states(refused.steps[4]) == [(0, 4 * KIB, "written"), (4 * KIB, 12 * KIB, "unwritten")]


def test_what_goes_through_the_page_cache_needs_no_alignment() -> None:
    line = "truncate a 64k; dwrite a 100 200; dwrite a 100 200; dwrite a 4k 5000"
    assert results(run(line, "ext3ish@delalloc")) == [0, 200, "EINVAL", 5000]


def test_nothing_to_write_needs_no_alignment() -> None:
    assert results(run("dwrite a 1 0; dwrite a 9223372036854775807 0")) == [0, 0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"dwrite a {LAST} 8k", 4096),
        (f"dwrite a {LAST + 4096} 4k", "EFBIG"),
        (f"dwrite a {1 << 62} 4k", "EFBIG"),
        (f"dwrite a {(1 << 63) - 1} 512", "EINVAL"),
        (f"pwrite a {(1 << 63) - 1} 1", "EINVAL"),
        (f"pwrite a {(1 << 63) - 2} 1", "EFBIG"),
        (f"rlimit_write a limit=4k {(1 << 63) - 1} 1", "EINVAL"),
    ],
)
def test_no_direct_write_passes_the_longest_file(line: str, expected: object) -> None:
    assert results(run(line)) == [expected]


def test_a_page_past_eof_that_is_dirty_still_sends_a_direct_write_through_the_page_cache() -> None:
    trace = run("pwrite_fault a 0 12k fault=8k; dwrite a 0 20k")
    claimed, *reserved, last = (event.count for event in trace.steps[1].events)
    assert (claimed, reserved, last) == (2, [1, 1], 3)
    unaligned = "pwrite_fault a 0 12k fault=8k; dwrite a 4k 4196"
    assert results(run(unaligned))[1] == 4196
