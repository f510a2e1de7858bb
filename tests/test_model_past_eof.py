"""Dirty folios that a failed write has left past EOF: which of them writeback reaches."""

from __future__ import annotations

import pytest
from modelled import run, states

REACHES = "pwrite a 0 4k; pwrite a 4k 4k; fsync a; pwrite_fault a 4k 8k fault=4k"
"""The last dirty folio before EOF holds the last block; it needs no mapping."""
PART = "dwrite a 108k 4k; pwrite_fault a 100k 16k fault=12k"
"""It is delayed, and the last block before EOF is not."""
DELAYED = "pwrite a 0 4k; fsync a; pwrite_fault a 4k 8k fault=4k"
"""All of it is delayed."""
NONE = f"{REACHES}; sync_range a 4k 4k"
"""Nothing is dirty before EOF."""
BEFORE = f"{NONE}; pwrite a 0 4k"
"""The last dirty folio before EOF ends before the last block."""


@pytest.mark.parametrize(
    ("line", "stays"),
    [(REACHES, True), (PART, True), (DELAYED, True), (BEFORE, False), (NONE, False)],
)
def test_the_walk_ends_with_a_folio_that_holds_the_last_block(line: str, *, stays: bool) -> None:
    """A folio past EOF that is dirty still is written once it is within EOF."""
    last = run(f"{line}; fsync a; truncate a 256k; fsync a").steps[-1]
    delayed = [extent for extent in states(last) if extent[2] == "delayed"]
    assert bool(delayed) is not stays


def test_without_mapping_the_walk_does_not_ask_for_eof() -> None:
    """With data=journal nothing is mapped by writeback, and all folios are submitted."""
    last = run(f"{REACHES}; fsync a; truncate a 256k; fsync a", "4k@data=journal").steps[-1]
    assert [extent[2] for extent in states(last)] == ["written"]
