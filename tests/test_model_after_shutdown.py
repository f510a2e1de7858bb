"""How far each operation gets once the file system was shut down."""

from __future__ import annotations

import pytest
from modelled import results, run

OPEN = "pwrite a 0 16k; sync; shutdown 2; "


def after(line: str, config: str = "4k@delalloc", begin: str = OPEN) -> object:
    """What the last operation of `line` returns after `begin`."""
    return results(run(begin + line, config))[-1]


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("pwrite a 0 4k", "EIO"),
        ("pwrite a 0 0", "EIO"),
        ("pwritev a 0 4k,4k", "EIO"),
        ("pwritev a 0 0,0", 0),
        ("pread a 0 4k", "EIO"),
        ("dwrite a 0 4k", "EIO"),
        ("truncate a 4k", "EIO"),
        ("fsync a", "EIO"),
        ("chown a 1000", "EIO"),
        ("setflags a 16", "EIO"),
        ("fpunch a 0 4k", "EIO"),
        ("fpunch a 16k 4k", 0),
        ("fpunch a 20k 4k", 0),
        ("falloc a 0 4k", "EIO"),
        ("falloc a 0 0", "EINVAL"),
        ("falloc a 0 16t", "EFBIG"),
        ("fzero a 0 4k", "EIO"),
        ("fcollapse a 4k 4k", "EIO"),
        ("fcollapse a 4k 12k", "EINVAL"),
        ("fcollapse a 1 4k", "EINVAL"),
        ("finsert a 4k 4k", "EIO"),
        ("finsert a 16k 4k", "EINVAL"),
        ("finsert a 4k 511", "EINVAL"),
        ("write_zeroes a 0 4k", "ENOTSUP"),
        ("mwrite a 0 4k", "EIO"),
        ("mwrite a 0 0", 0),
        ("mwrite a 16k 1", "SKIP"),
        ("mwrite_msync a 8k 12k", "SKIP"),
        ("mwrite_in a p=0.5 4k", "EIO"),
        ("mwrite_in a p=0.5 0", 0),
        ("copy_range a 0 4k a 8k", "EIO"),
        ("copy_range a 0 4k a 2k", "EINVAL"),
        ("copy_range a 16k 4k a 0", 0),
        ("sendfile a 16k 4k a 0", "EIO"),
        ("sendfile a 0 0 a 0", 0),
        ("splice a 20k 4k a 0", "EIO"),
        ("seek a", [[0, 16384]]),
        ("sync_range a 0 4k", 0),
        ("quota_set 1000 100", "ESRCH"),
    ],
)
def test_a_file_that_is_open_is_refused_only_where_ext4_is_reached(
    line: str, result: object
) -> None:
    assert after(line) == result


LARGEST = 17592186040320  # bytes: s_maxbytes with blocks of 4 KiB
END = (1 << 63) - 1


@pytest.mark.parametrize(
    ("line", "result"),
    [
        (f"sendfile a 0 4k b {LARGEST}", "EIO"),
        (f"sendfile a 0 4k b {LARGEST + 1}", "EINVAL"),
        (f"sendfile a {LARGEST - 1} 4k b 0", "EIO"),
        (f"sendfile a {LARGEST} 4k b 0", "EOVERFLOW"),
        (f"sendfile a {END - 4096} 4096 b 0", "EOVERFLOW"),
        (f"sendfile a {END - 4095} 4096 b 0", "EINVAL"),
        (f"splice a 0 4k b {LARGEST + 1}", "EIO"),
        (f"splice a {END - 65536} 100000 b 0", "EIO"),
        (f"splice a {END - 65535} 100000 b 0", "EINVAL"),
        ("fcollapse a 0 16t", "EFBIG"),
        ("finsert a 0 0", "EINVAL"),
    ],
)
def test_what_no_file_can_have_is_refused_first(line: str, result: str) -> None:
    """As on Debian's 7.3.4."""
    assert after(line, begin="pwrite a 0 16k; pwrite b 0 16k; sync; shutdown 2; ") == result


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("seek a", "EIO"),
        ("fpunch a 64k 4k", "EIO"),
        ("mwrite b 0 4k", "EIO"),
        ("unlink a", "EIO"),
        ("unlink b", "ENOENT"),
        ("rename a b", "EIO"),
        ("rename b a", "ENOENT"),
        ("rename a a", 0),
        ("otrunc a", "EIO"),
        ("otrunc b", "ENOENT"),
        ("close a; sync; drop_caches", 0),
    ],
)
def test_a_file_that_is_not_open_cannot_be_opened(line: str, result: object) -> None:
    assert after(line, begin="pwrite a 0 16k; sync; close a; shutdown 2; ") == result


def test_a_second_descriptor_cannot_be_opened_either() -> None:
    assert after("dwrite a 0 0") == "EIO"
    assert after("dwrite a 0 0", begin="dwrite a 0 4k; sync; shutdown 2; ") == 0


@pytest.mark.parametrize(
    ("flags", "line", "result"),
    [
        (16, "falloc a 0 4k", "EPERM"),
        (16, "chown a 1000", "EPERM"),
        (16, "truncate a 0", "EIO"),
        (16, "pwrite a 0 4k", "EIO"),
        (16, "mwrite a 0 4k", "EIO"),
        (16, "copy_range a 0 4k a 8k", "EPERM"),
        (16, "splice a 0 4k a 8k", "EIO"),
        (32, "truncate a 0", "EPERM"),
        (32, "mwrite a 0 4k", "EACCES"),
        (32, "pwrite a 0 4k", "EIO"),
    ],
)
def test_flags_of_protected_files_come_before_or_after(flags: int, line: str, result: str) -> None:
    begin = f"pwrite a 0 16k; sync; setflags a {flags}; shutdown 2; "
    assert after(line, begin=begin) == result


def test_without_extents_or_with_inline_data() -> None:
    begin = "pwrite a 0 100; shutdown 2; "
    assert after("falloc a 0 4k", "ext3ish@delalloc", begin) == "ENOTSUP"
    assert after("finsert a 0 4k", "ext3ish@delalloc", begin) == "ENOTSUP"
    assert after("fpunch a 0 4k", "ext3ish@delalloc", begin) == "EIO"
    assert after("fpunch a 4k 4k", "inline@delalloc", begin) == "EIO", "it has to be converted"
    assert after("mwrite a 0 200", "inline@delalloc", begin) == "SKIP"


def test_a_dirty_page_anywhere_lets_sync_file_range_fail() -> None:
    assert after("sync_range a 64k 4k", begin="pwrite a 0 4k; shutdown 2; ") == "EIO"
    assert after("sync_range a 64k -1", begin="pwrite a 0 4k; shutdown 2; ") == "EINVAL"


def test_what_a_failed_operation_leaves_of_the_page_cache_is_not_predicted() -> None:
    begin = "falloc a 0 16k; pwrite a 0 4k; shutdown 2; fpunch a 0 4k; {} ; remount; seek a"
    trace = run(begin.format("seek a"), "4k@delalloc")
    assert "result" in trace.steps[4].unpredicted
    assert "result" in run(begin.format("sync_range a 0 4k")).steps[4].unpredicted
    assert not trace.steps[6].unpredicted


def test_a_file_system_without_files_is_still_observed() -> None:
    trace = run("shutdown 1")
    assert trace.steps[0].observation.error is None
    assert trace.steps[0].observation.bfree is not None
    assert run("pwrite a 0 4k; shutdown 1").steps[1].observation.error == "EIO"


def test_a_store_of_nothing_touches_no_page() -> None:
    trace = run("pwrite a 0 5000; sync; mwrite a 100 0; mwrite_in a p=0.5 0", "4k@delalloc")
    assert results(trace)[2:] == [0, 0]
    assert not trace.steps[2].because
    assert not trace.steps[3].because


def test_flags_that_an_immutable_file_may_not_get_are_refused_first() -> None:
    """As on 7.3.4 with the series; what may change is EIO."""
    begin = "pwrite a 0 4k; pwrite b 0 4k; setflags a 0x10; fsync b; shutdown 2; "
    assert after("setflags a 0x30", begin=begin) == "EPERM"
    for allowed in ("setflags a 0x10", "setflags a 0", "setflags b 0x30"):
        assert after(allowed, begin=begin) == "EIO"
