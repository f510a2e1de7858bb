"""Which operations write which bytes: what a report blames where a read or the end differs."""

from __future__ import annotations

import pytest

from workloads.syntax import parse_line
from workloads.writers import LARGEST, range_of, writers


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("pwrite a 4k 8k", ("a", 4096, 12288)),
        ("pwritev a 100 10,20:0,30", ("a", 100, 160)),
        ("rlimit_write a limit=100 8 10", ("a", 8, 18)),
        ("copy_range a 0 4k b 8k", ("b", 8192, 12288)),
        ("sendfile a 0 1 b 2", ("b", 2, 3)),
        ("truncate a 100", ("a", 100, LARGEST)),
        ("otrunc a", ("a", 0, LARGEST)),
        ("fsync a", None),
        ("append a 4k", None),
    ],
)
def test_the_bytes_that_an_operation_names(line: str, named: tuple[str, int, int] | None) -> None:
    (op,) = parse_line(line, "line").ops
    assert range_of(op) == named


def test_writers_are_those_that_overlap_and_change_something() -> None:
    ops = parse_line(
        "pwrite a 0 4k; pwrite a 4k 4k; pwrite b 0 4k; pread a 0 4k; sync_range a 0 4k;"
        " fpunch a 4095 1; truncate a 4096; mwrite a 0 1",
        "line",
    ).ops
    assert writers(ops, ("a", 0, 4096)) == (0, 5, 7)
    assert writers(ops, ("a", 4096, 4097)) == (1, 6)
    assert writers((), ("a", 0, 1)) == ()
