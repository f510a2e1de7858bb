"""Vectors, limits, flags, copies, synchronous writes, seek, remount options, shutdown."""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import chosen, disagreements, file, placed, results, run, states

from harness.errors import NotModelledError
from harness.trace import Trace
from model import Behaviour
from workloads.content import pattern

KERNELS = ("bh-extra", "bh73-extra")


@pytest.mark.parametrize("kernel", KERNELS)
def test_recorded_programs_agree(kernel: str) -> None:
    for trace in chosen(kernel, "@"):
        if "quota" not in trace.workload.name:
            assert disagreements(trace, Behaviour(iomap=False)) == []


# --- writes -----------------------------------------------------------------------------


def test_a_vector_is_read_up_to_its_first_fault() -> None:
    """6000 readable bytes, then a page that faults: what follows it is never reached."""
    trace = run("pwritev a 0 6000,8k:0,4k; pread a 0 6000", "4k@nodelalloc")
    assert results(trace)[0] == 6000
    assert file(trace.steps[0]).size == 6000


def test_a_vector_whose_first_segment_faults_writes_nothing() -> None:
    trace = run("pwritev a 0 8k:0,8k")
    assert results(trace) == ["EFAULT"]
    assert file(trace.steps[0]).size == 0


def test_a_fault_counts_from_its_page() -> None:
    assert results(run("pwritev a 0 4k,8k:4k,4k")) == [8192]
    assert results(run("pwritev a 0 4k,8k:4095,4k")) == [4096]
    assert results(run("pwritev a 0 4k,8k:8191,4k")) == [8192]


def test_an_empty_vector_writes_nothing() -> None:
    assert results(run("pwritev a 0 0,0")) == [0]


def test_a_file_size_limit_cuts_and_then_refuses() -> None:
    line = (
        "rlimit_write a 10000 0 64k; rlimit_write a 10000 10000 5; rlimit_write a 10000 9999 5;"
        "rlimit_write a 20000 15000 64k; rlimit_write a 10 20 0"
    )
    trace = run(line)
    assert results(trace) == [10000, "EFBIG", 1, 5000, 0]
    assert file(trace.steps[3]).size == 20000


def test_a_synchronous_write_flushes_its_range_only() -> None:
    """Block 3 was delayed before and stays so; what is synchronous is written at once."""
    trace = placed(make_workload("pwrite a 0 4k; fsync a; pwrite a 12k 4k; pwrite_osync a 60000 1"))
    assert states(trace.steps[-1]) == [
        (0, 4096, "written"),
        (12288, 4096, "delayed"),
        (57344, 4096, "written"),
    ]
    assert trace.steps[-1].observation.delalloc == 1


def test_msync_flushes_the_pages_of_the_mapping() -> None:
    trace = placed(make_workload("truncate a 64k; mwrite a 32k 8k; mwrite_msync a 10 20"))
    assert results(trace) == [0, 8192, 20]
    assert states(trace.steps[-1]) == [(0, 4096, "written"), (32768, 8192, "delayed")]
    assert results(run("truncate a 4k; mwrite_msync a 4090 7; mwrite_msync a 0 0")) == [
        0,
        "SKIP",
        0,
    ]


# --- copies -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["sendfile", "splice", "copy_range"])
def test_a_copy_ends_with_its_source(word: str) -> None:
    line = f"pwrite a 0 100000; {word} a 5000 60000 b 0; {word} a 99000 4k b 100001; " + (
        f"{word} a 200000 4k b 0; pread b 0 60000; pread a 5000 60000"
    )
    trace = run(line)
    copied, short, none, there, here = results(trace)[1:]
    assert (copied, short, none) == (60000, 1000, 0)
    assert there == here
    assert file(trace.steps[2], "b").size == 101001


def test_a_copy_that_runs_into_a_full_pipe_goes_on() -> None:
    line = "pwrite a 0 300000; splice a 1000 200000 b 0; sendfile a 1000 200000 c 0;"
    trace = run(line + "pread b 0 200000; pread c 0 200000; pread a 1000 200000")
    assert results(trace)[1:3] == [200000, 200000]
    assert len(set(map(str, results(trace)[3:]))) == 1


def test_a_copy_onto_itself_goes_page_by_page() -> None:
    """The pipe holds the pages themselves: the first one arrives everywhere."""
    trace = run("pwrite a 0 20k tag=4; splice a 0 12k a 4k; pread a 4k 12k; pread a 16k 4k")
    assert results(trace)[2] == hashlib.md5(pattern(4, 0, 4096) * 3).hexdigest()
    assert results(trace)[3] == hashlib.md5(pattern(4, 16384, 4096)).hexdigest()


def test_a_page_shifted_onto_itself_is_undefined() -> None:
    """memcpy() with operands that overlap: nobody can know the result."""
    trace = run("pwrite a 0 20k; sendfile a 128 5000 a 1; pread a 0 1; pread a 1 9; pread a 8k 9")
    assert ["result" in step.unpredicted for step in trace.steps] == [False] * 3 + [True, False]
    assert trace.final is not None and trace.final.content is not None
    assert trace.final.content["a"].undefined == ((1, 5000),)


def test_what_is_undefined_stays_so_when_it_is_copied() -> None:
    trace = run("pwrite a 0 20k; sendfile a 128 5000 a 1; copy_range a 0 4k b 0; truncate a 0")
    assert trace.final is not None and trace.final.content is not None
    assert trace.final.content["a"].undefined == ()
    assert trace.final.content["b"].undefined == ((0, 4096),)


# --- space ------------------------------------------------------------------------------


def test_write_zeroes_needs_a_device_that_can() -> None:
    line = "pwrite a 0 64k; write_zeroes a 8k 16k; write_zeroes a 0 0; write_zeroes a -1 5"
    assert results(run(line))[1:] == ["ENOTSUP", "EINVAL", "EINVAL"]


def test_sync_range_refuses_ends_past_the_largest_offset() -> None:
    line = "pwrite a 0 4k; sync_range a 9223372036854775807 1; sync_range a 0 9223372036854775807"
    assert results(run(line))[1:] == ["EINVAL", 0]


# --- flags ------------------------------------------------------------------------------


def test_an_append_only_file_that_is_open() -> None:
    """The descriptor stays as it was: pwrite(2) goes on, only what shortens is refused."""
    line = (
        "pwrite a 0 8k; setflags a 0x20; pwrite a 0 100; append a 100; truncate a 0;"
        "fpunch a 0 4k; falloc a 0 64k; dwrite a 0 4k; mwrite a 0 10; chown a uid=5; unlink a"
    )
    expected = [100, 100, "EPERM", "EPERM", 0, "EPERM", "EACCES", "EPERM", "EPERM"]
    assert results(run(line))[2:] == expected


def test_an_append_only_file_that_is_opened_anew() -> None:
    line = "pwrite a 0 8k; setflags a 0x20; remount; pwrite a 0 1; append a 1; pread a 0 1"
    assert results(run(line))[3:] == ["EPERM", "EPERM", "EPERM"]


def test_an_immutable_file_is_written_back_and_refuses_all() -> None:
    line = (
        "pwrite a 0 8k; setflags a 0x10; pwrite a 0 1; append a 1; truncate a 9; falloc a 0 4k;"
        "mwrite a 0 1; sendfile b 0 1 a 0; otrunc a; fsync a"
    )
    trace = placed(make_workload("pwrite b 0 1; append a 1; truncate a 0; " + line))
    assert states(trace.steps[4]) == [(0, 8192, "written")]
    assert results(trace)[5:] == [
        "EPERM", "EPERM", "EPERM", "EPERM", "SIGBUS", "EPERM", "EPERM", "EPERM",
    ]  # fmt: skip


def test_a_store_to_an_immutable_file_fails_once_its_page_is_read() -> None:
    trace = placed(make_workload("falloc a 0 64k; setflags a 0x10; seek a; mwrite a 20k 1; seek a"))
    assert results(trace)[2:] == [[], "SIGBUS", [[0, 65536]]]


def test_flags_can_be_taken_back_while_the_file_is_open() -> None:
    line = "pwrite a 0 8k; setflags a 0x10; setflags a 0; truncate a 100"
    assert results(run(line)) == [8192, 0, 0, 0]


# --- seek -------------------------------------------------------------------------------


def test_seek_finds_delayed_and_written_blocks_and_cached_unwritten_ones() -> None:
    line = (
        "truncate a 256k; seek a; pwrite a 16k 5000; seek a; falloc a 64k 64k; seek a;"
        "pwrite a 80k 4k; seek a; fsync a; drop_caches; seek a"
    )
    found = [result for result in results(placed(make_workload(line))) if isinstance(result, list)]
    assert found == [
        [],
        [[16384, 24576]],
        [[16384, 24576]],
        [[16384, 24576], [81920, 86016]],
        [[16384, 24576], [81920, 86016]],
    ]


def test_seek_ends_data_at_the_file_size() -> None:
    assert results(run("pwrite a 0 5000; seek a"))[1] == [[0, 5000]]


def test_what_was_read_ahead_of_unwritten_blocks_is_data() -> None:
    """The first page is read with three more, the next two in sequence start larger windows;
    a fault reads 4 MiB before and after it."""
    line = "falloc a 0 1m; pread a 0 1; seek a; pread a 4k 8k; seek a; drop_caches; seek a; "
    found = [row for row in results(run(line + "mwrite a 512k 1; seek a")) if isinstance(row, list)]
    assert found == [[[0, 16384]], [[0, 81920]], [], [[0, 1048576]]]


# --- remount options ----------------------------------------------------------------------


def test_delayed_allocation_cannot_be_switched_off() -> None:
    trace = run("pwrite a 0 4k; remount_opts nodelalloc; pwrite a 4k 4k")
    assert results(trace) == [4096, "EINVAL", 4096]
    assert trace.steps[-1].observation.delalloc == 2


@pytest.mark.parametrize(("options", "results"), [("ro,rw", [0, 4096]), ("rw,ro", ["EBUSY", 4096])])
def test_of_read_only_and_read_write_the_last_counts(options: str, results: list[object]) -> None:
    trace = run(f"pwrite a 0 4k; remount_opts {options}; pwrite a 4k 4k")
    assert [step.result for step in trace.steps[1:]] == results


@pytest.mark.parametrize("line", ["delalloc", "nodelalloc,delalloc", "delalloc,nodelalloc"])
def test_with_data_journal_delalloc_is_refused_though_it_is_taken_back(line: str) -> None:
    """Seen on 7.3.4 with the series: the option is noted as given when it is read."""
    trace = run(f"remount_opts {line}; remount_opts nodelalloc", "4k@data=journal")
    assert results(trace) == ["EINVAL", 0]


def test_of_two_remount_options_that_exclude_each_other_the_last_counts() -> None:
    line = "remount_opts nodelalloc,delalloc; remount_opts delalloc,nodelalloc"
    assert results(run(line)) == [0, "EINVAL"]
    modes = "remount_opts data=journal,data=ordered; remount_opts data=ordered,data=journal"
    assert results(run(modes)) == [0, "EINVAL"]


def test_delayed_allocation_switched_on_is_for_files_opened_later() -> None:
    """An inode keeps its operations; only what it allocates is unwritten from now on."""
    line = "pwrite a 0 4k; remount_opts delalloc; pwrite a 4k 4k; pwrite b 0 4k"
    trace = placed(make_workload(line, "4k@nodelalloc"))
    assert states(trace.steps[2]) == [(0, 4096, "written"), (4096, 4096, "unwritten")]
    assert states(trace.steps[3], "b") == [(0, 4096, "delayed")]


@pytest.mark.parametrize(
    "replace", ["pwrite a 0 8k; rename a b", "truncate b 0; pwrite b 0 8k; close b"]
)
def test_what_replaces_a_file_is_written_back_unless_the_mount_says_no(replace: str) -> None:
    def last(config: str, *first: str) -> str:
        line = "; ".join(("pwrite b 0 4k", *first, replace))
        return states(placed(make_workload(line, config)).steps[-1], "b")[0][2]

    assert last("4k@delalloc") == "written"
    assert last("4k@delalloc", "remount_opts noauto_da_alloc") == "delayed"
    assert last("4k@delalloc,noauto_da_alloc") == "delayed"
    assert last("4k@delalloc,noauto_da_alloc", "remount_opts auto_da_alloc") == "written"


def test_a_file_cut_to_nothing_before_the_option_changed_is_still_written_at_close() -> None:
    line = "pwrite b 0 4k; truncate b 0; remount_opts noauto_da_alloc; pwrite b 0 8k; close b"
    assert states(placed(make_workload(line)).steps[-1], "b") == [(0, 8192, "written")]


def test_read_only_needs_all_files_closed() -> None:
    line = (
        "pwrite a 0 4k; remount_opts ro; close a; remount_opts ro; pwrite a 0 1; unlink a;"
        "otrunc b; sync; remount_opts rw; pwrite a 0 1"
    )
    expected = ["EBUSY", 0, 0, "EROFS", "EROFS", "ENOENT", 0, 0, 1]
    assert results(run(line))[1:] == expected


def test_open_files_are_looked_at_before_other_options() -> None:
    trace = run("pwrite a 0 4k; remount_opts ro,nodelalloc; close a; remount_opts ro,nodelalloc")
    assert results(trace)[1:] == ["EBUSY", 0, "EINVAL"]


def test_options_that_a_kernel_does_not_have_or_the_model_does_not_know() -> None:
    assert results(run("remount_opts buffered_iomap")) == ["EINVAL"]
    assert results(run("remount_opts nobuffered_iomap", iomap=True)) == [0]
    assert results(run("remount_opts data=journal; remount_opts data=ordered")) == ["EINVAL", 0]
    with pytest.raises(NotModelledError, match="stripe=4"):
        run("remount_opts stripe=4")


def test_without_a_journal_a_data_mode_is_ignored():
    """The kernel says so in its log, and changes nothing."""
    line = "remount_opts data=journal; pwrite a 0 4k"
    assert results(run(line, "nojournal@delalloc")) == [0, 4096]


# --- shutdown -----------------------------------------------------------------------------

LOST = "pwrite a 0 64k; fsync a; pwrite a 64k 64k; pwrite b 0 4k; "


def _final_sizes(trace: Trace) -> dict[str, int | None]:
    assert trace.final is not None
    return {name: seen.size for name, seen in trace.final.observation.files.items()}


@pytest.mark.parametrize(
    ("flags", "config", "sizes"),
    [
        (0, "4k@delalloc", {"a": 131072, "b": 4096}),
        (1, "4k@delalloc", {"a": 65536, "b": 0}),
        (1, "4k@nodelalloc", {"a": 131072, "b": 4096}),
        (2, "4k@delalloc", {"a": 65536}),
        (2, "4k@nodelalloc", {"a": 65536}),
    ],
)
def test_what_a_shutdown_keeps(flags: int, config: str, sizes: dict[str, int]) -> None:
    """0 writes all, 1 commits what is allocated, 2 keeps what was committed before."""
    trace = placed(make_workload(f"{LOST}shutdown {flags}", config))
    assert _final_sizes(trace) == sizes
    assert trace.final is not None and trace.final.dropped is None


def test_space_comes_back_with_the_last_commit() -> None:
    trace = placed(make_workload(LOST + "shutdown 2"))
    assert trace.final is not None
    assert trace.final.observation.bfree == trace.start.bfree - 16  # type: ignore[operator]


def test_after_a_shutdown_everything_fails_but_closing() -> None:
    line = LOST + (
        "shutdown 2; pwrite a 0 1; fsync a; truncate a 0; pread a 0 1; unlink a; rename a c;"
        "close a; sync; drop_caches; shutdown 1"
    )
    trace = run(line)
    assert results(trace)[5:] == ["EIO"] * 6 + [0] * 4
    assert trace.steps[-1].observation.error == "EIO"
    assert results(run(LOST + "shutdown 3"))[-1] == "EINVAL"


def test_a_remount_ends_the_shutdown() -> None:
    trace = placed(make_workload(LOST + "shutdown 2; remount; pwrite a 64k 4k; fsync a"))
    assert results(trace)[-3:] == [0, 4096, 0]
    assert trace.steps[-1].observation.error is None
    assert _final_sizes(trace) == {"a": 69632}


def test_dirty_overwrites_are_unknown_after_a_shutdown() -> None:
    """Nothing tells whether a dirty block reached the disk a second time."""
    line = "pwrite a 0 8k tag=1; fsync a; pwrite a 0 4k tag=2; sync_range a 0 4k; "
    known = placed(make_workload(line + "shutdown 2", "4k@nodelalloc"))
    dirty = placed(make_workload(line + "pwrite a 0 4k tag=3; shutdown 2", "4k@nodelalloc"))
    assert known.final is not None and known.final.content is not None
    assert known.final.content["a"].undefined == ()
    assert dirty.final is not None and dirty.final.content is not None
    assert dirty.final.content["a"].undefined == ((0, 4096),)
    assert dirty.final.content["a"].sha256 is None
