"""A file that grows, as a connection: who reads sockets can then follow it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

__all__ = ["Tail", "content"]

_PAUSE = 0.02
_PIECE = 1 << 16


def content(descriptor: int) -> bytes:
    """All that the file behind `descriptor` holds."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


class Tail:
    """Sends what comes into the file behind `descriptor` to `socket`, which is its reader's.

    `close` ends it; the descriptor has to live until then.
    """

    def __init__(self, descriptor: int) -> None:
        self.socket, self._writer = socket.socketpair()
        self._descriptor = descriptor
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tail", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        at = 0
        with contextlib.suppress(OSError):  # nobody reads any more
            while not self._over.wait(_PAUSE):
                while part := os.pread(self._descriptor, _PIECE, at):
                    self._writer.sendall(part)
                    at += len(part)

    def close(self) -> None:
        """End it, whether all was read or not."""
        self._over.set()
        self._writer.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._writer.close()
