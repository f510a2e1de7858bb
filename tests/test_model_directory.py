"""After a shutdown dropped caches may bring back the names of the device.

What is expected here was seen on 7.3.4, on both paths of the series' kernel.
"""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import FREE, placed, results, run

from harness.errors import NotModelledError
from harness.trace import Trace

HIDDEN, ALL = None, "EIO"
"""What observing says where the directory shows no name, and where it shows any."""


def errors(trace: Trace) -> list[str | None]:
    """Why each step could not be observed."""
    return [step.observation.error for step in trace.steps]


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        ("pwrite a 0 4k", HIDDEN),
        ("pwrite a 0 4k; unlink a; pwrite b 0 4k; rename b c", HIDDEN),
        ("pwrite a 0 4k; fsync a; pwrite b 0 4k", ALL),
        ("pwrite a 0 4k; fsync a", ALL),
        ("pwrite a 0 4k; sync; unlink a", HIDDEN),
        ("pwrite a 0 4k; remount; unlink a", ALL),
        ("pwrite a 0 4k; close a; remount_opts ro; remount_opts rw; unlink a", ALL),
    ],
)
def test_names_of_the_running_transaction_go_unless_an_earlier_one_holds_the_block(
    before: str, seen: str | None
) -> None:
    """The last ones differ in what holds the directory's block: a checkpoint list keeps it as it
    is in memory, and a remount empties that, also one to read-only."""
    trace = run(f"{before}; shutdown 2; drop_caches")
    assert errors(trace)[-1] == seen
    assert not trace.steps[-1].observation.files


@pytest.mark.parametrize("how", [0, 1])
def test_a_shutdown_that_commits_keeps_the_names(how: int) -> None:
    assert errors(run(f"pwrite a 0 4k; shutdown {how}; drop_caches"))[-1] == ALL


def test_without_a_journal_the_names_stay() -> None:
    line = "pwrite a 0 4k; shutdown 2; drop_caches"
    assert errors(run(line, "nojournal@delalloc"))[-1] == ALL


def test_what_is_observed_then_is_the_space() -> None:
    step = placed(make_workload("falloc a 0 8k; shutdown 2; drop_caches")).steps[-1]
    assert step.observation.bfree == FREE - 2
    assert step.observation.delalloc == 0


def test_a_name_is_found_as_long_as_a_descriptor_holds_it() -> None:
    line = (
        "pwrite a 0 4k; remount; pwrite b 0 4k; close b; pwrite c 0 4k; shutdown 2; unlink b;"
        "drop_caches; unlink b; unlink a; unlink c; drop_caches; unlink c; rename a c"
    )
    trace = run(line)
    assert results(trace)[6:] == [
        "EIO", 0, "ENOENT", "EIO", "EIO", 0, "ENOENT", "EIO",
    ]  # fmt: skip


def test_names_that_are_back_are_found() -> None:
    line = "pwrite a 0 4k; remount; unlink a; shutdown 2; unlink a; drop_caches; unlink a"
    assert results(run(line))[4:] == ["ENOENT", 0, "EIO"]


@pytest.mark.parametrize(
    "before", ["pwrite a 0 4k; remount", "pwrite a 0 4k; sync; unlink a; shutdown 2; remount"]
)
def test_a_commit_that_changes_no_names_keeps_none(before: str) -> None:
    line = f"{before}; append a 4k; fsync a; pwrite b 0 1; close b; shutdown 2; drop_caches"
    assert results(run(f"{line}; unlink b"))[-1] == "ENOENT"


def test_the_next_mount_has_what_was_committed() -> None:
    line = "pwrite a 0 4k; remount; rename a b; fsync b; unlink b; shutdown 2; drop_caches; remount"
    assert list(run(line).steps[-1].observation.files) == ["b"]


def test_whether_a_list_that_was_cleaned_in_part_holds_the_block_is_not_guessed() -> None:
    """The commit after sync takes from the list what was written, up to what is in use."""
    line = "pwrite a 0 4k; sync; pwrite a 0 4k; fsync a; unlink a; shutdown 2; drop_caches"
    with pytest.raises(NotModelledError, match="block is still cached"):
        run(line)


def test_whether_the_inode_of_a_name_that_is_back_is_deleted_is_not_guessed() -> None:
    """The commit has the block of inodes on its list, so the kernel finds the name of a deleted
    file: EUCLEAN."""
    line = "pwrite a 0 4k; remount; pwrite a 0 8k; fsync a; unlink a; shutdown 2; drop_caches"
    with pytest.raises(NotModelledError, match="whether its inode is cached still"):
        run(line)


@pytest.mark.parametrize("config", ["4k@delalloc", "nojournal@delalloc"])
def test_names_that_no_shutdown_took_back_are_there(config: str) -> None:
    line = "pwrite a 0 4k; close a; drop_caches; unlink a"
    assert results(run(line, config)) == [4096, 0, 0, 0]
