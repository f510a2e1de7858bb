"""What a person sees while something takes minutes: stage lines, and a counter."""

from __future__ import annotations

import sys
import time

from vm.apt import progress

__all__ = ["Counter", "progress"]

_EVERY = 0.2
"""Seconds between two updates of the counter."""


class Counter:
    """A line that counts, on a terminal; nothing is printed where nobody watches.

    `what` says of what, as in "files compiled".
    """

    def __init__(self, what: str) -> None:
        self.count = 0
        self._what = what
        self._began = self._shown = time.monotonic()
        self._visible = sys.stderr.isatty()

    def step(self, name: str = "") -> None:
        """One more, which is `name`."""
        self.count += 1
        now = time.monotonic()
        if self._visible and now - self._shown >= _EVERY:
            self._shown = now
            line = f"  {self.count} {self._what}, {self.seconds:.0f} s  {name}"
            print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    def close(self) -> None:
        """Clear the line."""
        if self._visible:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
