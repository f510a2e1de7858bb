"""Known issues are tied to kernels and paths, and each explains itself."""

from __future__ import annotations

import re

import pytest
from fakes import RELEASE, make_workload

from harness.known import KNOWN_ISSUES, applicable
from harness.known_issue import parse_release
from model.behaviour import QUIRKS

NAMES = {issue.name for issue in KNOWN_ISSUES}
EFAULT = "efault-beyond-eof-moves-size"
NOTED, CHECKSUM = "failed-truncate-marks-errors", "failed-conversion-breaks-checksum"
CUT = "old-error-fails-truncate-iomap"


def names(release: str | None, line: str, config: str = "4k@delalloc") -> set[str]:
    return {issue.name for issue in applicable(release, make_workload(line, config))}


@pytest.mark.parametrize(
    ("release", "parsed"),
    [(RELEASE, (7, 3)), ("7.10-rc1", (7, 10)), ("6.1.0-13-amd64", (6, 1)), ("next", None)],
)
def test_release_numbers_are_compared_as_numbers(release, parsed):
    assert parse_release(release) == parsed


def test_every_quirk_is_one_of_the_models_and_every_one_of_them_is_listed():
    assert {issue.quirk for issue in KNOWN_ISSUES if issue.quirk} == QUIRKS.keys()


def test_names_and_quirks_are_unique_and_everything_is_said():
    signs = {(issue.quirk or issue.complaint or issue.hang, issue.path) for issue in KNOWN_ISSUES}
    assert len(NAMES) == len(signs) == len(KNOWN_ISSUES)
    for issue in KNOWN_ISSUES:
        assert issue.condition
        assert issue.observable
        assert issue.reason
        assert issue.triggers
        assert [issue.quirk, issue.hang].count(None) >= 1
        assert (issue.complaint is None) or issue.hang is None
        assert issue.quirk or issue.complaint or issue.hang


@pytest.mark.parametrize("release", ["7.2.0", "7.3.4-cloud-amd64", "8.0"])
def test_the_efault_issue_is_in_kernels_from_7_2_on(release):
    assert EFAULT in names(release, "pwrite_fault a 8k 4k 0")


@pytest.mark.parametrize("release", ["7.1.9", "6.12.48", None, "unknown"])
def test_the_efault_issue_is_not_assumed_of_other_kernels(release):
    assert EFAULT not in names(release, "pwrite_fault a 8k 4k 0")


def test_the_efault_issue_is_of_the_buffer_head_path_and_of_faulting_writes():
    line = "pwrite_fault a 8k 4k 0"
    assert EFAULT not in names(RELEASE, line, "4k@delalloc,buffered_iomap")
    assert EFAULT in names(RELEASE, line, "4k@nodelalloc")
    assert EFAULT not in names(RELEASE, "pwrite a 8k 4k; fsync a")


def test_a_file_system_that_falls_back_to_buffer_head_has_its_issues():
    line = "pwrite_fault a 8k 4k 0"
    assert EFAULT in names(RELEASE, line, "ext3ish@delalloc,buffered_iomap")


def test_a_remount_between_the_paths_has_the_issues_of_both():
    line = "remount_opts {}; pwrite_fault a 8k 4k 0"
    iomap = "4k@delalloc,buffered_iomap"
    assert EFAULT in names(RELEASE, line.format("nobuffered_iomap"), iomap)
    assert EFAULT not in names(RELEASE, line.format("noauto_da_alloc"), iomap)
    both = names(RELEASE, line.format("delalloc,buffered_iomap"))
    assert {"conversion-zeroes-other-writes", "conversion-zeroes-other-writes-iomap"} <= both
    fallback = names(RELEASE, line.format("buffered_iomap"), "4k@data=journal")
    assert "conversion-zeroes-other-writes-iomap" not in fallback


def test_an_issue_of_one_feature_is_not_assumed_elsewhere():
    line = "mwrite a 0 100"
    assert "inline-conversion-undone" in names(RELEASE, line, "inline@delalloc")
    assert "inline-conversion-undone" not in names(RELEASE, line)


def test_an_issue_of_a_mount_option_is_not_assumed_elsewhere():
    name = "inline-growth-spotted-by-the-journal"
    assert name in names(RELEASE, "pwrite a 0 1", "inline@data=journal")
    assert name not in names(RELEASE, "pwrite a 0 1", "inline@delalloc")


def test_an_issue_that_was_fixed_is_not_assumed_of_later_kernels():
    config = "ext3ish@delalloc"
    assert "indirect-delayed-tail-is-hole" in names("7.2.13", "pwrite a 0 4k", config)
    assert "indirect-delayed-tail-is-hole" not in names("7.3.0", "pwrite a 0 4k", config)


def test_what_e2fsck_says_of_a_miscounted_file_covers_its_owners_quota():
    """Seen on 7.3.4 with the feature quota; Free blocks count is another matter."""
    said = (
        "Inode 12, i_blocks is 5120, should be 5152.  Fix? no",
        "Update quota info for quota type 0? no",
        "Inode 12 extent tree (at level 1) could be shorter.  Optimize? no",
        "disk.img: ********** WARNING: Filesystem still has errors **********",
        "disk.img: 12/4096 files (16.7% non-contiguous), 1948/16384 blocks",
    )
    issues = [i for i in KNOWN_ISSUES if i.name.startswith("last-cluster-taken-for-mapped")]
    patterns = [issue.image_complaint for issue in issues if issue.image_complaint]
    assert patterns
    for pattern in patterns:
        assert all(re.search(pattern, line) for line in said)
        assert not re.search(pattern, "Free blocks count wrong (14325, counted=14326).  Fix? no")


@pytest.mark.parametrize(
    ("name", "line", "excused"),
    [
        (NOTED, "superblock: 1 errors noted, the first in ext4_setattr:6253", True),
        (NOTED, "superblock: 1 errors noted, the first in :0", True),  # the model's own image
        (NOTED, "superblock: 1 errors noted, the first in ext4_lookup:1787", False),
        (CUT, "superblock: 1 errors noted, the first in ext4_setattr:6835", True),
        (CUT, "superblock: not cleanly unmounted (state 0x3)", True),
        (CUT, "superblock: 1 errors noted, the first in ext4_lookup:1787", False),
        (CUT, "superblock: not cleanly unmounted (state 0x0)", False),
        (CHECKSUM, "disk.img: inode 12 (block 34): wrong checksum", True),
        (CHECKSUM, "disk.img: descriptor of group 0 (block 1): wrong checksum", False),
    ],
)
def test_what_fails_half_way_excuses_its_own_damage_only(
    name: str, line: str, *, excused: bool
) -> None:
    (pattern,) = [issue.image_complaint for issue in KNOWN_ISSUES if issue.name == name]
    assert pattern is not None
    assert (re.search(pattern, line) is not None) is excused


def test_what_the_next_mount_says_of_an_unreadable_file_is_known() -> None:
    (pattern,) = [i.complaint for i in KNOWN_ISSUES if i.name == CHECKSUM]
    assert pattern is not None
    said = "EXT4-fs: warning: mounting fs with errors, running e2fsck is recommended"
    assert re.search(pattern, said)
