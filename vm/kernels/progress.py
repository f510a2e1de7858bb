"""What a person sees while something takes minutes: stage lines, and a counter."""

from __future__ import annotations

import time

from vm.apt import progress
from vm.live_line import LiveLine

__all__ = ["Counter", "progress"]


class Counter:
    """A line that counts, on a terminal; nothing is printed where nobody watches.

    `what` says of what, as in "files compiled".
    """

    def __init__(self, what: str) -> None:
        self.count = 0
        self._what = what
        self._began = time.monotonic()
        self._line = LiveLine()

    def step(self, name: str = "") -> None:
        """One more, which is `name`."""
        self.count += 1
        if self._line.due:
            self._line.show(f"  {self.count} {self._what}, {self.seconds:.0f} s  {name}")

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    def close(self) -> None:
        """Clear the line."""
        self._line.close()
