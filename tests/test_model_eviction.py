"""What drop_caches leaves in memory: inodes that were changed since the last sync(2).

The sizes are as seen on Debian's 7.3.4: a write that failed past EOF moves i_size and not
i_disksize, so that the size tells whether the inode has left memory.
"""

from __future__ import annotations

import pytest
from modelled import file, run

QUIRKS = frozenset({"efault_beyond_eof_moves_size"})
REPLACED = "pwrite b 0 0; close b; pwrite_fault a 4k 4k fault=0; rename a b"


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
