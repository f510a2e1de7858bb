"""A program in QEMU's place: speaks QMP on the inherited socket, and then misbehaves.

Run as `fake_qemu.py MODE QEMU_ARGUMENTS...`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

QEMU = "qemu-system-x86_64"
HELLO = {"hello": 2, "release": "7.3.4-fake", "buffered_iomap": False}
GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""},
                    "capabilities": []}}  # fmt: skip


def answer(row: dict[str, Any]) -> bytes:
    """`row` as the agent sends it; its `raw` is in hex."""
    raw = bytes.fromhex(row.get("raw", ""))
    line = json.dumps({**row, "raw": len(raw)} if raw else row)
    return line.encode() + b"\n" + raw


def descriptor(name: str) -> int:
    """The descriptor that the command line gives for the socket `name`."""
    match = re.search(rf"socket,id={name},fd=(\d+)", " ".join(sys.argv))
    assert match is not None
    return int(match[1])


def log(text: str) -> None:
    """Write to the console's log, as QEMU does for `logfile=`."""
    match = re.search(r"logfile=(\S+)", " ".join(sys.argv))
    assert match is not None
    with Path(match[1]).open("a") as file:
        file.write(text)
    os.write(descriptor("console"), text.encode())


def resumed(mode: str) -> None:
    """What the guest does once it runs."""
    if mode == "boots":
        log("[    0.0] Linux version 7.3.4\r\n")
        os.write(descriptor("agent"), json.dumps(HELLO).encode() + b"\n")
    elif mode == "panics":
        log("[    0.0] Linux version 7.3.4\r\n[    0.1] Kernel panic - not syncing: no init\r\n")
    elif mode == "talks":
        log("[    0.0] Linux version 7.3.4\r\n")
    elif mode == "dies":
        print("KVM: entry failed, hardware error 0x0", file=sys.stderr, flush=True)
        os._exit(1)


def requests(qmp: socket.socket) -> Iterator[dict[str, Any]]:
    """The JSON objects that arrive; clients need not separate them."""
    text = ""
    while part := qmp.recv(4096):
        text += part.decode()
        while text:
            try:
                request, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            text = text[end:].lstrip()
            yield request


def main() -> None:
    """Serve QMP."""
    mode = sys.argv[1]
    if mode == "refuses":
        sys.exit("Could not access KVM kernel module: No such file or directory")
    if mode == "asserts":
        print(f"{QEMU}: warning: host doesn't support requested feature", file=sys.stderr)
        print(f"{QEMU}: error: failed to set MSR 0x10a to 0x69", file=sys.stderr)
        sys.exit(f"{QEMU}: ../../target/i386/kvm/kvm.c:3183: Assertion failed.")
    qmp = socket.socket(fileno=descriptor("qmp"))
    qmp.sendall(json.dumps(GREETING).encode() + b"\n")
    for request in requests(qmp):
        answer: object = {}
        if request["execute"] == "query-status":
            answer = {"status": "internal-error" if mode == "internal-error" else "running"}
        if request["execute"] == "cont" and mode != "dies":
            resumed("dies" if mode == "dies without an answer" else mode)
        reply = {"return": answer, "id": request.get("id")}
        qmp.sendall(json.dumps(reply).encode() + b"\n")
        if request["execute"] == "cont" and mode == "dies":
            resumed(mode)
    time.sleep(900)


if __name__ == "__main__":
    main()
