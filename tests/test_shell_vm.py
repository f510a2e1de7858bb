"""The shell in a real guest: on a pty, by commands, with trace events, when the kernel dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

pytestmark = pytest.mark.vm

LINE = "pwrite a 0 8k; fsync a; pwrite_fault a 20000 8k fault=0; remount; fpunch a 0 4k"
COMMAND = [sys.executable, "-m", "harness", "shell", LINE, "--at", "3"]
TOP = Path(__file__).parent.parent
PROMPT = r"guest:.*# "


def by_commands(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], check=False, input=script, capture_output=True, text=True,
        timeout=300, cwd=TOP,
    )  # fmt: skip


@pytest.fixture
def shell() -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        COMMAND[0], COMMAND[1:], encoding="utf-8", timeout=200, dimensions=(40, 120), cwd=str(TOP)
    )
    child.expect(PROMPT)
    yield child
    child.close(force=True)


def ended(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus)


def test_a_person_works_in_the_guest_and_leaves_by_ctrl_bracket(shell):
    assert "next is step 3 of 5: pwrite_fault a 20000 8k fault=0" in shell.before
    guest = children(shell.pid)
    shell.send("stty size\r")
    shell.expect("40 120")
    shell.setwinsize(33, 99)
    time.sleep(1)
    shell.send("stty size\r")
    shell.expect("33 99")
    shell.send("sleep 1000\r")
    time.sleep(1)
    shell.send("\x03")
    shell.send("echo status $?\r")
    shell.expect("status 130")
    shell.send("ls\r")
    shell.expect("lost\\+found")
    shell.send("step\r")
    shell.expect("EFAULT")
    shell.expect("next is step 4 of 5: remount")
    shell.send("step; pwd\r")  # the shell's own directory does not forbid it
    shell.expect("next is step 5 of 5")
    shell.expect("/mnt")
    assert guest
    shell.send("\x1d")
    assert ended(shell) == 0
    assert not [pid for pid in guest if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def test_a_kernel_that_dies_ends_the_shell_with_its_report(shell):
    shell.send("echo c > /proc/sysrq-trigger\r")
    shell.expect("ext4diff: the kernel panicked: .*sysrq triggered crash")
    assert ended(shell) == 1


def test_the_end_of_the_shell_is_the_end_of_the_guest(shell):
    guest = children(shell.pid)
    shell.send("exit\r")
    assert ended(shell) == 0
    assert not [pid for pid in guest if Path(f"/proc/{pid}").exists()]


def test_commands_are_run_without_a_terminal_and_trace_events_kept(tmp_path):
    script = "look\nstep\nxfs_io -c stat a | grep size\ndebugfs -R 'stat a' /dev/vda\nfalse\n"
    done = by_commands(script, "--trace", "ext4:ext4_da*", "--results", str(tmp_path))
    assert done.returncode == 2
    assert "the commands ended with status 1" in done.stderr
    assert "8k written at 0" in done.stdout
    assert "stat.size = 20000" in done.stdout
    assert "Inode: 12   Type: regular" in done.stdout
    kept = (tmp_path / "trace-step-3.txt").read_text()
    assert "ext4_da_write_end: dev 254,0 ino 12 pos 20000 len 4576 copied 0" in kept
    assert "ext4_da_write_end" in done.stdout


def test_an_unknown_trace_event_is_refused_with_what_is_near():
    done = by_commands("step\n", "--trace", "ext4:ext4_da_write_beginn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "near it are ext4:ext4_da_write_begin" in done.stderr


@pytest.mark.skipif(not os.path.exists("/usr/bin/gdb"), reason="no gdb")  # noqa: PTH110
def test_gdb_stops_in_the_step():
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "--gdb"], encoding="utf-8", timeout=200, cwd=str(TOP)
    )
    while child.expect([r"fetch it\? \[y/N\] ", r"(gdb -x /proc/\d+/fd/\d+)"]) == 0:
        child.send("n\r")
    line = child.match[1]
    child.expect(PROMPT)
    gdb = pexpect.spawn("/bin/sh", ["-c", f"{line} -q -nx"], encoding="utf-8", timeout=60)
    gdb.expect(r"\(gdb\) ")
    gdb.send("info registers rip\r")
    gdb.expect("rip +0xffff")
    gdb.send("detach\r")
    gdb.expect("detached")
    gdb.close(force=True)
    child.send("step\r")
    child.expect("next is step 4")
    child.send("\x1d")
    assert ended(child) == 0
