"""Folios of which some blocks are uptodate: what reading brings in, and what writeback marks.

As seen on Debian's 7.3.4, and with the iomap series.
"""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, placed, results, run, states

KIB = 1024
BOTH = pytest.mark.parametrize("path", ["", ",buffered_iomap"])


def seen(line: str, config: str) -> list[object]:
    """What each `seek` of `line` returned."""
    trace = placed(make_workload(line, config), iomap="iomap" in config)
    return [
        result
        for result, op in zip(results(trace), line.split("; "), strict=True)
        if op.startswith("seek")
    ]


@BOTH
def test_a_read_of_cached_blocks_brings_in_nothing(path: str) -> None:
    line = (
        "falloc a 0 8k; pwrite a 1k 1k; pread a 1k 1000; seek a; pread a 1025 1023; seek a;"
        " pread a 1025 1024; seek a"
    )
    part, whole = [[KIB, 2 * KIB]], [[0, 4 * KIB]]
    assert seen(line, f"1k@delalloc{path}") == [part, part, whole]


@BOTH
def test_a_pipe_takes_whole_folios(path: str) -> None:
    line = "falloc a 0 64k; pwrite a 1k 1k; sendfile a 1k 100 b 0; seek a"
    assert seen(line, f"1k@delalloc{path}") == [[[0, 4 * KIB]]]


def test_a_folio_of_one_block_is_uptodate_or_not() -> None:
    assert seen("falloc a 0 8k; pread a 100 10; seek a", "4k@delalloc") == [[[0, 8 * KIB]]]


@pytest.mark.parametrize("config", ["2k@nodelalloc", "2k@delalloc", "2k@data=journal"])
def test_blocks_behind_eof_are_uptodate_once_their_folio_was_written(config: str) -> None:
    assert seen("pwrite a 0 99; falloc a 2k 3; seek a", config) == [[[0, 2 * KIB]]]
    assert seen("pwrite a 0 99; fsync a; falloc a 2k 3; seek a", config) == [[[0, 2 * KIB + 3]]]


def test_the_folio_is_uptodate_with_the_next_write_only() -> None:
    """A short copy is judged by the folio: the first one counts as no bytes."""
    line = "pwrite a 0 99; fsync a; {}falloc a 1k 3000; pwritev a 500 100,2000:0"
    for between in ("", "pwrite a 100 10; "):
        trace = placed(make_workload(line.format(between), "1k@delalloc"))
        assert results(trace)[-1] == 100


@pytest.mark.parametrize(("off", "written"), [(8 * KIB, [0]), (8 * KIB + 100, [0, 8 * KIB])])
def test_a_copy_of_no_bytes_inside_a_block_leaves_it_dirty(off: int, written: list[int]) -> None:
    """Blocks 1 to 3 are delayed under clean pages: they were behind EOF."""
    line = (
        f"pwrite_fault a 0 16k fault=4k; fsync a; truncate a 64k; pwrite_fault a {off} 9k fault=0"
    )
    last = placed(make_workload(line + "; fsync a")).steps[-1]
    assert [start for start, _, state in states(last) if state == "written"] == written


def test_a_page_of_one_block_that_was_zeroed_in_part_is_no_data_before_it_is_read() -> None:
    """Its buffer is uptodate, the page is not taken for it; blocks of a larger page count."""
    zeroed = "pwrite a 0 9000; fsync a; remount; pwrite a 12k 10; fzero a 4k 64k; "
    read = "seek a; pread a 8k 10; seek a"
    assert seen(zeroed + read, "4k@delalloc") == [[[0, 4096]], [[0, 4096], [8192, 12288]]]
    punched = "pwrite a 0 64k; fsync a; drop_caches; fzero_keep a 100 64000; seek a"
    assert seen(punched, "1k@delalloc") == [[[0, KIB], [62 * KIB, 64 * KIB]]]


def test_a_block_that_was_zeroed_for_a_rejected_copy_is_not_uptodate() -> None:
    """What is given back of two such blocks in a row goes in one step, not block by block."""
    line = "pwrite a 7k 1k; pwrite_fault a 1k 5121 fault=4k"
    trace = run(line, "1k@delalloc,buffered_iomap", iomap=True, write_ends_at_fault=True)
    assert [event.count for event in trace.steps[1].events] == [6, 2]


@pytest.mark.parametrize(("flush", "left"), [("fsync a", []), ("sync", [8 * KIB])])
def test_a_page_past_eof_stays_dirty_after_fsync_and_is_clean_after_sync(
    flush: str, left: list[int]
) -> None:
    """sync(2) has the flusher thread come by once more, which finds no extent before the page."""
    trace = run(f"pwrite_fault a 0 12k fault=8k; {flush}; pwrite a 16k 4k; fsync a")
    delayed = [start for start, _, state in states(trace.steps[-1]) if state == "delayed"]
    assert delayed == left


def test_a_short_copy_to_a_part_of_a_new_block_is_rejected_and_its_block_mapped_anew() -> None:
    """What lies past EOF goes in between: the block merges into the last of four extents, which
    fit into the inode again. As on Debian's 7.3.4."""
    apart = "; ".join(f"pwrite a {at}k 4k" for at in (0, 8, 16, 24))
    line = f"{apart}; falloc_keep a 64k 4k; pwrite_fault a 28687 8193 fault=8k"
    trace = placed(make_workload(line, "bigalloc16k@nodelalloc"))
    assert [file(step).blocks for step in trace.steps[-2:]] == [128, 96]


@pytest.mark.parametrize("config", ["4k@delalloc", "4k@nodelalloc"])
def test_a_short_copy_into_a_folio_without_state_per_block_makes_all_of_it_dirty(
    config: str,
) -> None:
    """It has been split since it was read; the call covers it. Through buffer heads the folio's
    second block is zeroed and dirty for another reason."""
    line = (
        "truncate a 1m; pread a 0 128k; pread a 128k 128k; fpunch a 512k 4k;"
        " pwrite_fault a 520k 8k fault=4k; fsync a"
    )
    written = [(520 * KIB, 8 * KIB, "written")]
    for path in ("", ",buffered_iomap"):
        trace = placed(make_workload(line, config + path), iomap=bool(path))
        assert states(trace.steps[-1]) == written
    whole = line.replace("fpunch a 512k 4k", "fpunch a 528k 4k")  # now it covers half a folio
    trace = placed(make_workload(whole, f"{config},buffered_iomap"), iomap=True)
    assert [run[1] for run in states(trace.steps[-1]) if run[2] == "written"] == [4 * KIB]


@pytest.mark.parametrize(
    ("line", "noted"),
    [
        ("pwrite a 12k 4k; fsync a; pwrite a 8k 8k", True),
        (f"pwrite a 2m 4k; fsync a; pwrite a {2048 * KIB - 4199} 8199", False),
    ],
)
def test_only_a_folio_that_its_mapping_made_smaller_is_told_of(line: str, noted: bool) -> None:
    """The second mapping ends where the largest folio would: it takes nothing from the folio."""
    last = run(line, "4k@delalloc,buffered_iomap", iomap=True).steps[-1]
    assert ("folio within its mapping: iomap_get_folio" in last.because) is noted


@pytest.mark.parametrize(("cut", "reached"), [("", 16384), ("fpunch a 0 512; ", 12288)])
def test_a_split_drops_what_is_wholly_past_eof(cut: str, reached: int) -> None:
    """The failed write has left a folio of four pages, two of them past EOF; the punch splits it,
    and the next write brings the others back page by page. Seen on 7.3.4+series."""
    line = f"pwrite_fault a 0 31283 fault=8k; sync; {cut}pwrite a 4k 9183; sync_range a 8k 4k"
    trace = run(line)
    assert states(trace.steps[-1])[0] == (0, reached, "written")


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("pwrite a 0 4k; sync_range a 0 4k; fsync a", [4, 16]),
        ("pwrite a 0 4k; sync_range a 0 4k; pwrite a 8k 8k; fsync a", [4, 16]),
        ("pwrite a 0 4k; sync_range a 0 4k; fpunch a 8k 4k; pwrite a 8k 4k; fsync a", [24]),
    ],
)
def test_blocks_that_were_zeroed_with_their_neighbours_are_mapped_once_more(
    line: str, counts: list[int]
) -> None:
    """Seen on 7.3.4: the buffers of blocks 8 to 12 go on being marked unwritten, so they end an
    extent, and the rest of their folio is mapped alone."""
    before = "falloc a 0 12k; pwrite a 8k 8k; pwrite a 16k 16k; "
    trace = placed(make_workload(before + line, "1k@delalloc,dioread_lock"))
    events = trace.steps[-1].events
    assert events is not None
    assert [event.count for event in events if event.kind == "update_reserve"] == counts
