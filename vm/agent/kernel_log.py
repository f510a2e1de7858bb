"""The kernel's log, by /dev/kmsg."""

from __future__ import annotations

import errno
import os
import re
import select

__all__ = ["KernelLog", "Part", "parse_record"]

_CALLER = re.compile(r"caller=([TC]\d+)")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


class Part:
    """A line of a record: its text, and what stands before it."""

    def __init__(self, prefix: str, text: str) -> None:
        self.prefix = prefix
        self.text = text


def parse_record(record: bytes) -> tuple[bool, list[Part]]:
    """The lines of one record of /dev/kmsg, and whether it continues the one before.

    A record is `PRIORITY,SEQUENCE,TIME,FLAGS[,caller=ID];TEXT` and, below it, a dictionary;
    the text has unprintable characters, line ends too, as `\\xNN`
    (Documentation/ABI/testing/dev-kmsg). The flag `c` marks a continuation.
    """
    head, _, text = record.decode(errors="replace").partition(";")
    fields = head.split(",")
    level = int(fields[0]) & 7 if fields[0].isdigit() else 0
    caller = _CALLER.search(head)
    prefix = f"<{level}>[{caller[1]}] " if caller else f"<{level}>"
    text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text.split("\n", 1)[0])
    parts = [Part(prefix, line) for line in text.rstrip("\n").split("\n")]
    return len(fields) > 3 and fields[3] == "c", parts


class KernelLog:
    """Reads what the kernel logged since `skip`."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)

    def skip(self) -> None:
        """Forget what was logged so far."""
        os.lseek(self._fd, 0, os.SEEK_END)

    def read(self) -> list[str]:
        """Messages since the last `skip` or `read`; a gap is told as such.

        Each line begins with its level and, if the kernel tells it, its caller, as in
        `<4>[T12] text`; it has no time.
        """
        lines: list[str] = []
        while self._poll.poll(0):  # mostly there is nothing, which a read tells by an exception
            try:
                record = os.read(self._fd, 8192)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    lines.append("[kernel log messages were overwritten before they were read]")
                    continue
                raise
            continued, parts = parse_record(record)
            if continued and lines:
                lines[-1] += parts[0].text
                parts = parts[1:]
            lines += [f"{part.prefix}{part.text}" for part in parts]
        return lines
