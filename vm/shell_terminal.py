"""The person's terminal, connected to the shell in the guest until one of both leaves.

pexpect does the work: raw mode, the copying, Ctrl-] to leave. A thread meanwhile attends to
the agent, and ends the connection when the guest does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

import pexpect

from vm.shell import Listener, ShellGuest, Size

__all__ = ["interact", "window_size"]

_LAST_WORDS = 0.2
"""Seconds in which the terminal's last words arrive when the shell has ended."""


def window_size() -> Size:
    """Rows and columns of this process's terminal, 24 by 80 if it has none."""
    try:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
    except (OSError, ValueError):
        return 24, 80
    return rows, columns


class _Connection(pexpect.spawn):  # type: ignore[misc]
    """pexpect's `interact` on a socket: there is no child process."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(None, use_poll=True)
        self.child_fd = sock.fileno()

    def isalive(self) -> bool:
        """Its end is seen by reading."""
        return True


class _Attendance:
    """The thread that attends to the agent, and what came of it."""

    def __init__(self, guest: ShellGuest, sock: socket.socket, listener: Listener) -> None:
        self._guest, self._socket, self._listener = guest, sock, listener
        self._left = threading.Event()
        self._resized = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="shell", daemon=True)
        self._said = guest.link.console.size
        self.error: BaseException | None = None

    def __enter__(self) -> _Attendance:
        self._before = signal.signal(signal.SIGWINCH, self._resize)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGWINCH, self._before)
        self._left.set()
        self._thread.join()

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        self._resized.set()

    def _size(self) -> Size | None:
        if not self._resized.is_set():
            return None
        self._resized.clear()
        return window_size()

    def _going_on(self) -> bool:
        """Whether the person is still there; shows what the kernel has logged."""
        console = self._guest.link.console
        text, self._said = console.text_from(self._said), console.size
        if text:
            os.write(sys.stdout.fileno(), text.replace("\r", "").replace("\n", "\r\n").encode())
        return not self._left.is_set()

    def _attend(self) -> None:
        try:
            self._guest.attend(self._listener, self._going_on, self._size)
            time.sleep(_LAST_WORDS)
        except BaseException as error:
            self.error = error
        with contextlib.suppress(OSError):  # QEMU has gone
            self._socket.shutdown(socket.SHUT_RDWR)


def interact(guest: ShellGuest, sock: socket.socket, listener: Listener) -> None:
    """Connect this process's terminal with the shell at the other end of `sock`.

    Returns when the person leaves by Ctrl-] or the shell ends. Raises what has ended the
    guest: `KernelPanicError`, `QemuError` and the like.
    """
    with (
        _Attendance(guest, sock, listener) as attendance,
        contextlib.suppress(BrokenPipeError),  # the guest ended while something was typed
    ):
        _Connection(sock).interact()
    print()
    if attendance.error is not None:
        raise attendance.error
