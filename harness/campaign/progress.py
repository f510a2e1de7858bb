"""How far a campaign is: a line that changes on a terminal, one now and then elsewhere."""

from __future__ import annotations

import time
from typing import TextIO

from harness.campaign.keeper import Keeper
from harness.verdict import Outcome
from reports.words import times
from vm.live_line import LiveLine

__all__ = ["Progress", "done_text", "duration_text", "rate_text"]

_EVERY, _SELDOM = 0.5, 60.0
"""Seconds between changes of the line, and between lines where there is no terminal."""


def duration_text(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `12 s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def rate_text(count: int, seconds: float) -> str:
    """How often in a second; in a minute or an hour where that says more: `2.7/s`, `1.9/min`."""
    rate = count / seconds if seconds else 0.0
    for unit, length in (("s", 1), ("min", 60)):
        if rate * length >= 0.95:
            return f"{rate * length:.1f}/{unit}"
    return f"{rate * 3600:.1f}/h"


def done_text(runs: int, programs: int) -> str:
    """`20 programs (40 runs)`: a program may run on several configurations and paths."""
    text = times(programs, "program")
    return text if runs == programs else f"{text} ({times(runs, 'run')})"


class Progress:
    """Tells of `keeper`, of a campaign of `count` programs or `seconds`, where these are known."""

    def __init__(
        self, keeper: Keeper, seconds: float | None, count: int | None, out: TextIO | None = None
    ) -> None:
        self._keeper, self._seconds, self._count = keeper, seconds, count
        self._began = time.monotonic()
        self._first, self._programs = keeper.counts
        self._shown = LiveLine(out, every=_EVERY, seldom=_SELDOM)

    def show(self, workers: int, alone: float | None = None, *, end: bool = False) -> None:
        """Say where things are, if it is time for that; no worker has been there for `alone`
        seconds, if any."""
        seconds = time.monotonic() - self._began
        guests = times(workers, "guest")
        if alone is not None:
            guests = f"no worker for {duration_text(alone)}"
        if end:
            self._shown.tell(self._line(seconds, guests))
        elif self._shown.due:
            self._shown.show(self._line(seconds, guests))

    def _line(self, seconds: float, guests: str) -> str:
        keeper, outcomes = self._keeper, self._keeper.outcomes
        done, programs = keeper.counts
        parts = [
            duration_text(seconds),
            f"{done_text(done, programs)}, {rate_text(done - self._first, seconds)}",
            guests,
            f"{times(len(keeper.findings), 'finding')} in"
            f" {times(outcomes[Outcome.MISMATCH], 'mismatch')}",
        ]
        for outcome in (Outcome.KNOWN, Outcome.NOT_MODELLED, Outcome.BROKEN):
            if outcomes[outcome]:
                parts.append(f"{outcomes[outcome]:,} {outcome}")
        if keeper.backlog:
            parts.append(f"{keeper.backlog:,} wait for disk space")
        left = self._left(seconds)
        return ", ".join(parts) + (f"; {duration_text(left)} left" if left is not None else "")

    def _left(self, seconds: float) -> float | None:
        """Seconds; by programs, of which each runs on all of its configurations and paths."""
        if self._seconds is not None:
            return self._seconds - seconds
        programs = len(self._keeper.programs)
        if self._count is not None and programs > self._programs:
            return (self._count - programs) * seconds / (programs - self._programs)
        return None
