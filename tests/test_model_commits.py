"""What fsync(2) and fdatasync(2) wait for: a call that has changed nothing of a file, or nothing
that fdatasync(2) is about, leaves the running transaction alone.

It shows where a shutdown comes next: file `b`, which nobody has synced, is there again if the
transaction was committed. All as seen on 7.3.4 with the series, on both paths.
"""

from __future__ import annotations

import pytest
from modelled import run

from harness.errors import NotModelledError

UNTOUCHED = [
    "copy_range a 0 4k c 0; fsync a",  # the file that is read
    "copy_range a 4k 4k c 0; fsync c",
    "sendfile a 4k 4k c 0; splice a 4k 4k c 0; fsync c",
    "pwrite a 0 0; pwritev a 0 0; append a 0; pwrite_osync a 0 0; dwrite a 0 0; fsync a",
    "mwrite a 4k 4k; mwrite a 0 0; mwrite_msync a 4k 4k; mwrite_msync a 0 0; fsync a",
    "fpunch a -1 4k; falloc a 0 16t; pwrite a 16t 1; fsync a",
    "rlimit_write a 8k 100 limit=4k; fsync a",
    "rename a a; fsync a",
    "rename a d; fdatasync d",
    "truncate a 4k; fdatasync a",
    "chown a uid=5; fdatasync a",
    "setflags a 0x20; fdatasync a",
    "dwrite a 0 4k; fdatasync a",
]
TOUCHED = [
    "fcollapse a 0 100; fsync a",  # refused once the times have changed
    "finsert a 8k 4k; fsync a",
    "dwrite a 0 100; fsync a",
    "fpunch a 8k 4k; fsync a",
    "falloc a 0 4k; fdatasync a",
    "fzero_keep a 100 100; fdatasync a",
    "truncate a 4k; fsync a",
    "chown a uid=0; fsync a",
    "setflags a 0; fsync a",
    "rename a d; fsync d",
]


def committed(line: str, config: str = "4k@delalloc") -> bool:
    """Whether `line` has committed what was done to `b` before it."""
    start = "pwrite a 0 4k; pwrite c 0 4k; sync; pwrite b 0 4k"
    trace = run(f"{start}; {line}; shutdown 2; remount", config)
    return "b" in trace.steps[-1].observation.files


@pytest.mark.parametrize("line", UNTOUCHED)
def test_what_changes_nothing_commits_nothing(line: str) -> None:
    assert not committed(line)


@pytest.mark.parametrize("line", TOUCHED)
def test_what_changes_the_times_commits(line: str) -> None:
    assert committed(line)


@pytest.mark.parametrize(
    ("line", "commits"),
    [
        ("chown a uid=5; fdatasync a", False),
        ("pwrite a 100 200; fdatasync a", True),
        ("mwrite a 100 200; fdatasync a", True),
        ("drop_caches; pwrite_fault a 100 200 fault=0; fdatasync a", True),
    ],
)
@pytest.mark.parametrize("config", ["4k@data=journal", "1k@data=journal"])
def test_journalled_data_is_what_fdatasync_is_about(
    line: str, config: str, *, commits: bool
) -> None:
    assert committed(line, config) is commits


@pytest.mark.parametrize(("change", "commits"), [("chown a uid=5", False), ("append a 1", True)])
def test_writeback_of_journalled_data_commits_what_fdatasync_would(
    change: str, *, commits: bool
) -> None:
    """The page of `a` is dirty still, though a commit for `c` has journalled it."""
    line = "pwrite a 0 4k; pwrite c 0 4k; fsync c; pwrite b 0 4k; {}; sync_range a 0 0; shutdown 2"
    trace = run(line.format(change) + "; remount", "4k@data=journal")
    assert ("b" in trace.steps[-1].observation.files) is commits


@pytest.mark.parametrize(("change", "commits"), [("setflags a 0", True), ("chown a uid=0", False)])
def test_changed_flags_do_not_keep_an_inode_in_memory(change: str, *, commits: bool) -> None:
    """Read again, it waits for the transaction that runs; what waits for sync(2) stays."""
    assert committed(f"{change}; close a; drop_caches; fdatasync a") is commits


@pytest.mark.parametrize("call", ["sync", "remount"])
def test_writeback_of_all_files_is_no_fdatasync(call: str) -> None:
    """What fdatasync(2) takes for unchanged by a known bug is no matter of theirs."""
    quirks = frozenset({"inline_overwrite_not_synced"})
    for last, noted in ((call, False), ("fdatasync a", True)):
        line = f"pwrite a 0 5; fsync a; pwrite a 0 5; {last}"
        assert bool(run(line, "inline@delalloc", quirks=quirks).steps[-1].quirks) is noted


@pytest.mark.parametrize(
    ("line", "sure"),
    [
        ("pwrite b 0 800k; shutdown 2", True),
        ("pwrite b 0 2m; shutdown 2", False),  # on 7.3.4 `b` is there, cut at 1204 KiB
        ("pwrite b 0 2m; fsync a; shutdown 2", False),
        ("pwrite b 0 2m; shutdown 1", True),
        ("pwrite b 0 2m; sync; shutdown 2", True),
        ("pwrite b 0 800k; fsync b; pwrite b 0 800k; shutdown 2", True),
    ],
)
def test_what_jbd2_may_have_committed_by_itself_is_refused(line: str, *, sure: bool) -> None:
    """A transaction of file data ends at a third of the journal, where a shutdown shows it."""
    if sure:
        run(f"pwrite a 0 4k; {line}; remount", "4k@data=journal")
    else:
        with pytest.raises(NotModelledError, match="jbd2 may have committed a part"):
            run(f"pwrite a 0 4k; {line}; remount", "4k@data=journal")
    run(f"pwrite a 0 4k; {line}; remount", "4k@nodelalloc")


def test_a_larger_journal_takes_more() -> None:
    run("pwrite a 0 1m; shutdown 2", "1k@data=journal")
    with pytest.raises(NotModelledError):
        run("pwrite a 0 1300k; shutdown 2", "1k@data=journal")
