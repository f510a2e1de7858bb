"""QEMU with a guest in it, as a program: it runs workloads, and breaks as their faults say.

A workload names its fault by where it reads: `pread a 100000 1` is followed by the fault number
0 of FAULTS, `pread a 100001 1` by number 1; without such an operation nothing happens. What the
guest says is in the folder that EXT4DIFF_FAKE_MACHINE names: `hello.json`, its first words,
`rows.json`, the lines that answer a workload, and `blocks.json`, the blocks of the disk that the
workload changes. Each guest notes the workloads that it is given in `runs`, as `PID FAULT`, and in
`silent` its PID when it falls silent.

Run as QEMU is, with its arguments; imports nothing of ext4diff, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_qemu import GREETING, answer, descriptor, log, requests

Row = dict[str, Any]
FIRST = 100_000
"""The offset of the read that names fault 0."""
STEP = 1
"""The fault strikes in place of this step's answer."""
FOLDER = Path(os.environ.get("EXT4DIFF_FAKE_MACHINE", "."))
FOREVER = 1000.0
PANIC = """\
[    9.3] Kernel panic - not syncing: {why}\r
[    9.3] CPU: 0 UID: 0 PID: 1 Comm: python3 Not tainted 7.3.4-fake\r
[    9.3] ---[ end Kernel panic - not syncing: {why} ]---\r
"""
OOPS = """\
[    9.1] BUG: kernel NULL pointer dereference, address: 0000000000000008\r
[    9.1] Oops: Oops: 0000 [#1] SMP NOPTI\r
[    9.2] RIP: 0010:ext4_da_write_end+0x12/0x340\r
"""
BLOCKED = "[   50.0] INFO: task kworker/u2:1:20 blocked for more than 30 seconds.\r\n"
WARNING = "WARNING: CPU: 0 PID: 1 at fs/ext4/inode.c:1 ext4_da_release_space+0x1/0x2"

COMMANDS = ("qmp_capabilities", "cont", "query-status", "stop", "chardev-send-break")
"""What it knows of QMP; it keeps no snapshots."""

port = -1
qmp_is_silent = threading.Event()


def tell(number: int, row: Row) -> None:
    """Send the host an answer to its request `number`."""
    send(answer({"id": number, **row}))


def send(data: bytes) -> None:
    """Send the host bytes over the agent's port."""
    while data:
        data = data[os.write(port, data) :]


def silent(also: str = "") -> None:
    """Say nothing any more, though QEMU runs."""
    with (FOLDER / "silent").open("a") as file:
        file.write(f"{os.getpid()}{also} ")
    time.sleep(FOREVER)


def silent_qmp() -> None:
    """As `silent`, and QEMU itself does not answer either."""
    qmp_is_silent.set()
    silent("+qmp")


def says(text: str) -> Callable[[int], None]:
    """The fault of a kernel that says this on its console, and does nothing any more."""

    def fault(_number: int) -> None:
        log(text)
        silent()

    return fault


def sends(data: bytes) -> Callable[[int], None]:
    """The fault of a channel on which this comes, and nothing any more."""

    def fault(_number: int) -> None:
        send(data)
        silent()

    return fault


def answers(number: int, **row: Any) -> None:
    """The fault of an agent that answers this in place of the step."""
    tell(number, row)


def dies(_number: int) -> None:
    """QEMU is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def quits(_number: int) -> None:
    """QEMU ends by itself."""
    print("qemu-system-x86_64: cannot allocate memory", file=sys.stderr, flush=True)
    os._exit(1)


FAULTS: dict[str, Callable[[int], None]] = {
    "panic": says(PANIC.format(why="ext4: state of the tree is bad")),
    "oops": says(OOPS + PANIC.format(why="Fatal exception")),
    "task hangs": says(BLOCKED),
    "warning": lambda number: answers(number, log=[WARNING]),
    "mount lost": lambda number: answers(number, error="mount: EUCLEAN", phase="mount", log=[]),
    "guest hangs": lambda _number: silent(),
    "QMP silent": lambda _number: silent_qmp(),
    "QEMU killed": dies,
    "QEMU ends": quits,
    "agent fails": lambda number: answers(number, error="KeyError: 'off'", traceback=""),
    "agent killed": says(PANIC.format(why="Attempted to kill init! exitcode=0x00000009")),
    "garbage": sends(b"\x00\xff garbage \x01\n"),
    "half a line": sends(b'{"id":2,"step":1,"resu'),
    "line without end": sends(b"x" * (4 << 20)),
    "other answer": lambda number: tell(number + 7, {"step": STEP}),
}
"""What may break, in the order of the numbers that workloads name it by."""
SHOWS = {"panic", "oops", "task hangs", "warning", "mount lost"}
"""Those that say something about the kernel; the others are broken machinery."""


def fault_of(request: Row) -> str:
    """The fault that the workload names, or ''."""
    for op in request["ops"]:
        if op.get("op") == "read" and op["off"] >= FIRST:
            return list(FAULTS)[op["off"] - FIRST]
    return ""


def run(request: Row) -> None:
    """Run a workload: tell what was prepared, up to the fault."""
    fault = fault_of(request)
    with (FOLDER / "runs").open("a") as file:
        file.write(f"{os.getpid()} {fault}\n")
    for row in json.loads((FOLDER / "rows.json").read_text()):
        if row.get("step") == STEP and fault == "warning":
            row["log"] = [WARNING]
        elif row.get("step") == STEP and fault:
            FAULTS[fault](request["id"])
            return
        if "final" in row:
            disk = re.search(r"-drive file=([^,]+),", " ".join(sys.argv))
            assert disk is not None
            with Path(disk[1]).open("r+b") as file:
                for at, data in json.loads((FOLDER / "blocks.json").read_text()):
                    file.seek(at)
                    file.write(bytes.fromhex(data))
        tell(request["id"], row)


def serve() -> None:
    """The agent: answers requests until the host closes the port."""
    with os.fdopen(os.dup(port), "rb") as lines:
        for line in lines:
            request = json.loads(line)
            if request["cmd"] == "run":
                run(request)
            else:
                done = time.monotonic() if request["cmd"] == "uptime" else []
                tell(request["id"], {"done": done})


def main() -> None:
    """Be QEMU."""
    global port  # noqa: PLW0603
    if "--version" in sys.argv:
        print("QEMU emulator version 7.2.22")
        return
    port = descriptor("agent")
    qmp = socket.socket(fileno=descriptor("qmp"))
    qmp.sendall(json.dumps(GREETING).encode() + b"\n")
    for request in requests(qmp):
        if qmp_is_silent.is_set():
            continue
        known = request["execute"] in COMMANDS
        status = {"status": "running"} if request["execute"] == "query-status" else {}
        error = {"class": "CommandNotFound", "desc": "a fake QEMU does not know it"}
        reply = {"return": status} if known else {"error": error}
        qmp.sendall(json.dumps({**reply, "id": request.get("id")}).encode() + b"\n")
        if request["execute"] == "cont":
            log("[    0.0] Linux version 7.3.4-fake\r\n")
            send((FOLDER / "hello.json").read_bytes() + b"\n")
            threading.Thread(target=serve, daemon=True).start()


if __name__ == "__main__":
    main()
