"""Which lines of a kernel's log count as complaints; the lines are real ones."""

from __future__ import annotations

import pytest

from vm.complaints import BLOCKED, FATAL, HANG, complaints, excerpt

QUIET = [
    "EXT4-fs (vda): mounted filesystem 12345678-1234-1234-1234-123456789abc r/w with ordered "
    "data mode. Quota mode: none.",
    "EXT4-fs (vda): unmounting filesystem 12345678-1234-1234-1234-123456789abc.",
    "EXT4-fs (vda): re-mounted 12345678-1234-1234-1234-123456789abc r/w.",
    "EXT4-fs (vda): can't disable delalloc during remount",
    "EXT4-fs (vda): recovery complete",
    "EXT4-fs: Warning: mounting with data=journal disables delayed allocation, dioread_nolock, "
    "O_DIRECT and fast_commit support!",
    "python3 (1): drop_caches: 3",
    "virtio_blk virtio1: [vda] 131072 512-byte logical blocks (67.1 MB/64.0 MiB)",
]
LOUD = [
    "WARNING: CPU: 0 PID: 1 at fs/ext4/inode.c:1234 ext4_da_update_reserve_space+0x1/0x2",
    "EXT4-fs warning (device vda): ext4_da_update_reserve_space:373: ino 12, used 1 with only 0 "
    "reserved data blocks",
    "EXT4-fs error (device vda): ext4_lookup:1790: inode #2: comm python3: bad entry",
    "EXT4-fs (vda): Delayed block allocation failed for inode 12 at logical offset 0 with max "
    "blocks 1 with error 28",
    "EXT4-fs (vda): failed to convert unwritten extents to written extents -- potential data "
    "loss!  (inode 12, error -28)",
    "EXT4-fs (vda): Inode 12 (00000000abcd): i_reserved_data_blocks (1) not cleared! inconsistent",
    "Buffer I/O error on dev vda, logical block 0, lost async page write",
    "JBD2: Detected IO errors while flushing file data on vda-8: corrupt",
    "INFO: task jbd2/vda-8:60 blocked for more than 30 seconds.",
    "WARNING: possible circular locking dependency detected",
    "BUG: KASAN: slab-out-of-bounds in ext4_es_insert_extent+0x1/0x2",
    "[kernel log messages were overwritten before they were read]",
]


def test_what_a_healthy_kernel_says_is_no_complaint() -> None:
    assert complaints(QUIET) == ()


@pytest.mark.parametrize("line", LOUD)
def test_every_complaint_is_kept(line: str) -> None:
    assert complaints([*QUIET, line]) == (line,)


def test_a_shutdown_explains_its_own_consequences_and_nothing_else() -> None:
    warning = LOUD[0]
    aborted = "Aborting journal on device vda-8."
    assert complaints(["EXT4-fs (vda): shut down requested (2)", aborted, warning]) == (warning,)
    assert complaints([aborted]) == (aborted,)


@pytest.mark.parametrize(
    "line",
    [
        "Kernel panic - not syncing: sysrq triggered crash",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "BUG: unable to handle page fault for address: ffffdead00000000",
        "kernel BUG at fs/ext4/inode.c:2345!",
        "Oops: general protection fault, probably for non-canonical address 0xdead: 0000",
    ],
)
def test_what_ends_a_kernel_is_noticed(line: str) -> None:
    match = FATAL.search(f"[    9.123456] {line}\r\n[    9.2] more\r\n")
    assert match is not None
    assert match[1] == line


def test_a_hang_is_noticed_and_a_warning_is_neither() -> None:
    assert HANG.search("INFO: task sync:77 blocked for more than 30 seconds.") is not None
    assert HANG.search("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [python3:1]") is not None
    assert HANG.search(LOUD[0]) is None
    assert FATAL.search(LOUD[0]) is None


def test_only_a_task_blocked_in_the_file_system_counts() -> None:
    def listed(function: str) -> str:
        return (
            "[ 99.1] task:python3         state:D stack:0 pid:1\r\n[ 99.2] Call Trace:\r\n"
            f"[ 99.3]  __schedule+0x1/0x2\r\n[ 99.4]  {function}+0xd1/0x160\r\n"
            "[ 99.5] task:kworker state:I stack:0 pid:9\r\n[ 99.6]  ext4_idle+0x1/0x2\r\n"
        )

    match = BLOCKED.search(listed("ext4_da_writepages"))
    assert match is not None
    assert match["task"] == "python3"
    assert match["function"] == "ext4_da_writepages"
    assert BLOCKED.search(listed("virtio_wait")) is None


def test_an_excerpt_has_no_time_stamps() -> None:
    text = "boot\r\n[    1.5] Oops: x\r\n<4>[   1.6] RIP: y\r\n"
    assert excerpt(text, text.find("[ ")) == "Oops: x\nRIP: y"
    assert excerpt(text, 0, limit=1) == "boot"
