"""netconsole's messages: the kernel's log by UDP, whole even if console and agent are dead."""

from __future__ import annotations

import socket

__all__ = ["NetLog"]


class NetLog:
    """Collects the datagrams that arrive at `sock`."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        self._parts: list[bytes] = []

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                self._parts.append(self._socket.recv(1 << 16))
            except OSError:
                return

    @property
    def text(self) -> str:
        """Everything that has arrived so far."""
        self.receive()
        return b"".join(self._parts).decode(errors="replace")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
