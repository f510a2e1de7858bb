"""What earlier writeback could not write: who is told, and what an operation does that is told."""

from __future__ import annotations

import hashlib

import pytest
from modelled import file, results, states
from test_model_io_end import FAILS, KEEP, followed

from harness.errors import NotModelledError
from harness.trace import Trace
from workloads.content import pattern

KIB = 1024
TOLD = "an old error is told: filemap_check_errors"
TRUNCATE = "old_error_fails_truncate"


def after_failure(line: str, quirks: str = FAILS, before: str = KEEP) -> Trace:
    """`line` on the iomap path, after sync(2) could not convert a block of `a` at 1m, which has one
    written block each at 512k, 640k and 768k."""
    return followed(before, f"pwrite a 1m 4k; sync; {line}", ",buffered_iomap", quirks=quirks)


@pytest.mark.parametrize(
    "told",
    ["fcollapse a 0 4k", "finsert a 0 4k", "sync_range a 0 4k", "fsync a", "setflags a 16"],
)
def test_whoever_flushes_first_is_told_and_nobody_after_it(told: str) -> None:
    """But fsync(2) keeps an account of its own, and is told what others were told."""
    trace = after_failure(f"{told}; {told}; fsync a")
    first, second, fsync = results(trace)[-3:]
    assert (first, second) == ("ENOSPC", 0)
    by_another = told[:2] != "fs" and not told.startswith("sync_range")
    assert fsync == ("ENOSPC" if by_another else 0)
    assert (TOLD in trace.steps[-3].because) is by_another


def test_an_operation_that_is_told_has_done_nothing() -> None:
    trace = after_failure("fcollapse a 0 4k")
    assert states(trace.steps[-1]) == states(trace.steps[-2])


def test_sync_range_that_is_told_has_written_nothing() -> None:
    """It waits first, and that tells."""
    trace = after_failure("pwrite a 4k 4k; sync_range a 4k 4k; sync_range a 4k 4k")
    assert [file(step).reserved for step in trace.steps[-3:]] == [1, 1, 0]


def test_a_direct_write_takes_the_page_cache_instead() -> None:
    trace = after_failure("dwrite a 0 4k; fsync a")
    assert results(trace)[-2:] == [4 * KIB, "ENOSPC"]
    assert TOLD in trace.steps[-2].because


def test_later_writeback_of_the_file_is_not_drawn_into_it() -> None:
    """What is written after the failure is written, and converted."""
    trace = after_failure("pwrite a 4k 4k tag=9; sync; drop_caches; pread a 4k 4k")
    assert results(trace)[-1] == hashlib.md5(pattern(9, 4 * KIB, 4 * KIB)).hexdigest()
    assert states(trace.steps[-1])[0] == (4 * KIB, 4 * KIB, "written")


@pytest.mark.parametrize("last", ["fsync a", "pwrite_osync a 0 10", "mwrite_msync a 512k 10"])
def test_each_descriptor_that_was_open_is_told_once(last: str) -> None:
    before = f"{KEEP}; pwrite_odsync a 512k 10"
    trace = after_failure(
        f"pwrite_odsync a 512k 10; pwrite_odsync a 512k 10; {last}", before=before
    )
    told = "ENOSPC" if last[:5] != "pwrit" else 10  # opened behind the first one's call
    assert results(trace)[-3:] == ["ENOSPC", 10, told]


def test_a_file_that_is_opened_again_is_told_what_nobody_knows_yet() -> None:
    trace = after_failure("close a; fsync a; close a; fsync a")
    assert results(trace)[-4:] == [0, "ENOSPC", 0, 0]


# --- a truncation that is told --------------------------------------------------------------

CUT = "truncate a 524388"
"""To 100 bytes of the block at 512k."""


def test_a_truncation_tells_no_old_error_but_for_the_bug() -> None:
    trace = after_failure(f"{CUT}; fsync a")
    assert results(trace)[-2:] == [0, "ENOSPC"]
    assert states(trace.steps[-1]) == [(512 * KIB, 4 * KIB, "written")]


def test_with_the_bug_it_has_cut_the_size_and_nothing_else() -> None:
    trace = after_failure(CUT, f"{FAILS} {TRUNCATE}")
    assert results(trace)[-1] == "ENOSPC"
    assert file(trace.steps[-1]).size == 512 * KIB + 100
    assert states(trace.steps[-1]) == states(trace.steps[-2])
    assert file(trace.steps[-1]).blocks == file(trace.steps[-2]).blocks


def test_what_was_cut_off_is_there_when_the_file_grows() -> None:
    """The rest of the block of EOF was zeroed; what is behind it is as it was on disk."""
    read = "pread a 512k 4k; pread a 640k 4k"
    trace = after_failure(f"{CUT}; truncate a 1m; {read}", f"{FAILS} {TRUNCATE}")
    head, behind = results(trace)[-2:]
    assert head == hashlib.md5(pattern(1, 512 * KIB, 100).ljust(4 * KIB, b"\0")).hexdigest()
    assert behind == hashlib.md5(pattern(2, 640 * KIB, 4 * KIB)).hexdigest()


def test_the_next_truncation_removes_it() -> None:
    trace = after_failure(
        f"{CUT}; truncate a 524378; truncate a 1m; pread a 640k 4k", TRUNCATE + " " + FAILS
    )
    assert results(trace)[-4:] == ["ENOSPC", 0, 0, hashlib.md5(bytes(4 * KIB)).hexdigest()]
    assert states(trace.steps[-1]) == [(512 * KIB, 4 * KIB, "written")]


@pytest.mark.parametrize(
    "line", ["pwrite a 4k 100", "dwrite a 4k 4k", "falloc a 0 8k", "finsert a 0 4k"]
)
def test_writing_to_such_a_file_is_refused(line: str) -> None:
    with pytest.raises(NotModelledError, match="of which a truncation has failed"):
        after_failure(f"{CUT}; {line}", f"{FAILS} {TRUNCATE}")


def test_pages_that_were_dirty_behind_the_cut_are_refused() -> None:
    """Nobody knows what is on disk of them."""
    with pytest.raises(NotModelledError, match="not written back"):
        after_failure(f"pwrite a 640k 4k; {CUT}", f"{FAILS} {TRUNCATE}")
