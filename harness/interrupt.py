"""Being told to end: a termination signal does what Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType

__all__ = ["interrupt_on_termination"]


def interrupt_on_termination() -> None:
    """From now on SIGTERM raises KeyboardInterrupt, so that guests, builds and temporary files
    go, and what was found is kept. For the main thread."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
