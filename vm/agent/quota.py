"""Quota warnings, by the kernel's generic netlink family VFS_DQUOT.

pyroute2 takes seconds to import in an emulated guest, so it lives in a process of its own
that only workloads with quotas start; the process writes one line per warning. Codes are
those of `include/uapi/linux/quota.h`.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["QuotaWarnings", "main", "warning_text"]

WARNINGS = {
    1: "inode hard limit reached",
    2: "inode soft limit exceeded too long",
    3: "inode soft limit exceeded",
    4: "block hard limit reached",
    5: "block soft limit exceeded too long",
    6: "block soft limit exceeded",
    7: "below the inode hard limit again",
    8: "below the inode soft limit again",
    9: "below the block hard limit again",
    10: "below the block soft limit again",
}
READY = "ready"
_QUIET_SECONDS = 0.3
"""How long no further warning may come before they are taken to be all."""

_PROGRAM = "import sys; sys.path.insert(0, '/agent.zip'); from agent.quota import main; main()"


def warning_text(code: int, uid: int) -> str:
    """A warning in words."""
    return f"uid {uid}: {WARNINGS.get(code, f'warning {code}')}"


def main() -> None:
    """The listener: print a line per warning, for ever."""
    from pyroute2 import DQuotSocket  # noqa: PLC0415 - takes seconds

    with DQuotSocket() as quota:  # it binds itself; a second bind fails
        _say(READY)
        while True:
            for message in quota.get():
                _say(_line(message))


def _line(message: Any) -> str:
    code = message.get("QUOTA_NL_A_WARNING")
    return warning_text(code, message.get("QUOTA_NL_A_EXCESS_ID"))


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


class QuotaWarnings:
    """The listener's process, started at construction, for which it has `seconds`.

    Raises `TimeoutError` if it takes longer, `OSError` if it ends (the console has why).
    """

    def __init__(self, seconds: float, python: str = "/usr/bin/python3") -> None:
        self._pipe, write_end = os.pipe2(os.O_CLOEXEC)
        self._pid = os.posix_spawn(
            python,
            [python, "-ISB", "-c", _PROGRAM],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)],
        )
        os.close(write_end)
        begun = select.select([self._pipe], [], [], seconds)[0]
        if self._lines(0, until=READY) != [READY]:
            self.close()
            if not begun:
                raise TimeoutError(f"not ready after {seconds:g} s")
            raise OSError("it ended at once; the console says why")

    def drain(self) -> list[str]:
        """The warnings since the last call."""
        return self._lines(_QUIET_SECONDS)

    def _lines(self, seconds: float, until: str | None = None) -> list[str]:
        data = b""
        while select.select([self._pipe], [], [], seconds)[0]:
            part = os.read(self._pipe, 1 << 16)
            data += part
            if not part or (until is not None and data.endswith(until.encode() + b"\n")):
                break
        return data.decode().splitlines()

    def close(self) -> None:
        """End the process."""
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._pipe)
