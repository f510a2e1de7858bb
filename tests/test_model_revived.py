"""ZERO_RANGE over an unaligned EOF: zeros as it should be, old bytes as kernels have it."""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import file, geometry, results, run, states

from harness.trace import Extent, State, Trace
from model import Behaviour, Model
from workloads.content import pattern

QUIRK = "zero_range_revives_eof_block"
START = "pwrite a 0 100 tag=0; fsync a; fzero a 0 8k; "
LATER = "pwrite a 0 10 tag=5; fsync a; pread a 0 100; drop_caches; pread a 0 100"


def buggy(line: str, config: str = "4k@delalloc", *, iomap: bool = False) -> Trace:
    return run(line, config, iomap=iomap, quirks=frozenset({QUIRK}))


def md5(*parts: bytes) -> str:
    """Of 100 bytes, the missing ones zero."""
    return hashlib.md5(b"".join(parts).ljust(100, b"\0")).hexdigest()


def old(start: int, end: int, tag: int = 0) -> bytes:
    return pattern(tag, start, end - start)


@pytest.mark.parametrize("config", ["4k@delalloc", "4k@delalloc,buffered_iomap", "1k@nodelalloc"])
def test_the_range_reads_as_zeros_and_later_writes_stay(config: str) -> None:
    trace = run(START + "pread a 0 100; " + LATER, config, iomap="iomap" in config)
    assert results(trace)[3] == md5()
    assert results(trace)[6] == results(trace)[8] == md5(old(0, 10, 5))
    assert not any(step.quirks for step in trace.steps)


@pytest.mark.parametrize("config", ["4k@delalloc", "4k@nodelalloc", "4k@nodelalloc,dioread_lock"])
def test_old_bytes_come_back_and_what_is_written_next_is_lost(config: str) -> None:
    trace = buggy(START + "pread a 0 100; " + LATER, config)
    assert trace.steps[2].quirks == (QUIRK,)
    assert results(trace)[3] == md5(old(0, 100))
    assert results(trace)[6] == md5(old(0, 10, 5), old(10, 100))
    assert results(trace)[8] == md5()
    assert states(trace.steps[5]) == [(0, 8192, "unwritten")]


@pytest.mark.parametrize(("synced", "kept"), [("72k", True), ("128k", False)])
def test_a_commit_writes_the_block_in_place_and_it_stays_if_it_is_written_by_then(
    synced: str, kept: bool
) -> None:
    """A write to a short unwritten extent zeroes all of it on disk, and makes it written: before
    the commit of that write, then, or in a later write, when the commit has gone in vain."""
    line = f"pwrite a 65537 4k; fzero a 0 80k; pwrite a 0 72k tag=5; pwrite_odsync a {synced} 4k"
    line += "; pwrite a 72k 4k; sync; drop_caches; pread a 68k 100"
    workload = make_workload(line, "4k@nodelalloc")
    places = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    model = Model(Behaviour(iomap=False, quirks=frozenset({QUIRK})), geometry)
    trace = model.run(workload, (places,) * (len(workload.ops) + 1))
    assert results(trace)[-1] == md5(old(69632, 69732, 5) if kept else b"")


def test_on_the_iomap_path_a_write_takes_the_old_bytes_to_disk() -> None:
    trace = buggy(START + LATER, "4k@delalloc,buffered_iomap", iomap=True)
    assert results(trace)[5] == results(trace)[7] == md5(old(0, 10, 5), old(10, 100))


def test_nothing_comes_back_if_nobody_writes_and_the_cache_goes() -> None:
    for config, iomap in (("4k@delalloc", False), ("4k@delalloc,buffered_iomap", True)):
        trace = buggy(START + "fsync a; drop_caches; pread a 0 100", config, iomap=iomap)
        assert results(trace)[5] == md5()


def test_a_buffer_that_stays_uptodate_hides_the_old_bytes_but_not_the_loss() -> None:
    """Its page is cut in part, so the block is not read from disk again."""
    trace = buggy(
        "pwrite a 0 3000; fsync a; fzero a 1k 7k; pread a 2k 100; pwrite a 2k 10; fsync a;"
        "drop_caches; pread a 2k 100",
        "1k@delalloc",
    )
    assert trace.steps[2].quirks == (QUIRK,)
    assert results(trace)[3] == results(trace)[7] == md5()


def test_what_was_dirty_is_not_predicted() -> None:
    """What comes back is on disk, and nobody saw that."""
    trace = buggy("pwrite a 0 100; fsync a; pwrite a 0 10; fzero a 0 8k; pread a 0 100")
    assert "result" in trace.steps[4].unpredicted


def test_the_size_follows_at_once_where_the_buffer_is_taken_for_written() -> None:
    trace = buggy(START + "truncate a 50; pwrite a 50 20")
    assert file(trace.steps[4]).disksize == 70
    assert file(run(START + "truncate a 50; pwrite a 50 20").steps[4]).disksize == 50


@pytest.mark.parametrize(
    "line",
    [
        "pwrite a 0 4k; fsync a; fzero a 0 8k",
        "pwrite a 0 100; fsync a; fzero_keep a 0 8k",
        "pwrite a 0 100; fsync a; fzero a 0 8000",
        "pwrite a 0 100; fzero a 0 8k",
        "pwrite a 0 5000; fsync a; fzero a 0 4k",
    ],
)
def test_only_a_growing_aligned_range_over_a_written_eof_block(line: str) -> None:
    assert not any(step.quirks for step in buggy(line).steps)


def test_direct_io_shifts_and_remounts_find_what_is_on_disk() -> None:
    for line in (
        "dwrite a 512 512; pread a 0 100",
        "finsert a 0 4k; pread a 4k 100",
        "remount; pread a 0 100",
    ):
        assert results(buggy(START + line))[-1] == md5(), line


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("fzero a 0 4k", None),
        ("falloc_keep a 0 4k; fzero a 0 8k", None),
        ("fsync a; pread a 0 100; fzero a 0 4k", None),
        ("falloc_keep a 0 4k; sync; fzero a 0 8k", old(0, 100)),
        ("falloc_keep a 0 4k; fsync a; pwrite a 0 50 tag=5; sync; fzero a 0 8k", old(0, 100)),
        ("pwrite a 4k 4k; truncate a 100; fsync a; fzero a 0 8k", old(0, 100)),
        ("falloc_keep a 0 4k; pwrite a 200 9 tag=5; fsync a; sync; fzero a 0 8k", old(0, 100)),
    ],
)
@pytest.mark.parametrize("config", ["inline@delalloc", "inline@nodelalloc"])
def test_what_comes_back_is_what_the_disk_has(line: str, seen: bytes | None, config: str) -> None:
    """Of data that has just left its inode that is not the data: on 7.3.4 it was what the disk had
    held before, 0xa5, until sync(2); and behind it what was in the inode, not what was written over
    that and synced."""
    quirks = frozenset({QUIRK, "inline_conversion_reads_stale", "inline_conversion_undone"})
    line = f"pwrite a 0 100 tag=0; {line}; pread a 0 100"
    step = run(line, config, quirks=quirks).steps[-1]
    assert ("result" in step.unpredicted) == (seen is None)
    assert step.result == (None if seen is None else md5(seen)) or seen is None


def test_the_data_that_left_the_inode_is_noted_as_the_bug_that_it_is() -> None:
    """It is behind this one that old content of the disk shows."""
    stale = "inline_conversion_reads_stale"
    trace = run("pwrite a 0 100; fzero a 0 4k", "inline@delalloc", quirks=frozenset({QUIRK, stale}))
    assert trace.steps[1].quirks == (QUIRK, stale)


def test_with_data_journal_the_block_is_written_before_it_is_read_back() -> None:
    """What sync(2) put over it, the copy of what was in the inode, is gone by then. Seen on
    7.3.4."""
    quirks = frozenset({QUIRK, "inline_conversion_undone"})
    line = "pwrite a 0 100 tag=0; falloc a 0 64k; pwrite a 0 64k tag=5; fsync a; sync;"
    line += "truncate a 3000; fzero a 0 8k; pread a 0 100"
    assert results(run(line, "inline@data=journal", quirks=quirks))[-1] == md5(old(0, 100, 5))
