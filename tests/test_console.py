"""The serial console as the host follows it."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest
from pexpect.socket_pexpect import SocketSpawn

from vm.console import Console


def test_a_wait_that_is_over_to_the_nanosecond_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pexpect then asks for no time at all, and its socket says that it would block."""

    def none_left(*_args: object, **_named: object) -> NoReturn:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    ours, theirs = socket.socketpair()
    log = os.memfd_create("log")
    console = Console(ours, log)
    with monkeypatch.context() as broken:
        broken.setattr(SocketSpawn, "read_nonblocking", none_left)
        console.follow()
    theirs.sendall(b"Kernel panic - not syncing: x\r\n")
    console.follow()
    assert console.open
    assert console.fatal is not None
    theirs.close()
    os.close(log)
