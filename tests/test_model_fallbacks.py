"""Files without extents, inline data, data=journal and data=writeback: who does not take
the usual path."""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import chosen, disagreements, file, placed, results, run, states

from harness.trace import Content, Trace
from model import Behaviour
from model.indirect import blocks_to_boundary
from workloads.content import pattern
from workloads.files import catalogue
from workloads.program import workloads

SEVEN_TWO = frozenset(
    {
        "efault_beyond_eof_moves_size",
        "inline_conversion_undone",
        "indirect_delayed_tail_is_hole",
    }
)
SEVEN_THREE = SEVEN_TWO - {"indirect_delayed_tail_is_hole"}
CONFIGS = ("@ext3ish@", "@inline@", "@4k@data=journal", "@4k@data=writeback")


@pytest.mark.parametrize("config", CONFIGS)
def test_recorded_programs_agree(config: str) -> None:
    for trace in chosen("bh73-hand", config):
        assert disagreements(trace, Behaviour(iomap=False, quirks=SEVEN_THREE)) == []


@pytest.mark.parametrize("config", ["ext3ish@delalloc", "inline@delalloc", "4k@data=journal"])
def test_buffered_iomap_changes_nothing_where_it_does_not_apply(config: str) -> None:
    line = "pwrite a 0 20k; pwrite_fault a 32k 16k 5k; fsync a; fpunch a 4k 4k; sync"
    plain = placed(make_workload(line, config))
    asked = placed(make_workload(line, config + ",buffered_iomap"), iomap=True)
    assert [step.observation for step in plain.steps] == [step.observation for step in asked.steps]


# --- files without extents ----------------------------------------------------------------


def test_one_step_maps_up_to_the_end_of_an_indirect_block() -> None:
    """4 KiB blocks: 12 in the inode, then 1024 in each indirect block."""
    assert [blocks_to_boundary(at, 4096) for at in (0, 11, 12, 1035, 1036, 2059)] == [
        12, 1, 1024, 1, 1024, 1,
    ]  # fmt: skip


def test_blocks_are_written_at_once_and_tree_blocks_counted() -> None:
    trace = placed(make_workload("pwrite a 0 64k; fsync a", "ext3ish@delalloc"))
    assert states(trace.steps[1]) == [(0, 65536, "written")]
    assert file(trace.steps[1]).blocks == 17 * 8
    events = trace.steps[1].events or ()
    assert [(event.count, event.reserved) for event in events] == [(12, 16), (4, 4)]


def test_preallocation_is_refused() -> None:
    line = "pwrite a 0 64k; falloc a 0 4k; fzero a 0 4k; fcollapse a 0 4k; finsert a 0 4k"
    assert results(run(line, "ext3ish@delalloc"))[1:] == ["ENOTSUP"] * 4


def test_the_longest_file_without_extents() -> None:
    """12 + 1024 + 1024**2 + 1024**3 blocks of 4 KiB."""
    longest = (12 + 1024 + 1024**2 + 1024**3) * 4096
    line = f"truncate a {longest + 1}; truncate a {longest}; pwrite a {longest} 1; truncate a 0"
    assert results(run(line, "ext3ish@delalloc")) == ["EFBIG", 0, "EFBIG", 0]


def test_direct_io_into_a_hole_goes_through_the_page_cache() -> None:
    line = "pwrite a 0 8k; truncate a 64k; fsync a; dwrite a 4k 12k; pread a 4k 12k"
    trace = placed(make_workload(line, "ext3ish@delalloc"))
    assert results(trace)[3] == 12288
    assert states(trace.steps[3]) == [(0, 16384, "written")]


def test_a_delayed_tail_that_7_2_takes_for_a_hole() -> None:
    """Past the 12 direct blocks a lookup skips all that a missing indirect block would map."""
    line = "pwrite a 0 4k; pwrite a 32k 4k; pwrite a 64k 4k; seek a"
    shown = [(0, 4096, "delayed"), (32768, 4096, "delayed")]
    strict = placed(make_workload(line, "ext3ish@delalloc"))
    assert states(strict.steps[2]) == [*shown, (65536, 4096, "delayed")]
    buggy = run(line, "ext3ish@delalloc", quirks=SEVEN_TWO)
    assert states(buggy.steps[2]) == shown
    assert results(buggy)[3] == [[0, 4096], [32768, 36864]]
    assert buggy.steps[2].quirks == ("indirect_delayed_tail_is_hole",)


# --- data modes -------------------------------------------------------------------------


def test_data_journal_allocates_at_once_in_single_pages() -> None:
    trace = placed(make_workload("pwrite a 0 20k; dwrite a 1000 5", "4k@data=journal"))
    assert states(trace.steps[0]) == [(0, 20480, "written")]
    assert trace.steps[0].observation.delalloc == 0
    assert results(trace)[1] == 5  # direct I/O falls back, and so needs no alignment


def test_data_writeback_delays_as_data_ordered_does() -> None:
    line = "pwrite a 0 20k; pwrite_fault a 32k 16k 5k; fsync a; truncate a 5000"
    ordered = run(line, "4k@data=ordered")
    writeback = run(line, "4k@data=writeback")
    assert [s.observation for s in ordered.steps] == [s.observation for s in writeback.steps]


# --- inline data ------------------------------------------------------------------------


def test_a_small_file_takes_no_block() -> None:
    """An inode of 256 bytes holds 60 + 68 bytes; st_blocks counts them as if they took any."""
    trace = placed(make_workload("pwrite a 0 100; append a 28; append a 1", "inline@delalloc"))
    first, full, over = trace.steps
    assert states(first) == [(0, 100, "inline")]
    assert (file(first).blocks, file(first).disk_blocks, file(first).disksize) == (1, 0, 100)
    assert states(full) == [(0, 128, "inline")]
    assert first.observation.bfree == trace.start.bfree
    assert over.observation.delalloc == 1
    assert file(over).size == 129


def test_inline_data_waits_for_a_delayed_block() -> None:
    """The data is inline still, and in the page cache, until writeback."""
    trace = placed(make_workload("pwrite a 0 100; pwrite a 100 8k; fsync a", "inline@delalloc"))
    assert states(trace.steps[1]) == [(0, 100, "inline")]
    assert trace.steps[1].observation.delalloc == 3
    assert states(trace.steps[2]) == [(0, 12288, "written")]


def test_without_delayed_allocation_the_block_comes_at_once() -> None:
    trace = placed(make_workload("pwrite a 0 100; pwrite a 100 8k", "inline@nodelalloc"))
    assert states(trace.steps[1]) == [(0, 12288, "written")]


@pytest.mark.parametrize("line", ["truncate a 5000", "falloc a 0 100", "mwrite a 0 10"])
def test_what_gives_inline_data_a_block(line: str) -> None:
    trace = placed(make_workload(f"pwrite a 0 100; {line}", "inline@delalloc"))
    assert states(trace.steps[1]) == [(0, 4096, "written")]


def test_truncation_keeps_the_data_inline() -> None:
    trace = placed(make_workload("pwrite a 0 100; truncate a 70; truncate a 70", "inline@delalloc"))
    assert states(trace.steps[1]) == [(0, 70, "inline")]
    assert states(placed(make_workload("pwrite a 0 9; truncate a 60", "inline@delalloc")).steps[1])\
        == [(0, 60, "inline")]  # fmt: skip


def test_a_failed_first_write_leaves_an_empty_file() -> None:
    trace = run("pwrite_fault a 0 100 0; pwrite a 0 5; pread a 0 9", "inline@delalloc")
    assert results(trace)[0] == "EFAULT"
    assert states(trace.steps[0]) == []
    assert states(trace.steps[1]) == [(0, 5, "inline")]


def test_the_first_page_is_a_folio_of_its_own() -> None:
    """A large write starts with one page: a short copy at byte 4096 leaves the rest alone."""
    line = "pwrite_fault a 0 64k 4k"
    assert run(line, "inline@delalloc").steps[0].observation.delalloc == 2
    assert run(line, "4k@delalloc").steps[0].observation.delalloc == 16


def _content(trace: Trace) -> Content:
    assert trace.final is not None and trace.final.content is not None
    return trace.final.content["a"]


def test_a_converted_block_goes_back_at_the_next_checkpoint() -> None:
    """Known bug: the block that truncate gave to inline data stays in the journal, and what
    is written over it is undone at umount."""
    line = "pwrite a 0 100 tag=1; truncate a 5000; fsync a; pwrite a 50 4000 tag=2; fsync a"
    strict = placed(make_workload(line, "inline@delalloc"))
    buggy = run(line, "inline@delalloc", quirks=SEVEN_TWO)
    old = pattern(1, 0, 100)
    expected = old[:50] + pattern(2, 50, 4000) + bytes(950)
    assert _content(strict) == _content_of(expected)
    assert _content(buggy) == _content_of(old + bytes(4900))


def test_what_was_written_after_the_checkpoint_stays() -> None:
    """sync(2) writes the device's page cache: file data that is written later is safe, and
    the page cache shows nothing of the loss until it is dropped."""
    line = "pwrite a 0 100 tag=1; fzero a 0 50; fsync a; sync; pread a 0 100; drop_caches; " + (
        "pread a 0 100; fzero a 0 50; sync; drop_caches; pread a 0 100"
    )
    zeroed = bytes(50) + pattern(1, 50, 50)
    buggy = run(line, "inline@delalloc", quirks=SEVEN_TWO)
    seen = [result for result in results(buggy) if isinstance(result, str)]
    assert seen == [_md5(zeroed), _md5(pattern(1, 0, 100)), _md5(zeroed)]
    assert [index for index, step in enumerate(buggy.steps) if step.quirks] == [5]
    strict = run(line, "inline@delalloc")
    assert [r for r in results(strict) if isinstance(r, str)] == [_md5(zeroed)] * 3


def test_a_bug_that_shows_at_the_end_is_told_with_the_last_step() -> None:
    buggy = run("pwrite a 0 100 tag=1; fzero a 0 50", "inline@delalloc", quirks=SEVEN_TWO)
    assert buggy.steps[-1].quirks == ("inline_conversion_undone",)


def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def _content_of(data: bytes) -> Content:
    from model.content import Content as Store  # noqa: PLC0415

    store = Store()
    store.write(0, data)
    return Content(len(data), sha256=store.sha256(len(data)), blocks=store.checksums(len(data)))


def test_the_catalogue_of_indirect_files_runs() -> None:
    ran = [
        placed(workload)
        for program in catalogue("indirect-blocks")
        for workload in workloads(program)
    ]
    assert len(ran) >= 4
