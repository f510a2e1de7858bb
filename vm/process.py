"""Child processes that end when this one does, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

__all__ = ["ending_with_parent"]

_PR_SET_PDEATHSIG = 1


def ending_with_parent(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` after which the child gets the signal `number` when its parent dies.

    To be called in the parent, and by the thread that starts the child.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
