"""The guest's serial console: everything it says is kept, and panics are noticed.

QEMU writes the log itself (`logfile=`), into anonymous memory, so that it is whole even
while nobody reads the socket. pexpect reads the socket, to notice what matters at once;
a person's shell can use the same socket.
"""

from __future__ import annotations

import os
import socket
import time

import pexpect
from pexpect.socket_pexpect import SocketSpawn

from vm.log.endings import FATAL, HANG, excerpt

__all__ = ["Console"]

_PANIC, _END = "Kernel panic - not syncing", "]---"
_WINDOW = 4096


class Console:
    """Follows the console on `sock`; `log` is a descriptor of the log that QEMU writes."""

    def __init__(self, sock: socket.socket, log: int) -> None:
        # Bytes: SocketSpawn does not decode what it reads.
        self._spawn = SocketSpawn(sock, searchwindowsize=_WINDOW)
        self._patterns = self._spawn.compile_pattern_list(
            [FATAL.pattern.encode(), HANG.pattern.encode(), pexpect.TIMEOUT, pexpect.EOF]
        )
        self._log = log
        self._fd: int = sock.fileno()
        self._open = True
        self.fatal: str | None = None
        """The first line of the report that ended the kernel."""
        self.hang: str | None = None
        """The first line of the last report that the kernel makes no progress."""

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._fd

    @property
    def open(self) -> bool:
        """Whether QEMU still holds the other end."""
        return self._open

    def follow(self) -> None:
        """Read what has arrived and note the first fatal line."""
        while self._open:
            try:
                match = self._spawn.expect_list(self._patterns, timeout=0.002)
            except BlockingIOError:  # pexpect, if the time is over to the nanosecond
                return
            if match == 0:
                self.fatal = self.fatal or self._matched()
            elif match == 1:
                self.hang = self._matched()
            elif match == 2:
                return
            else:
                self._open = False

    def _matched(self) -> str:
        return str(self._spawn.match[1].decode(errors="replace")).strip()

    def follow_panic(self, seconds: float = 10.0) -> None:
        """Give a panicking kernel up to `seconds` to finish its report."""
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until and not self._panic_is_over():
            self.follow()
            time.sleep(0.05)

    def _panic_is_over(self) -> bool:
        """Whether the last line of a panic has come: `---[ end Kernel panic ... ]---`.

        Only its end is looked for: a letter may come twice when a panic takes the console.
        """
        return _END in self.text.partition(_PANIC)[2]

    @property
    def size(self) -> int:
        """Bytes of the log so far."""
        return os.fstat(self._log).st_size

    @property
    def text(self) -> str:
        """Everything that the guest has said."""
        return self.text_from(0)

    def text_from(self, start: int) -> str:
        """What the guest has said after byte `start` of the log."""
        data = os.pread(self._log, max(self.size - start, 0), start)
        return data.decode(errors="replace")

    def whole_line(self, start: str) -> str:
        """The first line of the log that has `start` in it, from there to its end.

        What `fatal` and `hang` hold may be the part of a line that had arrived by then.
        """
        text = self.text
        at = text.find(start)
        return start if at < 0 else text[at:].split("\n", 1)[0].strip()

    def report(self, line: str) -> str:
        """The part of the log that begins with the first occurrence of `line`."""
        text = self.text
        at = max(text.find(line), 0)
        return excerpt(text, text.rfind("\n", 0, at) + 1)

    def last_words(self, lines: int = 8) -> str:
        """The last non-empty lines of the log."""
        kept = [line.strip() for line in self.text.splitlines() if line.strip()]
        return " | ".join(kept[-lines:])

    def close(self) -> None:
        """Close the socket and the log."""
        self._spawn.socket.close()
        os.close(self._log)
