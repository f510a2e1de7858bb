"""What a shutdown leaves: without a journal, with inline data, and where blocks have moved."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, geometry, placed, results, run, states

from harness.sides.side import on_path
from harness.trace import Extent, State
from model import Behaviour, Model
from workloads.content import pattern

NO_JOURNAL = "nojournal@nodelalloc"


def inline(line: str, *quirks: str) -> bytes:
    """What a file of inline data holds after `line`."""
    model = Model(Behaviour(iomap=False, quirks=frozenset(quirks)), geometry)
    mount = model.finish(make_workload(line, "inline@delalloc"))
    inode = mount.files["a"]
    return inode.content.read(0, inode.size)


@pytest.mark.parametrize("flags", [1, 2])
def test_without_a_journal_sizes_and_blocks_are_those_of_the_shutdown(flags: int) -> None:
    trace = run(f"pwrite a 0 8k; pwrite b 0 4k; unlink b; shutdown {flags}; remount", NO_JOURNAL)
    assert states(trace.steps[-1]) == [(0, 8192, "written")]
    assert file(trace.steps[-1]).size == 8192
    assert "b" not in trace.steps[-1].observation.files


def test_without_a_journal_delayed_blocks_are_gone_and_so_is_the_size_that_waited() -> None:
    trace = run("pwrite a 0 4k; fsync a; pwrite a 4k 4k; shutdown 2; remount", "nojournal@delalloc")
    assert file(trace.steps[-1]).size == 4096
    assert trace.steps[-1].observation.delalloc == 0


def test_without_a_journal_dirty_blocks_are_as_last_synced_or_unknown() -> None:
    line = "pwrite a 0 4k; fsync a; pwrite a 0 8k; shutdown 2; remount; pread a 0 4k; pread a 0 8k"
    trace = run(line, NO_JOURNAL)
    assert trace.final is not None
    assert trace.final.content is not None
    assert trace.final.content["a"].undefined == ((4096, 4096),)
    same = run("pwrite a 0 4k; pread a 0 4k", NO_JOURNAL)
    assert results(trace)[5] == results(same)[1]


def test_freezing_first_writes_everything() -> None:
    for config in (NO_JOURNAL, "nojournal@delalloc", "4k@delalloc"):
        trace = run("pwrite a 0 8k; shutdown 0; remount; pread a 0 8k", config)
        assert results(trace)[3] == results(run("pwrite a 0 8k; pread a 0 8k"))[1]


def test_inline_data_on_its_way_to_a_block_is_still_in_the_inode() -> None:
    line = "pwrite a 0 100; fsync a; pwrite a 100 5000; pwrite a 0 20; shutdown 1; remount"
    assert inline(line) == pattern(1, 0, 100)


def test_fdatasync_commits_inline_data_but_for_a_known_bug() -> None:
    line = "pwrite a 0 100; fsync a; pwrite a 10 20; fdatasync a; shutdown 2; remount"
    old = pattern(1, 0, 100)
    assert inline(line) == old[:10] + pattern(3, 10, 20) + old[30:]
    assert inline(line, "inline_overwrite_not_synced") == old
    assert inline(line.replace("fdatasync", "fsync"), "inline_overwrite_not_synced") != old


def test_a_journal_that_was_emptied_replays_nothing() -> None:
    line = "pwrite a 0 100; fzero a 0 50; {}; pwrite a 0 30; fsync a; shutdown 2; remount"
    old = bytes(50) + pattern(1, 50, 50)
    quirk = "inline_conversion_undone"
    assert inline(line.format("sync")) == pattern(4, 0, 30) + old[30:]
    assert inline(line.format("sync"), quirk)[50:] == old[50:]
    assert inline(line.format("sync"), quirk)[:30] != pattern(4, 0, 30)
    assert inline(line.format("remount; fsync a"), quirk)[:30] == pattern(5, 0, 30)


def test_freezing_writes_the_journal_over_newer_data_but_for_a_known_bug() -> None:
    """Also if a file was synced before; not if data is written after what the journal held."""
    line, quirk = (
        "pwrite a 0 100; fzero a 0 50; pwrite a 0 30;{} shutdown 0; remount",
        ("inline_conversion_undone"),
    )
    new, old = pattern(3, 0, 30) + bytes(20), pattern(1, 0, 50)
    for before in ("", " fsync a;", " sync;"):
        assert inline(line.format(before))[:50] == new
        assert inline(line.format(before), quirk)[:50] == old
    assert inline(line.format(" sync; pwrite a 0 20;"), quirk)[:20] == pattern(5, 0, 20)


@pytest.mark.parametrize("config", ["4k@delalloc", "inline@delalloc"])
@pytest.mark.parametrize("before", ["", "fsync a; "])
def test_what_nobody_knows_of_a_file_is_not_known_after_a_shutdown(
    config: str, before: str
) -> None:
    """A page that splice(2) copies onto itself, shifted, has undefined bytes on disk, too."""
    trace = run(f"pwrite a 0 100; splice a 1 50 a 0; {before}shutdown 0; remount", config)
    assert trace.final is not None
    assert trace.final.content is not None
    assert trace.final.content["a"].undefined == ((0, 50),)


def test_a_block_that_was_written_again_elsewhere_is_not_taken_for_the_committed_one() -> None:
    ops = "pwrite a 0 4k; fsync a; fpunch a 0 4k; pwrite a 0 4k; sync_range a 0 4k; shutdown 2"
    workload = make_workload(f"{ops}; remount; pread a 0 4k", "4k@delalloc")
    first, second = (
        {"a": (Extent(0, 4096, State.WRITTEN, place),)} for place in (1 << 20, 1 << 21)
    )
    placement = (first, first, first, second, second, second, first, first)
    trace = Model(Behaviour(iomap=False), geometry).run(workload, placement)
    assert trace.final is not None
    assert trace.final.content is not None
    assert trace.final.content["a"].undefined == ((0, 4096),), "flushed before or after the punch?"


def known(line: str, config: str = "4k@delalloc") -> tuple[tuple[int, int], ...]:
    """The byte ranges of `a` that are not known after `line`, a shutdown and a mount."""
    final = run(f"{line}; shutdown 1", config).final
    assert final is not None
    assert final.content is not None
    return final.content["a"].undefined


def test_a_commit_does_not_write_what_writeback_had_allocated() -> None:
    line = "pwrite a 0 4k; sync_range a 0 4k; pwrite a 0 4k"
    assert known(line) == ((0, 4096),), "dirty again, and only waited for"
    assert known(line, "4k@delalloc,dioread_lock") == ((0, 4096),)
    assert known(line, "4k@nodelalloc") == ()


def test_a_commit_writes_the_page_whose_end_was_zeroed() -> None:
    line = "pwrite_osync a 30291 511; {}; mwrite a 30700 50; mwrite a 0 50"
    assert known(line.format("pwrite a 66454 4k")) == ()
    assert known(line.format("pwrite a 30802 4k")) == ((28672, 4096),)


def test_pages_that_a_commit_has_written_are_clean() -> None:
    line = "pwrite a 0 60k; pwrite b 0 4k; {}; shutdown 2; sync_range a 140k 4k"
    assert results(run(line.format("fsync b"), "4k@nodelalloc"))[-1] == 0
    assert results(run(line.format("fsync b"), "4k@nodelalloc,data=writeback"))[-1] == "EIO"
    assert results(run(line.format("fsync b"), "4k@delalloc"))[-1] == "EIO"
    assert results(run(line.format("close b"), "4k@nodelalloc"))[-1] == "EIO"
    assert results(run(line.format("fsync b; pwrite a 0 4k"), "4k@nodelalloc"))[-1] == "EIO"


SHIFTED = {
    "finsert a 8k 4k": (
        Extent(0, 8 << 10, State.WRITTEN, 1 << 31),
        Extent(12 << 10, 32 << 10, State.WRITTEN, (1 << 31) + (8 << 10)),
    ),
    "pwrite a 40k 4k": (Extent(0, 44 << 10, State.WRITTEN, 1 << 31),),
}
"""40 KiB behind each other, after an operation that makes 44 of them."""


@pytest.mark.parametrize(("line", "known"), [("finsert a 8k 4k", False), ("pwrite a 40k 4k", True)])
def test_a_commit_orders_new_blocks_and_none_that_only_moved(line: str, known: bool) -> None:
    """The last block is zeroed in part. If the transaction made it written its page goes to disk
    with the commit; if it was moved there only, nobody knows what of it is on disk."""
    before = (Extent(0, 40 << 10, State.WRITTEN, 1 << 31),)
    workload = make_workload(
        f"pwrite a 0 40k; sync; {line}; fzero_keep a 43000 500; shutdown 1; remount",
        "4k@nodelalloc",
    )
    placement = tuple(
        {"a": before if step < 2 else SHIFTED[line]} for step in range(len(workload.ops) + 1)
    )
    mount = Model(Behaviour(iomap=False), geometry).finish(workload, placement)
    assert mount.files["a"].content.knows(40 << 10, 44 << 10) == known


STORED_AND_CRASHED = "mwrite a {at} 4k; shutdown 1; remount"


def last(line: str, config: str, at: int = 0) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """4096 bytes of `a` at the end of `line`, and what of the file is undefined."""
    mount = Model(Behaviour(iomap=False), geometry).finish(make_workload(line, config))
    content = mount.files["a"].content
    return content.read(at, 4096), tuple(content.undefined(mount.files["a"].size))


@pytest.mark.parametrize(
    ("before", "written"),
    [
        ("pwrite a 0 4k", True),
        ("dwrite a 0 4k", True),  # past EOF: written at once
        ("truncate a 4k; dwrite a 0 4k", False),  # unwritten, converted after the I/O
        ("pwrite a 0 4k; fsync a; drop_caches", False),
    ],
)
def test_a_commit_writes_only_what_was_mapped_as_written(before: str, written: bool) -> None:
    line = f"{before}; {STORED_AND_CRASHED.format(at=0)}"
    content, undefined = last(line, "4k@nodelalloc")
    assert undefined == (() if written else ((0, 4096),))
    assert (content == pattern(line.count(";") - 1, 0, 4096)) is written


def test_a_commit_does_not_write_what_was_zeroed_with_its_neighbour() -> None:
    """Writeback of block 2 makes the whole extent written, blocks 1 and 3 as zeros on disk; the
    dirty buffer of block 1 is marked unwritten still. On 7.3.4 it reads as zeros then."""
    line = (
        "pwrite a 32k 100; fsync a; truncate a 32900; fsync a; falloc_keep a 4k 12k; pwrite a 0 4k;"
        " pwrite a 4k 4k; pwrite a 8k 4k; sync_range a 0 4k; sync_range a 8k 4k;"
        " pwrite c 0 1; fsync c; shutdown 2; remount"
    )
    places = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    workload = make_workload(line, "4k@delalloc,dioread_lock")
    mount = Model(Behaviour(iomap=False), geometry).finish(workload, (places,) * 20)
    content = mount.files["a"].content
    assert tuple(content.undefined(16 << 10)) == ((4096, 4096),)


def test_what_a_quota_has_for_a_file_goes_with_it() -> None:
    """A crash behind that is predicted, as it is not where i_blocks was not what quota had."""
    line = "pwrite a 0 4k; chown a uid=7; fsync a; unlink a; pwrite b 0 4k; shutdown 1; remount"
    trace = placed(make_workload(line, "quota4k@nodelalloc,usrquota"))
    assert file(trace.steps[-1], "b").blocks == 8


@pytest.mark.parametrize("once", [True, False])
def test_a_file_that_a_commit_once_wrote_is_written_by_each(once: bool) -> None:
    begin = "pwrite a 0 4000; fsync a; truncate a 4k" if once else "pwrite a 0 4k"
    line = (
        f"{begin}; fsync a; append a 4k; sync_range a 4k 4k; {STORED_AND_CRASHED.format(at=4096)}"
    )
    content, undefined = last(line, "4k@delalloc,dioread_lock", 4096)
    assert undefined == (() if once else ((4096, 4096),))
    assert (content == pattern(line.count(";") - 1, 4096, 4096)) is once


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ("fzero a 16k 4k", True),
        ("fpunch a 16k 4k", True),
        ("sync_range a 60k 4k", True),  # though these pages are clean
        ("pread a 16k 4k", False),
        ("falloc a 16k 4k", False),
    ],
)
@pytest.mark.parametrize("config", ["4k@data=journal", "4k@nodelalloc"])
def test_writeback_of_journalled_data_commits_first(call: str, config: str, *, kept: bool) -> None:
    """All of the transaction, other files too; without journalled data nothing commits."""
    line = f"pwrite a 0 64k; sync; pwrite a 0 8k; pwrite b 0 4k; {call}; shutdown 2; remount"
    trace = run(line, config)
    assert ("b" in trace.steps[-1].observation.files) == (kept and "journal" in config)


@pytest.mark.parametrize("iomap", [False, True])
@pytest.mark.parametrize(
    ("change", "synced", "blocks"),
    [
        ("truncate a 4k", "fdatasync a", 128),
        ("truncate a 4k", "fsync a", 8),
        ("truncate a 8k", "fdatasync a", 128),
        ("truncate a 2k", "fdatasync a", 8),
        ("truncate a 8k; truncate a 4k", "fdatasync a", 8),
        ("fpunch a 0 4k", "fdatasync a", 120),
        ("falloc_keep a 64k 4k", "fdatasync a", 136),
        ("pwrite a 4k 4k", "fdatasync a", 128),
    ],
)
def test_fdatasync_commits_sizes_and_what_fallocate_did_but_no_blocks_behind_the_same_size(
    change: str, synced: str, blocks: int, iomap: bool
) -> None:
    """As on 7.3.4 with the series."""
    line = f"pwrite a 0 4k; falloc_keep a 4k 60k; sync; {change}; {synced}; shutdown 2; remount"
    workload = on_path(make_workload(line), "iomap" if iomap else "bh")
    trace = placed(workload, iomap=iomap)
    assert file(trace.steps[-1]).blocks == blocks


@pytest.mark.parametrize(("synced", "blocks"), [("fdatasync a", 8), ("fsync a", 136)])
def test_fdatasync_does_not_wait_for_unwritten_blocks_that_a_failed_write_has_left(
    synced: str, blocks: int
) -> None:
    start = "pwrite a 0 4k; sync; pwrite_fault a 8k 64k fault=0"
    workload = make_workload(f"{start}; {synced}; shutdown 2; remount", "4k@nodelalloc")
    trace = placed(on_path(workload, "iomap"), iomap=True)
    assert file(trace.steps[2]).blocks == 136
    assert file(trace.steps[-1]).blocks == blocks


def test_what_is_freed_waits_on_where_fdatasync_has_nothing_to_commit() -> None:
    """Only times of `a` have changed since the blocks of `b` were freed."""
    line = "pwrite a 0 4k; pwrite b 0 4k; sync; unlink b; pwrite a 0 4k; {}"
    waiting = [
        Model(Behaviour(), geometry).play(make_workload(line.format(op)))[1].sb.transaction
        for op in ("fsync a", "fdatasync a")
    ]
    assert waiting[0] == waiting[1] + 1


@pytest.mark.parametrize("synced", ["fsync", "fdatasync"])
@pytest.mark.parametrize(("change", "size"), [("falloc b 8k 4k", 12288), ("sync", 4096)])
def test_an_inode_that_is_read_again_waits_for_the_transaction_that_runs(
    change: str, size: int, synced: str
) -> None:
    """What others have done is durable then. As on 7.3.4 with the series."""
    line = (
        f"pwrite a 0 4k; pwrite b 0 4k; sync; {change}; close a; drop_caches; {synced} a;"
        " shutdown 2; remount"
    )
    trace = run(line)
    rule = "transaction that may have changed it: ext4_iget"
    assert (rule in trace.steps[5].because) is (size > 4096)
    assert file(trace.steps[-1], "b").size == size
    kept = run(line.replace("drop_caches", "fsync b" if change == "sync" else "seek b"))
    assert file(kept.steps[-1], "b").size == 4096


FILLED = "falloc_keep a 64k 64k; falloc f 0 64m; sync; truncate f 4m"


@pytest.mark.parametrize("config", ["small4k@delalloc", "small4k@nodelalloc"])
@pytest.mark.parametrize("iomap", [False, True])
@pytest.mark.parametrize(
    ("begin", "line", "blocks"),
    [
        ("pwrite a 0 4k", "dwrite a 4k 1m; fsync f", 8),
        ("pwrite a 0 5k", "dwrite a 0 1m", 16),
    ],
)
def test_recovery_cuts_a_file_that_a_direct_write_was_to_grow(
    begin: str, line: str, blocks: int, config: str, iomap: bool
) -> None:
    """The commit that finds space for it makes that durable. As on 7.3.4 with the series."""
    text = f"{begin}; {FILLED}; {line}; shutdown 2; remount; shutdown 2; remount"
    workload = on_path(make_workload(text, config), "iomap" if iomap else "bh")
    trace = placed(workload, iomap=iomap)
    cut = ["a file that was to grow: ext4_orphan_cleanup" in step.because for step in trace.steps]
    assert cut == [False] * (len(cut) - 3) + [True, False, False]
    assert file(trace.steps[-1]).blocks == blocks


def test_the_second_crash_leaves_what_the_first_one_left_and_was_committed_since() -> None:
    """As on 7.3.4: what is read from the journal waits for no transaction."""
    begin = "pwrite a 0 4k; pwrite a 64k 4k; fsync a; shutdown 2; remount; "
    more = "pwrite a 128k 4k; pwrite a 300k 1; pwrite a 400k 1; pwrite a 500k 1; fpunch a 0 4k; "
    once = run(begin)
    twice = run(f"{begin}{more}shutdown 2; remount")
    assert twice.steps[-1].observation == once.steps[-1].observation
    synced = run(f"{begin}pwrite b 0 4k; fsync a; shutdown 2; remount")
    assert set(synced.steps[-1].observation.files) == {"a"}
