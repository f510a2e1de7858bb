"""The agent of a machine that is recorded: its requests come from the initramfs.

Whatever comes in while QEMU records has to be recorded too, and what comes by a channel is
not. So the requests are in a file beside the agent, and the answers go, in one direction, to
the second serial line. Then the machine ends.
"""

from __future__ import annotations

import json
import os
import termios
import tty

from . import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

__all__ = ["REQUESTS", "end_machine", "open_line", "requests"]

REQUESTS = "/requests.json"
"""The requests, as the host would send them, in a list."""
LINE = "/dev/ttyS1"


def open_line() -> int:
    """The serial line to the host, without a terminal's habits."""
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(line)
    return line


def requests() -> list[Row]:
    """What is to be done."""
    with open(REQUESTS) as file:
        found: list[Row] = json.load(file)
    return found


def end_machine(line: int) -> None:
    """Power off once the host has all that was told on `line`."""
    termios.tcdrain(line)
    libc.power_off()
