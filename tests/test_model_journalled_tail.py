"""A block that data=journal has in a transaction which writeback does not know of.

ext4_block_journalled_zero_range() zeroes the tail of EOF's block in one, and does not move
i_datasync_tid on. What is expected was seen on 7.3.4.
"""

from __future__ import annotations

import hashlib

import pytest
from modelled import results, run

from harness.trace import Trace
from workloads.content import pattern

QUIRK = "zeroed_tail_keeps_block_from_disk"
CONFIG = "4k@data=journal"
COMMITTED = "pwrite a 0 100 tag=1; pwrite c 0 5; fsync c; "
DATA = hashlib.md5(pattern(1, 0, 100)).hexdigest()


def buggy(line: str, config: str = CONFIG) -> Trace:
    return run(f"{line}; pread a 0 100", config, quirks=frozenset({QUIRK}))


def is_lost(trace: Trace) -> bool:
    return "result" in trace.steps[-1].unpredicted


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("truncate a 100; remount", True),
        ("truncate a 100; fdatasync a; remount", True),
        ("truncate a 100; sync; drop_caches; truncate a 100; remount", True),
        ("truncate a 100; fdatasync a; pwrite b 0 5k; remount", True),  # nobody knows
        ("truncate a 100; fsync a; remount", False),
        ("truncate a 100; sync; remount", False),
        ("truncate a 100; drop_caches", False),
        ("truncate a 100; truncate a 200; remount", False),
        ("truncate a 100; pwrite a 0 1; pwrite a 0 1 tag=1; remount", False),
        ("truncate a 100; fdatasync a; shutdown 2; remount", False),
        ("truncate a 100; fdatasync a; shutdown 0; remount", False),
        ("truncate a 100; close a; close c; remount_opts ro; remount_opts rw; drop_caches", False),
        ("remount; truncate a 100; remount", False),
    ],
)
def test_what_was_committed_and_not_written_is_lost_at_umount(line: str, *, lost: bool) -> None:
    assert is_lost(buggy(COMMITTED + line)) == lost
    if not lost:
        assert results(buggy(COMMITTED + line))[-1] == DATA
    assert results(run(f"{COMMITTED}{line}; pread a 0 100", CONFIG))[-1] == DATA


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("truncate a 4100; finsert a 4k 4k; pread a 8k 4", 8192),
        ("truncate a 4100; fcollapse a 0 4k; pread a 0 4", 0),
    ],
)
def test_what_is_shifted_is_lost_at_once(line: str, at: int) -> None:
    line = f"pwrite a 0 4100 tag=1; pwrite c 0 5; fsync c; {line}"
    assert "result" in run(line, CONFIG, quirks=frozenset({QUIRK})).steps[-1].unpredicted
    kept = hashlib.md5(pattern(1, 4096, 4)).hexdigest()
    assert results(run(line, CONFIG))[-1] == kept, at


def test_a_write_past_eof_that_is_refused_does_the_same() -> None:
    line = (
        "pwrite a 0 100 tag=1; chown a 7; quota_set uid=7 hard=4; pwrite b 0 5; fsync b;"
        " user_write a 8k 4k uid=7; fdatasync a; remount"
    )
    trace = buggy(line, "quota4k@data=journal,usrquota")
    assert results(trace)[5] == "EDQUOT"
    assert is_lost(trace)


def test_nobody_knows_whether_the_commit_for_another_file_came_in_time() -> None:
    """Umount writes `b` before `a`: the commit that it asks for has the block of `a` too, which is
    then written, or was looked at before."""
    line = "pwrite b 0 5; pwrite a 0 100 tag=1; fsync b; truncate a 100; fdatasync a; pwrite b 0 5k"
    assert is_lost(buggy(f"{line}; remount"))


def test_umount_complains_where_only_zeros_are_lost() -> None:
    """What was written back before is on disk, but the kernel's log says that data will be lost."""
    trace = buggy("pwrite a 0 100 tag=1; fsync a; truncate a 100; remount")
    assert trace.steps[3].quirks == (QUIRK,)
    assert results(trace)[-1] == DATA
    assert buggy("pwrite a 0 100; truncate a 100; remount").steps[2].quirks == ()


@pytest.mark.parametrize("config", ["4k@delalloc", "4k@nodelalloc"])
def test_other_data_modes_write_it(config: str) -> None:
    trace = buggy(f"{COMMITTED}truncate a 100; remount", config)
    assert results(trace)[-1] == DATA
    assert not any(step.quirks for step in trace.steps)


def test_in_other_data_modes_zeroing_a_tail_keeps_nothing_from_disk() -> None:
    quirks = frozenset({QUIRK, "zero_range_revives_eof_block"})
    for before, config in ((COMMITTED, CONFIG), ("pwrite a 0 100; ", "4k@nodelalloc")):
        step = run(f"{before}truncate a 100; fzero a 0 8k", config, quirks=quirks).steps[-1]
        assert (QUIRK in step.quirks) is (config == CONFIG)
