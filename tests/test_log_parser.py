"""Which lines of a kernel's log count as complaints, and what each is called."""

from __future__ import annotations

import pytest

from harness.trace import Complaint, ComplaintKind
from vm.log.lines import Line
from vm.log.parser import complaints, complaints_in

QUIET = [
    "EXT4-fs (vda): mounted filesystem 12345678-1234-1234-1234-123456789abc r/w with ordered "
    "data mode. Quota mode: none.",
    "EXT4-fs (vda): unmounting filesystem 12345678-1234-1234-1234-123456789abc.",
    "EXT4-fs (vda): re-mounted 12345678-1234-1234-1234-123456789abc r/w.",
    "EXT4-fs (vda): can't disable delalloc during remount",
    "EXT4-fs (vda): recovery complete",
    "EXT4-fs: Warning: mounting with data=journal disables delayed allocation, dioread_nolock, "
    "O_DIRECT and fast_commit support!",
    "JBD2: Clearing recovery information on journal",
    "python3 (1): drop_caches: 3",
    "virtio_blk virtio1: [vda] 131072 512-byte logical blocks (67.1 MB/64.0 MiB)",
    "<1>[    9.1] EXT4-fs (vda): shut down requested (2)",
]
SINGLE = {
    "EXT4-fs warning (device vda): ext4_da_update_reserve_space:373: ino 12, used 1 with only 0 "
    "reserved data blocks": "EXT4-fs warning in ext4_da_update_reserve_space",
    "EXT4-fs error (device vda): ext4_lookup:1790: inode #2: comm python3: bad entry":
    "EXT4-fs error in ext4_lookup",
    "EXT4-fs error (device vda) in ext4_reserve_inode_write:5734: IO failure":
    "EXT4-fs error in ext4_reserve_inode_write",
    "EXT4-fs (vda): Delayed block allocation failed for inode 12 at logical offset 0 with max "
    "blocks 1 with error 28": "EXT4-fs: Delayed block allocation failed",
    "EXT4-fs (vda): failed to convert unwritten extents to written extents -- potential data "
    "loss!  (inode 12, error -28)": "EXT4-fs: failed to convert unwritten extents to written"
    " extents -- potential data loss!",
    "EXT4-fs (vda): Inode 12 (00000000abcd1234): i_reserved_data_blocks (1) not cleared!":
    "EXT4-fs: Inode N: i_reserved_data_blocks not cleared!",
    "EXT4-fs (vda): Inode 13 (ffff8880043fb7e8): inode tracked as orphan!":
    "EXT4-fs: Inode N: inode tracked as orphan!",
    "Buffer I/O error on dev vda, logical block 0, lost async page write":
    "Buffer I/O error: lost async page write",
    "I/O error, dev vda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2":
    "I/O error: WRITE",
    "JBD2: Detected IO errors -5 while flushing file data on vda-8":
    "JBD2: Detected IO errors N while flushing file data on DEV",
    "JBD2: Spotted dirty metadata buffer (dev = vda, blocknr = 2056). There's a risk of "
    "filesystem corruption in case of system crash.": "JBD2: Spotted dirty metadata buffer",
    "Aborting journal on device vda-8.": "JBD2: Aborting journal",
    "VFS: Busy inodes after unmount of vda (ext4)": "VFS: Busy inodes after unmount",
    "[kernel log messages were overwritten before they were read]":
    "kernel log messages were lost",
    "python3[1]: segfault at 8 ip 00007f12 sp 00007ffd error 4 in libc.so.6[7f00+1000]":
    "segfault of python3 in user space",
    "<2>[    3.4] something nobody has seen before, 12 times": "something nobody has seen before,"
    " N times",
}  # fmt: skip


def only(lines: list[str]) -> Complaint:
    (found,) = complaints_in(lines)
    return found


def test_what_a_healthy_kernel_says_is_no_complaint() -> None:
    assert complaints_in(QUIET) == ()


@pytest.mark.parametrize("line", SINGLE)
def test_every_complaint_of_one_line_is_kept_and_has_a_stable_title(line: str) -> None:
    found = only([*QUIET[:-1], line, *QUIET[:-1]])
    assert found.title == SINGLE[line]
    assert found.lines == (line.partition("] ")[2] if line[0] == "<" else line,)


@pytest.mark.parametrize("prefix", ["", "<4>", "[    9.123456] ", "<4>[    9.1][   T12] ",
                                    "[   C0] ", "Nov 22 21:00:01 host kernel: [    9.123456] ",
                                    "half a line of a program[    9.123456] "])  # fmt: skip
def test_prefixes_of_lines_do_not_matter(prefix: str) -> None:
    line = "EXT4-fs error (device vda): ext4_lookup:1790: inode #2: comm x: bad entry"
    found = only([f"{prefix}{line}\r\n"])
    assert found == Complaint(
        ComplaintKind.EXT4_ERROR, "EXT4-fs error in ext4_lookup", (line,), "ext4_lookup"
    )


def test_a_shutdown_explains_its_own_consequences_and_nothing_else() -> None:
    warning = "WARNING: fs/ext4/inode.c:373 at ext4_foo+0x1/0x2, CPU#0: python3/1"
    aborted = "Aborting journal on device vda-8."
    asked = "EXT4-fs (vda): shut down requested (2)"
    assert only([asked, aborted, warning]).title == "WARNING in ext4_foo"
    assert only([aborted]).title == "JBD2: Aborting journal"
    assert len(complaints_in([aborted, asked, aborted])) == 1, "what came before it counts"


def test_the_same_complaint_is_told_once_and_counted() -> None:
    line = "EXT4-fs error (device vda): ext4_lookup:1790: inode #{}: comm x: bad entry"
    found = only([line.format(number) for number in (2, 13, 14)])
    assert found.count == 3
    assert "inode #2" in found.lines[0]
    assert str(found) == "EXT4-fs error in ext4_lookup (3 times)"


def test_a_complaint_knows_the_step_in_which_it_came() -> None:
    lines = [Line("EXT4-fs error (device vda): ext4_a:1: x", step=3), Line("JBD2: bad", step=None)]
    assert [found.step for found in complaints(lines)] == [3, None]


FIRST = [
    "------------[ cut here ]------------",
    "WARNING: fs/ext4/inode.c:373 at ext4_first+0x12/0x34, CPU#0: python3/1",
    "Call Trace:",
    " ext4_first_caller+0x12/0x34",
    "---[ end trace 0000000000000000 ]---",
]
SECOND = [line.replace("first", "second") for line in FIRST]


def test_reports_of_two_tasks_at_the_same_time_are_told_apart_by_their_callers() -> None:
    mixed = [
        line
        for first, second in zip(FIRST, SECOND, strict=True)
        for line in (f"[    1.5][    T1] {first}", f"[    1.5][    T2] {second}")
    ]
    found = complaints_in(mixed)
    assert [complaint.title for complaint in found] == [
        "WARNING in ext4_first", "WARNING in ext4_second",
    ]  # fmt: skip
    assert [complaint.lines for complaint in found] == [tuple(FIRST), tuple(SECOND)]


def test_a_line_of_another_kind_within_a_report_is_a_complaint_of_its_own() -> None:
    error = "EXT4-fs error (device vda): ext4_lookup:1790: inode #2: comm x: bad entry"
    found = complaints_in([*FIRST[:3], error, *FIRST[3:]])
    assert [complaint.lines for complaint in found] == [tuple(FIRST), (error,)]


def test_a_report_without_an_end_does_not_swallow_the_next() -> None:
    found = complaints_in([*FIRST[:-1], *SECOND])
    assert [complaint.function for complaint in found] == ["ext4_first", "ext4_second"]
    assert [len(complaint.lines) for complaint in found] == [4, 5]


def test_the_stack_is_kept_from_the_function_at_fault_outwards() -> None:
    lines = [
        "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
        "in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 1, name: python3",
        "Call Trace:",
        " <TASK>",
        " dump_stack_lvl+0x7d/0xa0",
        " __might_resched.cold+0x1e/0x30",
        " mutex_lock_nested+0x1/0x2",
        " ? ext4_guess+0x1/0x2",
        " ext4_culprit.isra.0+0x1b/0x70 [ext4]",
        " ext4_caller+0x10/0x20 [ext4] fs/ext4/inode.c:12",
        " </TASK>",
        "EXT4-fs (vda): an ordinary message",
    ]
    found = only(lines)
    assert found.title == "BUG: sleeping function called from invalid context in ext4_culprit"
    assert found.frames == (
        "ext4_culprit.isra.0+0x1b/0x70 [ext4]", "ext4_caller+0x10/0x20 [ext4] fs/ext4/inode.c:12",
    )  # fmt: skip
    assert found.lines == tuple(lines[:-1])


@pytest.mark.parametrize("text", ["", "\n\n", "\x00\xff", "[", "<", "[ 1.1]", "WARNING:", "BUG:",
                                  "Oops: ", "------------[ cut here ]------------"])  # fmt: skip
def test_no_text_breaks_the_parser(text: str) -> None:
    complaints_in([text, *FIRST, text])
