"""The words with which a kernel ends or hangs; the lines are real ones."""

from __future__ import annotations

import pytest

from vm.log.endings import BLOCKED, FATAL, HANG, excerpt

WARN = "WARNING: CPU: 0 PID: 1 at fs/ext4/inode.c:1234 ext4_da_update_reserve_space+0x1/0x2"


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
    assert HANG.search(WARN) is None
    assert FATAL.search(WARN) is None


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
