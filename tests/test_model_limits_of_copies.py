"""Copies, reads and zeroing at the limits: errnos in the order that Debian's 7.3.4 has shown."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import FREE, file, placed, results, run

LARGEST = 17592186040320  # bytes: s_maxbytes with blocks of 4 KiB
BITMAP = 4402345721856  # bytes: s_bitmap_maxbytes with blocks of 4 KiB
END = (1 << 63) - 1
START = "pwrite a 0 100000; "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"sendfile a 0 100 b {LARGEST}", "EFBIG"),
        (f"sendfile a 0 0 b {LARGEST + 1}", "EINVAL"),
        (f"sendfile a {LARGEST} 0 b 0", 0),
        (f"sendfile a {LARGEST + 1} 0 b 0", "EOVERFLOW"),
        (f"sendfile a {LARGEST - 1} 100 b 0", 0),
        (f"sendfile a {END} 1 b 0", "EINVAL"),
        (f"splice a 0 0 b {END}", 0),
        (f"splice a {END} 1 b 0", "EINVAL"),
        (f"splice a {END - 65535} 100000 b 0", "EINVAL"),
        (f"splice a {END - 65536} 100000 b 0", 0),
        (f"copy_range a 0 100 b {LARGEST}", "EFBIG"),
        (f"copy_range a 0 0 b {LARGEST}", 0),
        (f"copy_range a 200000 100 b {LARGEST}", 0),
        (f"copy_range a 0 100 b {LARGEST - 1}", 1),
        ("copy_range a 0 100 a 50", "EINVAL"),
        ("copy_range a 99999 100 a 99990", 1),
    ],
)
def test_copies(line: str, expected: object) -> None:
    assert results(run(START + line))[1] == expected


def test_a_file_without_extents_ends_sooner() -> None:
    line = f"sendfile a 0 0 b {BITMAP + 1}; sendfile a {BITMAP + 1} 0 b 0"
    assert results(run(START + line, "ext3ish@delalloc"))[1:] == ["EINVAL", 0]


@pytest.mark.parametrize(
    ("line", "refused"), [(f"pread a {END} 1", True), (f"pread a {END} 0", False)]
)
def test_no_read_ends_past_the_largest_offset(line: str, refused: bool) -> None:
    assert (results(run(START + line))[1] == "EINVAL") is refused


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("sendfile a 0 100 b 0", "EPERM"),
        ("sendfile a 200000 100 b 0", 0),
        ("splice a 0 100 b 0", "EPERM"),
        ("splice a 200000 100 b 0", 0),
        ("copy_range a 200000 100 b 0", "EPERM"),
    ],
)
def test_a_pipe_meets_an_immutable_file_when_it_is_written_out(call: str, expected: object) -> None:
    assert results(run(f"{START}pwrite b 0 10; setflags b 16; {call}"))[-1] == expected


def test_the_source_of_a_refused_copy_was_opened() -> None:
    trace = run("pwrite b 0 10; setflags b 16; copy_range a 0 10 b 0")
    assert file(trace.steps[-1]).size == 0


def test_zero_range_that_finds_no_space_moves_the_size_as_far_as_it_got() -> None:
    trace = placed(make_workload("fzero a 0 1g; truncate a 0; fzero_keep a 0 1g"))
    assert results(trace) == ["ENOSPC", 0, "ENOSPC"]
    got = file(trace.steps[0])
    assert got.size == got.disksize == got.extents[0].length > FREE * 4096 // 2  # type: ignore[index]
    assert file(trace.steps[2]).size == 0


def test_what_zero_range_did_not_get_to_is_as_it_was_on_disk() -> None:
    """The page cache of the range is gone: of a dirty block nobody knows what is on disk."""
    line = (
        f"pwrite a 40m 128k; fsync a; falloc b 0 {(FREE - 3000) * 4}k; pwrite a 40m 100;"
        "fzero a 0 64m; pread a 40m 100; pread a 41947136 4k"
    )
    trace = placed(make_workload(line))
    plain = placed(make_workload("pwrite a 40m 128k; pread a 41947136 4k"))
    assert results(trace)[4] == "ENOSPC"
    assert "result" in trace.steps[5].unpredicted
    assert results(trace)[6] == results(plain)[1]
