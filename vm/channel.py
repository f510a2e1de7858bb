"""The channel to the agent: JSON lines over a virtio-serial port.

A request is one line with an `id`; each answer is one or more lines that repeat it. The
last answer has `final`, `done` or `error`. Behind an answer with `raw` come so many bytes
that are no text; they take the number's place. The protocol's other half is
`vm/agent/main.py`.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import Any

from vm.errors import AgentDiedError, ChannelError

__all__ = ["PORT", "PROTOCOL", "Channel", "Row"]

PORT = "ext4diff.agent"
PROTOCOL = 2
"""The version that both halves speak; the agent says its own in its first line."""

Row = dict[str, Any]

_LONGEST = 64 << 20
"""Bytes of the longest line that is still taken for an answer."""
_MOST = 1 << 30
"""Bytes of all answers to one request: a guest out of control does not fill the host's memory."""


class Channel:
    """One end of the connection, on a stream socket that it owns."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        self._pending = bytearray()
        self._rows: deque[Row] = deque()
        self._answered = 0
        self._half: Row | None = None
        self._line = b""
        """Of the answer whose bytes have not all come."""

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._socket.fileno()

    def send(self, row: Row, timeout: float = 10.0) -> None:
        """Send one line; `ChannelError` if the guest takes it not within `timeout` seconds."""
        data = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        self._answered = 0
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ChannelError(f"the agent takes no request: {error}") from error
        finally:
            self._socket.setblocking(False)

    def receive(self) -> bool:
        """Read what has arrived; False at the end of the connection.

        Raises `ChannelError` for a line that is no JSON object, and for answers without end.
        """
        while True:
            try:
                part = self._socket.recv(1 << 18)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                part = b""
            if not part:
                return False
            self._take(part)

    def _take(self, part: bytes) -> None:
        self._answered += len(part)
        if self._answered > _MOST:
            raise ChannelError(f"the agent's answers to one request have more than {_MOST} bytes")
        searched = len(self._pending)
        self._pending += part
        done = 0
        while True:
            if self._half is not None:
                end = done + int(self._half["raw"])
                if end > len(self._pending):
                    break
                self._rows.append({**self._half, "raw": bytes(self._pending[done:end])})
                self._half, self._line, done = None, b"", end
            end = self._pending.find(b"\n", max(done, searched))
            if end < 0:
                if len(self._pending) - done > _LONGEST:
                    raise ChannelError(f"the agent's line has more than {_LONGEST} bytes")
                break
            line = bytes(self._pending[done:end])
            row = _decoded(line)
            done = end + 1
            if "raw" in row:
                self._half, self._line = row, line
            else:
                self._rows.append(row)
        del self._pending[:done]

    @property
    def pending(self) -> bytes:
        """The beginning of an answer whose end has not come."""
        return self._line + self._pending

    @property
    def has_rows(self) -> bool:
        """Whether an answer has arrived that `next` has not given yet."""
        return bool(self._rows)

    def next(self, number: int | None) -> Row | None:
        """The next answer to request `number`, None if none has arrived.

        Raises `ChannelError` for an answer to another request and `AgentDiedError` for
        the agent's report of an error of its own.
        """
        if not self._rows:
            return None
        row = self._rows.popleft()
        if row.get("id") != number:
            raise ChannelError(f"an answer to request {row.get('id')}, not to {number}")
        if "error" in row and "phase" not in row:
            raise AgentDiedError(f"the agent failed: {row['error']}")
        return row

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _decoded(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ChannelError(f"the agent sent no JSON: {line[:80]!r}") from error
    if not isinstance(row, dict):
        raise ChannelError(f"the agent sent no JSON object: {line[:80]!r}")
    raw = row.get("raw", 0)
    if not isinstance(raw, int) or not 0 <= raw <= _LONGEST:
        raise ChannelError(f"the agent sent no number of bytes: {line[:80]!r}")
    return row
