"""Looks for the first recorded workload in which a mutant is found out."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import msgspec

from harness.mutants.cases import Case, Reach
from harness.mutants.listing import Mutant
from harness.mutants.planted import plant
from harness.recordings.recheck import Checked
from reports.words import place_text

__all__ = ["FIRST", "Found", "Late", "hunt", "limit_of", "limited"]

SECONDS = 2.0
"""CPU seconds that a workload may take at least."""
TIMES = 10
"""So many times longer than usual it may take."""
FIRST = 60
"""Workloads that are tried before the unit tests, which take less time than thousands."""
MEMORY = 8 << 30
"""Bytes that a mutant may take."""


class Found(msgspec.Struct, frozen=True):
    """What came of one mutant. `by` is the case or the test that found it out, None if nothing
    did; `how` the difference in words; `tried` counts the cases."""

    mutant: str
    by: str | None
    how: str
    tried: int
    seconds: float


class Late(BaseException):
    """The model did not come to an end."""


def hunt(
    mutant: Mutant,
    cases: Sequence[Case],
    reach: dict[str, Reach],
    tests: Callable[[], str | None],
    before: int = FIRST,
) -> Found:
    """Plant `mutant` in this process, and try `cases` in their order; after `before` of them
    `tests`, which returns the test that failed.

    A difference counts, known issues followed; so do a crash, a workload that takes `TIMES`
    longer than `reach` says, one that the model now refuses, and one of which less is compared.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    plant(mutant)
    if (not before or not cases) and (failed := tests()) is not None:
        return Found(mutant.name, failed, "a test fails", 0, _cpu())
    for number, case in enumerate(cases, start=1):
        how = _seen(case, reach.get(case.name))
        if how is not None:
            return Found(mutant.name, case.name, how, number, _cpu())
        if number == min(before, len(cases)) and (failed := tests()) is not None:
            return Found(mutant.name, failed, "a test fails", number, _cpu())
    return Found(mutant.name, None, "", len(cases), _cpu())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _seen(case: Case, usual: Reach | None) -> str | None:
    """How the mutant shows in `case`, if it does."""
    limit = limit_of(usual.seconds if usual is not None else 0)
    try:
        with limited(limit):
            checked = case.job.check()
    except Late:
        return f"no end within {limit:.0f} s"
    except Exception as error:  # whatever it is, people would see it
        return f"{type(error).__name__}: {error}"[:200]
    return _difference(checked, usual)


def _difference(checked: Checked, usual: Reach | None) -> str | None:
    if checked.refused is not None:
        return f"refused: {checked.refused}"[:200]
    if checked.tally.mismatched:
        first = checked.headline[0]
        where = f"{first.file} " if first.file else ""
        return f"{place_text(first.place, checked.tally.steps)}: {where}{first.field}"
    left = sum(checked.not_compared.values())
    if usual is not None and left > usual.left_open:
        return f"{left - usual.left_open} fields more are left open"
    return None


def limit_of(usual: float) -> float:
    """CPU seconds for what takes `usual`ly so many."""
    return max(SECONDS, TIMES * usual)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Late` after `seconds` of this process's time."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
