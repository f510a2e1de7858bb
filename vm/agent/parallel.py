"""Parallel sections: threads that carry out their calls against each other.

Every thread has a CPU of its own as far as there are any (the others than the first do
nothing else, see `isolcpus` in `vm.qemu`) and runs under the ordinary scheduling policy, so
that the kernel's own threads take part. A seed chooses who gets which CPU and how long each
call is held back.
"""

from __future__ import annotations

import os
import time
from functools import partial

from .context import errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .context import Context, Operation, Outcome

    Row = dict[str, Any]
    Execute = Callable[[Context, Operation], Outcome]

__all__ = ["run_section"]

_PAUSES = (0.0, 20e-6, 200e-6, 2e-3)
"""Seconds by which a section's calls are held back at the most; one of them for each section."""


def run_section(context: Context, op: Operation, execute: Execute) -> tuple[Outcome, list[Any]]:
    """Run the threads of `op`, then sync(2).

    Returns 0 or the errno's name if the files can't be opened; and for each thread what its
    calls returned, with the nanoseconds from the first call's begin to each one's begin and
    end. An error that is none of the system's leaves as it came.
    """
    from random import Random  # noqa: PLC0415 - slow to import, and rarely needed
    from threading import Thread  # noqa: PLC0415

    try:
        _open_all(context, op)
    except OSError as error:
        return errno_name(error), []
    random = Random(op["seed"])
    longest = random.choice(_PAUSES)
    cpus = list(range(os.cpu_count() or 1))
    random.shuffle(cpus)
    start = _Start(len(op["threads"]))
    works = []
    for number, calls in enumerate(op["threads"]):
        plan = [(random.random() * longest, call) for call in calls]
        run = partial(execute, context)
        works.append(_Work(plan, run, start, cpus[number % len(cpus)]))
    threads = [Thread(target=work.run) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for work in works:
        if work.error is not None:
            raise work.error
    os.sync()
    first = min(row["began"] for work in works for row in work.rows)
    for row in (row for work in works for row in work.rows):
        row["began"] -= first
        row["ended"] -= first
    return 0, [work.rows for work in works]


def _open_all(context: Context, op: Operation) -> None:
    """Open what the calls use, in their order: an open inside the section would be a call too."""
    flags = {"sync_write": os.O_SYNC, "dsync_write": os.O_DSYNC}
    for call in (call for thread in op["threads"] for call in thread):
        if "file" not in call:
            continue
        if call["op"] in flags:
            context.files.also(call["file"], flags[call["op"]])
        else:
            context.files.main(call["file"])


class _Start:
    """Where `count` threads meet before the first call; they spin, so that all leave at once."""

    def __init__(self, count: int) -> None:
        self._waiting = [True] * count

    def meet(self) -> None:
        self._waiting.pop()
        while self._waiting:
            time.sleep(0)


class _Work:
    """One thread's calls, each with the seconds that it is held back.

    `rows` and `error` say what came of them.
    """

    def __init__(
        self,
        plan: list[tuple[float, Operation]],
        run: Callable[[Operation], Outcome],
        start: _Start,
        cpu: int,
    ) -> None:
        self._plan, self._run, self._start, self._cpu = plan, run, start, cpu
        self.rows: list[Row] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """What the thread does."""
        try:
            self._start.meet()
            os.sched_setaffinity(0, {self._cpu})
            for pause, call in self._plan:
                _hold_back(pause)
                began = time.monotonic_ns()
                result = self._run(call)
                ended = time.monotonic_ns()
                self.rows.append({"result": result, "began": began, "ended": ended})
        except BaseException as error:
            self.error = error


def _hold_back(seconds: float) -> None:
    """Spin: a sleep would be rounded up to the timer's slack."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0)
