"""Reading ahead decides how large folios are, and a store maps a whole folio.

The numbers are worked out by hand from mm/readahead.c; the recorded programs `rand17` and
`swarm30047` show the first rule on real kernels.
"""

from __future__ import annotations

import pytest
from modelled import chosen, disagreements, file, run, states

from harness.recordings.recording import recorded_by
from model.units import round_up

KIB = 1024
DIRTY = "truncate a 160k; pwrite a 40k 12k"


def delayed(line: str, **switches: object) -> list[tuple[int, int]]:
    """Extents of `a` at the end, `(start, end)` in KiB."""
    last = run(line, "4k@delalloc", iomap=False, **switches).steps[-1]
    return [(start // KIB, (start + length) // KIB) for start, length, _ in states(last)]


def test_a_fault_reads_single_pages() -> None:
    assert delayed("truncate a 160k; mwrite a 68k 1") == [(68, 72)]


def test_a_read_reads_single_pages_at_first() -> None:
    assert delayed("truncate a 160k; pread a 0 4k; mwrite a 8k 1") == [(8, 12)]


def test_the_second_read_in_sequence_reads_ahead_in_larger_folios() -> None:
    """One page asked for: a window of 4 with its second page marked; there the next window
    begins, of 16 pages in folios of 4."""
    line = "truncate a 160k; pread a 0 4k; pread a 4k 4k; mwrite a 20k 1"
    assert delayed(line) == [(16, 32)]


def test_one_read_across_cached_pages_is_not_a_sequence() -> None:
    """It misses as many pages as are cached before them: these are read as they are, no
    window begins, and the next read meets no mark."""
    line = "truncate a 160k; pwrite a 4k 8k; pread a 4k 16k; pread a 20k 4k; mwrite a 60k 1"
    assert delayed(line) == [(4, 12), (60, 64)]


def test_without_large_folios_there_are_single_pages_only() -> None:
    line = "truncate a 160k; pread a 0 4k; pread a 4k 4k; mwrite a 20k 1"
    assert delayed(line, max_folio=4096) == [(20, 24)]


def test_dropping_caches_marks_dirty_pages_and_a_read_of_them_reads_ahead() -> None:
    """The mark for reclaim is the mark of a window: from the first page that is missing on,
    folios of up to 4 pages."""
    line = f"{DIRTY}; drop_caches; pread a 48k 4k; mwrite a 68k 1"
    assert delayed(line) == [(40, 52), (64, 80)]
    assert delayed(f"{DIRTY}; pread a 48k 4k; mwrite a 68k 1") == [(40, 52), (68, 72)]


def test_a_mark_on_the_first_page_of_a_file_not_read_before_counts_for_the_next_order() -> None:
    """The window behind it is empty, and an empty one has no logarithm that bounds the order: the
    second mark asks for folios of 16 pages, of which alignment leaves 8. As on Debian's 7.3.4."""
    line = "truncate a 64k; pwrite a 0 4k; pwrite a 4k 4k; drop_caches; pread a 0 64k"
    assert delayed(f"{line}; mwrite a 60k 1") == [(0, 8), (32, 64)]


def test_a_store_to_such_a_page_reads_ahead_too() -> None:
    line = f"{DIRTY}; drop_caches; mwrite a 48k 1; mwrite a 68k 1"
    assert delayed(line) == [(40, 52), (64, 80)]


def test_writeback_takes_the_mark_off() -> None:
    synced = f"{DIRTY}; drop_caches; fsync a; pread a 48k 4k; mwrite a 68k 1; pwrite a 80k 4k"
    assert delayed(synced) == [(40, 52), (68, 72), (80, 84)]


@pytest.mark.parametrize(
    ("commit", "folio"),
    [("", (48, 64)), ("; fsync b", (52, 56))],
)
def test_so_does_a_commit_that_writes_ordered_data(commit: str, folio: tuple[int, int]) -> None:
    """Page 10 holds the EOF block that a truncate zeroed in part. Both were seen on the kernel
    7.3.4."""
    line = "dwrite a 40k 4k; truncate a 41000; truncate a 160k; drop_caches; pwrite b 0 4k"
    assert delayed(f"{line}{commit}; pread a 40k 4k; mwrite a 52k 1") == [(40, 44), folio]


@pytest.mark.parametrize(
    ("sync", "folio"),
    [("", (16, 32)), ("; fsync a", (20, 24))],
)
def test_so_does_writeback_that_passes_over_a_page_past_eof(
    sync: str, folio: tuple[int, int]
) -> None:
    """A failed write left that page dirty. Both were seen on the kernel 7.3.4."""
    line = "dwrite a 0 4k; pwrite_fault a 4k 4k fault=0; drop_caches"
    grown = "truncate a 160k; pread a 4k 4k; mwrite a 20k 1"
    assert delayed(f"{line}{sync}; {grown}")[1:] == [(4, 8), folio]


def test_a_fault_on_a_marked_page_reads_ahead_as_well() -> None:
    """With a window of 32 pages the one around page 128 ends at 143, page 136 is marked."""
    line = "truncate a 1m; mwrite a 512k 1; mwrite a 544k 1; mwrite a 580k 1"
    assert delayed(line, readahead=128 * KIB) == [(512, 516), (544, 548), (576, 592)]
    assert delayed(line) == [(512, 516), (544, 548), (580, 584)]


def test_recorded_programs_with_folios_that_were_read_ahead() -> None:
    for name, part in (
        ("bh-rand", "rand17@bigalloc16k@nodelalloc"),
        ("iomap-rand", "rand17@bigalloc16k@nodelalloc"),
        ("iomap-swarm", "swarm30047@"),
    ):
        behaviour = recorded_by(name).behaviour(frozenset({"efault_beyond_eof_moves_size"}))
        for trace in chosen(name, part):
            assert disagreements(trace, behaviour) == []


@pytest.mark.parametrize(("cached", "folio"), [(2047, 4), (2048, 4), (2049, 1)])
def test_a_mark_reads_ahead_of_what_is_cached_up_to_a_window_further(
    cached: int, folio: int
) -> None:
    """A window has 2048 pages; the second was seen on Debian's 7.3.4."""
    behind = 64 + 4 * cached
    line = f"truncate a 32m; pwrite a 64k 4k; pwrite a 68k {behind - 68}k; drop_caches"
    found = delayed(f"{line}; pread a 64k 4k; mwrite a {round_up(behind + 16, 16)}k 1")
    assert found[1][1] - found[1][0] == 4 * folio


def test_copying_reads_ahead_like_reading() -> None:
    line = "truncate a 160k; copy_range a 0 4k b 0; copy_range a 4k 4k b 4k; mwrite a 20k 1"
    assert delayed(line) == [(16, 32)]


@pytest.mark.parametrize(
    ("cached", "write", "at", "folio"),
    [
        ("pwrite a 0 8k; pwrite a 8k 8k; pread a 16k 1", "20k 28k", 32, 1),  # a window of 9 pages
        ("pwrite a 0 16k; pread a 16k 1", "20k 28k", 32, 4),  # one page counts of four: no window
        ("pwrite a 0 256k; pread a 256k 1", "260k 60k", 288, 1),
        ("pwrite a 0 1m; pread a 1m 1", "1028k 60k", 1056, 8),  # one of 256
        ("pwrite a 16k 16k; drop_caches; pread a 20k 1", "32k 60k", 36, 1),
        ("pwrite a 16k 16k; drop_caches; pread a 20k 1", "32k 60k", 48, 4),
        # four pages from page 64 on: the walk goes on at page 2, so all four count
        ("pwrite a 0 16k; pwrite a 256k 16k; pread a 272k 1", "276k 60k", 288, 1),
    ],
)
def test_what_is_cached_beside_a_page_is_counted_by_slots(
    cached: str, write: str, at: int, folio: int
) -> None:
    """How many blocks are written with the one at `at` KiB: those of its folio. All were seen on
    the kernel 7.3.4."""
    line = f"truncate a 4m; {cached}; pwrite a {write}; sync_range a {at}k 1"
    before, after = (file(step).reserved or 0 for step in run(line).steps[-2:])
    assert before - after == folio
