"""Progress of a search, for people: one line that changes on a terminal, else a few lines."""

from __future__ import annotations

import time
from typing import TextIO

__all__ = ["Progress"]

EVERY = 0.2
"""Seconds between two changes of the line on a terminal."""


class Progress:
    """Writes to `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._next = 0.0
        self._width = 0
        self._said = ""

    def tell(self, line: str) -> None:
        """A line of its own."""
        self._clear()
        print(line, file=self._stream, flush=True)

    def show(self, line: str, *, news: bool = False) -> None:
        """Where the search is; anywhere but on a terminal only `news` are worth a line."""
        if not self._live:
            if news and line != self._said:
                self.tell(line)
                self._said = line
            return
        now = time.monotonic()
        if news or now >= self._next:
            self._next = now + EVERY
            self._stream.write("\r" + line.ljust(self._width))
            self._stream.flush()
            self._width = len(line)

    def _clear(self) -> None:
        """Take the changing line away."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
