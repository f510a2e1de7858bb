"""What drop_caches leaves in memory: inodes that were changed since the last sync(2).

The sizes are as seen on Debian's 7.3.4: a write that failed past EOF moves i_size and not
i_disksize, so that the size tells whether the inode has left memory.
"""

from __future__ import annotations

import pytest
from modelled import file, run

QUIRKS = frozenset({"efault_beyond_eof_moves_size"})
NO_JOURNAL = "nojournal@delalloc"
FAILED = "pwrite_fault a 0 4k fault=0"  # leaves a reservation until the inode leaves memory
REPLACED = "pwrite b 0 0; close b; pwrite_fault a 4k 4k fault=0; rename a b"


NO_JOURNAL = "nojournal@delalloc"


def size_after(line: str, name: str, config: str = "4k@delalloc") -> int | None:
    """The size of file `name` at the end of `line`, in bytes."""
    return file(run(line, config, quirks=QUIRKS).steps[-1], name).size


def test_what_replaced_a_file_stays_until_sync_though_its_folio_is_clean() -> None:
    assert size_after(f"{REPLACED}; drop_caches; drop_caches", "b") == 4096
    assert size_after(f"{REPLACED}; drop_caches; sync; drop_caches", "b") == 0


@pytest.mark.parametrize(
    ("between", "size"), [("sync", 0), ("fsync a", 4096), ("fdatasync a", 4096)]
)
def test_sync_lets_it_go_and_fsync_does_not(between: str, size: int) -> None:
    assert size_after(f"pwrite_fault a 4k 4k fault=0; {between}; close a; drop_caches", "a") == size


def test_a_rename_alone_does_not_keep_it() -> None:
    line = "pwrite_fault a 4k 4k fault=0; close a; sync; rename a b; drop_caches"
    assert size_after(line, "b") == 0


def test_without_a_journal_fsync_lets_it_go() -> None:
    line = "pwrite_fault a 4k 4k fault=0; fsync a; close a; drop_caches"
    assert size_after(line, "a", "nojournal@delalloc") == 0


def reserved_after(line: str, name: str = "a", *, kept: bool = True) -> int | None:
    """Sectors of file `name` at the end of `line` without a journal, as on 7.3 if `kept`."""
    return file(run(line, NO_JOURNAL, metadata_writeback=kept).steps[-1], name).blocks


@pytest.mark.parametrize(
    "between", ["sync", "sync; sync", "fsync a; chown a uid=1; sync", "fsync a; setflags a 0; sync"]
)
def test_without_a_journal_sync_lets_nothing_go_that_was_changed(between: str) -> None:
    """Random program 34 of seed 14001, on Debian's 7.3.4; before 7.3 nobody has looked."""
    assert reserved_after(f"{FAILED}; {between}; close a; drop_caches; drop_caches") == 8
    assert reserved_after(f"{FAILED}; {between}; close a; drop_caches", kept=False) == 0


@pytest.mark.parametrize("between", ["sync; fsync a", "fsync a; sync", "fdatasync a"])
def test_without_a_journal_what_fsync_has_written_goes(between: str) -> None:
    assert reserved_after(f"{FAILED}; {between}; close a; drop_caches") == 0


def test_without_a_journal_a_rename_keeps_it() -> None:
    assert reserved_after(f"{FAILED}; fsync a; rename a b; sync; drop_caches", "b") == 8


def test_without_a_journal_reading_an_inode_changes_nothing() -> None:
    trace = run(f"{FAILED}; fsync a; close a; drop_caches; drop_caches", NO_JOURNAL)
    assert not any("transaction" in rule for step in trace.steps for rule in step.because)
