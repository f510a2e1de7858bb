"""A line that says how far something is: it changes on a terminal; elsewhere lines come seldom."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

__all__ = ["LiveLine"]

_CLEAR = "\r\x1b[K"


class LiveLine:
    """Writes to `out` (default: standard error). On a terminal the line changes each `every`
    seconds at most; where none is, one comes each `seldom` seconds, or with news only."""

    def __init__(
        self, out: TextIO | None = None, *, every: float = 0.2, seldom: float | None = None
    ) -> None:
        self._out = out if out is not None else sys.stderr
        self._live = self._out.isatty()
        self._pause = every if self._live else seldom
        self._last = time.monotonic()
        self._shown = False
        self._said = ""

    @property
    def due(self) -> bool:
        """Whether what is shown now is seen, if it is no news."""
        return self._pause is not None and time.monotonic() - self._last >= self._pause

    def show(self, line: str, *, news: bool = False) -> None:
        """Where things are. `news` are told at once, where there is no terminal only once."""
        if not self._live:
            if self.due or (news and line != self._said):
                self.tell(line)
                self._said = line
        elif news or self.due:
            self._last, self._shown = time.monotonic(), True
            width = shutil.get_terminal_size().columns - 1
            self._out.write(f"{_CLEAR}{line[:width]}")
            self._out.flush()

    def tell(self, line: str) -> None:
        """A line of its own, which stays."""
        self._last = time.monotonic()
        self.close()
        print(line, file=self._out, flush=True)

    def close(self) -> None:
        """Take the changing line away."""
        if self._shown:
            self._out.write(_CLEAR)
            self._out.flush()
            self._shown = False
