"""Quota warnings, by the kernel's generic netlink family VFS_DQUOT.

pyroute2 takes seconds to import in an emulated guest, so it lives in a process of its own,
which is started before the guest's snapshot is taken, or else by the first workload with
quotas. The process writes one line per warning, and, for each byte that it is sent, a line
that ends what had come until then. Codes are those of `include/uapi/linux/quota.h`.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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
ALL = "all"
_MOST = 1 << 16
"""Bytes that are read at once."""

_PROGRAM = "import sys; sys.path.insert(0, '/agent.zip'); from agent.quota import main; main()"


def warning_text(code: int, uid: int) -> str:
    """A warning in words."""
    return f"uid {uid}: {WARNINGS.get(code, f'warning {code}')}"


def main() -> None:
    """The listener: a line per warning, and one that says so when it was asked and has none
    left, until nobody can ask any more.

    The kernel puts a warning into the socket during the call that it is about
    (`quota_send_warning`), so it is there before the question is in the pipe.
    """
    from pyroute2 import DQuotSocket  # noqa: PLC0415 - takes seconds

    with DQuotSocket() as quota:  # it binds itself; a second bind fails
        _say(READY)
        _serve(quota.fileno(), quota.marshal.parse)


def _serve(warned: int, parse: Callable[[bytes], Iterable[Any]], asked: int = 0) -> None:
    """Tell what comes in on the socket `warned`, and answer the questions on `asked`."""
    while True:
        select.select([asked, warned], [], [])
        if select.select([warned], [], [], 0)[0]:  # also what came just before a question
            for message in parse(os.read(warned, _MOST)):
                _say(_line(message))
        elif os.read(asked, 1):
            _say(ALL)
        else:
            return


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
        questions, self._ask = os.pipe2(os.O_CLOEXEC)
        self._told, answers = os.pipe2(os.O_CLOEXEC)
        self._pid = os.posix_spawn(
            python,
            [python, "-ISB", "-c", _PROGRAM],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, questions, 0),
                (os.POSIX_SPAWN_DUP2, answers, 1),
            ],
        )
        os.close(questions)
        os.close(answers)
        begun = select.select([self._told], [], [], seconds)[0]
        if not begun:
            self.close()
            raise TimeoutError(f"not ready after {seconds:g} s")
        ready = f"{READY}\n".encode()
        if os.read(self._told, len(ready)) != ready:
            self.close()
            raise OSError("it ended at once; the console says why")

    def drain(self) -> list[str]:
        """The warnings since the last call: all that the kernel has sent until now.

        Raises `OSError` if the process has ended.
        """
        with suppress(BrokenPipeError):  # the end of what it has told shows that too
            os.write(self._ask, b"?")
        data, end = b"", f"{ALL}\n".encode()
        while not data.endswith(end):
            part = os.read(self._told, _MOST)
            if not part:
                raise OSError("the listener for quota warnings has ended; the console says why")
            data += part
        return data.decode().splitlines()[:-1]

    def forget(self) -> bool:
        """Leave what came until now out of the next `drain`; False if the process has ended."""
        try:
            self.drain()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the process."""
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._ask)
        os.close(self._told)
