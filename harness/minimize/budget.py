"""How long a search may take: seconds, and runs of the two sides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Budget", "BudgetSpentError"]


class BudgetSpentError(Exception):
    """The search has to end here; what it has is kept. `str` says which part is spent."""


class Budget:
    """`seconds` from now, and `runs`; without a number there is no such limit.

    What the guest needs to come up is none of it: `starting` tells how many seconds that
    has taken so far.
    """

    def __init__(
        self,
        seconds: float | None = None,
        runs: int | None = None,
        starting: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.seconds = seconds if seconds is not None else math.inf
        self.most = runs if runs is not None else math.inf
        self.runs = 0
        self._starting = starting
        self._began = time.monotonic() - starting()

    @property
    def spent(self) -> float:
        """Seconds so far, without those for coming up."""
        return time.monotonic() - self._began - self._starting()

    def take(self) -> None:
        """Account for a run that is about to begin. Raises `BudgetSpentError`."""
        if self.runs >= self.most:
            raise BudgetSpentError(f"{self.most} runs")
        if self.spent >= self.seconds:
            raise BudgetSpentError(f"{self.seconds:g} s")
        self.runs += 1
