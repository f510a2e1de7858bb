"""How far a campaign is: a line that changes on a terminal, one now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from harness.campaign.keeper import Keeper
from harness.verdict import Outcome
from reports.words import times

__all__ = ["Progress", "duration_text"]

_SELDOM = 60.0
"""Seconds between lines where they do not overwrite each other."""


def duration_text(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `12 s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


class Progress:
    """Tells of `keeper`, of a campaign of `count` programs or `seconds`, where these are known."""

    def __init__(
        self, keeper: Keeper, seconds: float | None, count: int | None, out: TextIO = sys.stderr
    ) -> None:
        self._keeper, self._seconds, self._count, self._out = keeper, seconds, count, out
        self._began = self._last = time.monotonic()
        self._first = keeper.outcomes.total()
        self._live = out.isatty()

    def show(self, workers: int, *, end: bool = False) -> None:
        """Say where things are, if it is time for that."""
        now = time.monotonic()
        if not end and now - self._last < (0.5 if self._live else _SELDOM):
            return
        self._last = now
        line = self._line(now - self._began, workers)
        self._out.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
        if end and self._live:
            self._out.write("\n")
        self._out.flush()

    def _line(self, seconds: float, workers: int) -> str:
        keeper, outcomes = self._keeper, self._keeper.outcomes
        done = outcomes.total()
        rate = (done - self._first) / seconds if seconds else 0.0
        parts = [
            duration_text(seconds),
            f"{done:,} programs, {rate:.1f}/s",
            times(workers, "guest"),
            f"{len(keeper.findings)} findings in {outcomes[Outcome.MISMATCH]:,} mismatches",
        ]
        for outcome in (Outcome.KNOWN, Outcome.NOT_MODELLED, Outcome.BROKEN):
            if outcomes[outcome]:
                parts.append(f"{outcomes[outcome]:,} {outcome}")
        if keeper.backlog:
            parts.append(f"{keeper.backlog:,} wait for disk space")
        left = self._left(seconds, done, rate)
        return ", ".join(parts) + (f"; {duration_text(left)} left" if left is not None else "")

    def _left(self, seconds: float, done: int, rate: float) -> float | None:
        if self._seconds is not None:
            return self._seconds - seconds
        if self._count is not None and rate:
            return (self._count - done) / rate
        return None
