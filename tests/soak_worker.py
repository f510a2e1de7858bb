"""Loaded into the workers of a soak test as dask's preload: guests that panic or hang when told.

A file `panic` or `busy` in the folder EXT4DIFF_SOAK names what the next guest to get a workload
has to do, once: crash by sysrq, or have an agent that does not answer. Deadlines are shorter
than usual, so that a short soak sees guests that pass them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.trace import Observe, Placement, Trace
from vm.boot import Deadlines
from vm.guest import Guest
from workloads.workload import Workload

_DEADLINES = Deadlines(boot=60.0, step=15.0, end=20.0)
_BUSY = ["sleep", "1000"]


def _told(word: str) -> bool:
    """Whether this process is the one that takes the file."""
    try:
        Path(os.environ["EXT4DIFF_SOAK"], word).unlink()
    except FileNotFoundError:
        return False
    return True


class _Run:
    """`Guest.run` with what was told before it."""

    original = Guest.run

    @staticmethod
    def run(
        guest: Guest,
        workload: Workload,
        placement: Placement | None = None,
        *,
        observe: Observe = Observe.STEPS,
    ) -> Trace:
        guest.deadlines = _DEADLINES
        if _told("panic"):
            guest.ask({"cmd": "sysrq", "key": "c"}, _DEADLINES.step, "a crash")
        if _told("busy"):
            request = {"cmd": "exec", "argv": _BUSY, "files": {}, "seconds": 1000}
            guest.ask(request, _DEADLINES.step, "an agent that is busy")
        return _Run.original(guest, workload, placement, observe=observe)


def dask_setup(_worker: Any) -> None:
    """Called by dask in each worker."""
    Guest.run = _Run.run  # type: ignore[method-assign]
