"""The kernel's log, by /dev/kmsg."""

from __future__ import annotations

import errno
import os

__all__ = ["KernelLog"]


class KernelLog:
    """Reads what the kernel logged since `skip`."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)

    def skip(self) -> None:
        """Forget what was logged so far."""
        os.lseek(self._fd, 0, os.SEEK_END)

    def read(self) -> list[str]:
        """Messages since the last `skip` or `read`, without time; a gap is told as such."""
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                return lines
            except OSError as error:
                if error.errno == errno.EPIPE:
                    lines.append("[kernel log messages were overwritten before they were read]")
                    continue
                raise
            text = record.decode(errors="replace").partition(";")[2]
            lines.append(text.split("\n", 1)[0])
