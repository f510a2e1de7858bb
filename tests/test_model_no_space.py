"""Delayed blocks that find no space at writeback on the iomap path, a known bug: what is lost,
who is told, and what can still be read."""

from __future__ import annotations

import pytest
from documented import PROGRAMS, Example, run

from harness.errors import NotModelledError
from harness.trace import Trace
from workloads.syntax import format_op

PROGRAM = "writeback-without-space"
QUIRK = frozenset({"reserved_blocks_run_out"})
TEXT = [format_op(op, index) for index, op in enumerate(PROGRAMS[PROGRAM].ops)]


def trace(text: str = PROGRAM, quirks: frozenset[str] = QUIRK) -> Trace:
    """The model's trace on the iomap path."""
    return run(Example(text, iomap=True), quirks=quirks).traces[0]


def line(*ops: str) -> str:
    """The program's operations up to the one that fills the disk, and then `ops`."""
    fill = next(at for at, text in enumerate(TEXT) if text.startswith("falloc"))
    return "; ".join(["on: bigalloc64k@delalloc; size: 14m", *TEXT[: fill + 1], *ops])


def test_fsync_tells_once_and_sync_does_not() -> None:
    results = [step.result for step in trace().steps]
    at = TEXT.index("sync")
    assert results[at : at + 3] == [0, "ENOSPC", 0]


def test_the_data_is_read_until_it_is_dropped() -> None:
    steps = trace().steps
    cached, dropped = (steps[at].result for at in (-3, -1))
    strict = trace(quirks=frozenset()).steps
    assert cached == strict[-3].result == strict[-1].result
    assert dropped != cached


def test_the_blocks_gathered_before_are_lost_too() -> None:
    file = trace().steps[-1].observation.files["e"]
    assert file.size is not None
    assert file.disksize is not None
    assert file.disksize < file.size, "they end the file on disk"
    states = [str(extent.state) for extent in file.extents or ()]
    assert states[-1] == "unwritten"
    assert set(states[:-1]) == {"written"}
    assert "blocks lost: ext4_iomap_discard_folio" in trace().steps[TEXT.index("sync")].because


def test_without_the_bug_all_is_written() -> None:
    strict = trace(quirks=frozenset())
    assert all(step.result != "ENOSPC" for step in strict.steps[-6:])
    file = strict.steps[-1].observation.files["e"]
    assert file.disksize == file.size


def test_space_that_comes_back_saves_what_is_written_again() -> None:
    end = ("fsync e", "truncate fill 0", "sync", "pwrite e 40k 4k tag=9", "fsync e")
    again = trace(line(*end, "drop_caches", "pread e 40k 4k")).steps
    at_once = trace(line(*end, "pread e 40k 4k")).steps
    assert again[-1].result == at_once[-1].result
    assert again[-3].result == 0


@pytest.mark.parametrize("op", ["finsert e 0 64k", "dwrite e 0 48k"])
def test_an_operation_that_flushes_inside_is_refused_by_name(op: str) -> None:
    flushed = [f"fsync {name}" for name in "abcd"]
    with pytest.raises(NotModelledError, match="writeback inside an operation"):
        trace(line(*flushed, "truncate e 1m", op))
