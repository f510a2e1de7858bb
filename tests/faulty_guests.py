"""Loaded into a run as a plugin of pytest: real guests, of which some are broken as programs say.

A program that is named after a fault of FAULTS has it strike its guest: before it begins, or
(`LATER`) after its first step, while the guest is at work. Deadlines are shorter than usual.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.trace import Trace
from vm.boot import Deadlines
from vm.guest import Guest
from vm.transcript import Transcript
from workloads.workload import Workload

SECONDS = 20.0
"""That the guest gets for a step; without a fault it takes far less than one."""

_PORT = """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
for name in os.listdir("/proc/1/fd"):
    if "vport" in os.readlink(f"/proc/1/fd/{name}"):
        port = libc.syscall(438, os.pidfd_open(1), int(name), 0)  # pidfd_getfd
        assert port >= 0, os.strerror(ctypes.get_errno())
"""
"""A program in the guest with the agent's own connection to the host, as `port`."""


_OVERWRITE = """
for line in open("/proc/1/maps"):
    where, mode, *rest = line.split()
    if "w" in mode:
        begin, end = (int(word, 16) for word in where.split("-"))
        memory = open("/proc/1/mem", "r+b", 0)
        for page in range(begin, end, 4096):
            memory.seek(page)
            try:
                memory.write(bytes(4096))
            except OSError:
                pass
"""
"""A program in the guest after which nothing is left of what the agent has in memory."""


def _ask(guest: Guest, **request: object) -> None:
    guest.ask({"files": {}, "seconds": 1000, **request}, SECONDS, "a fault")


def _in_guest(guest: Guest, program: str) -> None:
    """Run a Python program beside the agent, which waits for it."""
    _ask(guest, cmd="exec", argv=["python3", "-c", _PORT + program])


def _panic(guest: Guest) -> None:
    """By sysrq on the console, in the middle of what the guest does."""
    guest.control.send_break()
    guest._qemu.console.sendall(b"c")


def _oops(guest: Guest) -> None:
    """The kernel, which is idle, is sent to address 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "gdb")
        command = f"gdbserver unix:{path},server=on,wait=off"
        guest.control.execute("human-monitor-command", **{"command-line": command})
        with socket.socket(socket.AF_UNIX) as gdb:
            gdb.connect(path)
            registers = ""
            while len(registers) < 500:  # first it tells why the machine stands still
                registers = _say(gdb, "g")
            _say(gdb, "G" + registers[:256] + "0" * 16 + registers[272:])  # rip is the 17th
            _say(gdb, "D")


def _say(gdb: socket.socket, text: str) -> str:
    """gdb's remote protocol: send a packet, return the answer's text."""
    _send(gdb, text)
    answer = b""
    while b"#" not in answer[:-2]:
        answer += gdb.recv(1 << 16)
    gdb.sendall(b"+")
    return answer.partition(b"$")[2].partition(b"#")[0].decode()


def _send(gdb: socket.socket, text: str) -> None:
    gdb.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())


def _slow_disk(guest: Guest) -> None:
    """The disk takes a byte a second."""
    limits = dict.fromkeys(("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
    guest.control.execute("block_set_io_throttle", device="disk", bps=1, **limits)


def _stop_qemu(guest: Guest) -> None:
    os.kill(guest._qemu.pid, signal.SIGSTOP)


def _kill_qemu(guest: Guest) -> None:
    os.kill(guest._qemu.pid, signal.SIGKILL)


FAULTS: dict[str, Callable[[Guest], None]] = {
    "panic": _panic,
    "oops": _oops,
    "task-hangs": _slow_disk,
    "guest-hangs": lambda guest: guest.control.execute("stop"),
    "qmp-silent": _stop_qemu,
    "qemu-killed": _kill_qemu,
    "qemu-ends": lambda guest: guest.control.execute("quit"),
    "agent-fails": lambda guest: _ask(guest, cmd="no such command"),
    "agent-killed": lambda guest: _in_guest(guest, _OVERWRITE),
    "garbage": lambda guest: _in_guest(guest, r"os.write(port, b'\0\377 garbage\n')"),
    "half-a-line": lambda guest: _in_guest(guest, "os.write(port, b'{\"id'); time.sleep(999)"),
}
LATER = {"panic", "task-hangs", "guest-hangs", "qmp-silent", "qemu-killed", "qemu-ends"}
SHOWS = {"panic", "oops", "task-hangs"}
"""Those that say something about the kernel; the others are broken machinery."""


class _Struck:
    """`Guest` with what strikes it."""

    run, next = Guest.run, Guest._next

    @staticmethod
    def strike(guest: Guest, workload: Workload, *, later: bool) -> None:
        fault = workload.program
        if fault not in FAULTS or (fault in LATER) != later:
            return
        with Path(os.environ["EXT4DIFF_FAULTS"], "struck").open("a") as file:
            file.write(f"{guest._qemu.pid} {fault}\n")
        FAULTS[fault](guest)


def _run(guest: Guest, workload: Workload, *words: object, **named: object) -> Trace:
    guest.deadlines = Deadlines(60.0, SECONDS, SECONDS)
    _Struck.strike(guest, workload, later=False)
    return _Struck.run(guest, workload, *words, **named)  # type: ignore[arg-type]


def _next(guest: Guest, number: int, transcript: Transcript, *words: float) -> None:
    _Struck.next(guest, number, transcript, *words)
    if len(transcript._steps) == 1 and transcript.place.startswith("step"):
        _Struck.strike(guest, transcript.workload, later=True)


def pytest_configure() -> None:
    """Have faults strike, in this run alone: others import this module for its names."""
    Guest.run = _run  # type: ignore[assignment, method-assign]
    Guest._next = _next  # type: ignore[method-assign]
