"""A clock that nobody sets, for dask's messages.

dask sends messages in batches, and tornado calls what is due, by the clock of the day: if that
is set back, both wait until it is again what it was, and a night stands still meanwhile. Here
both get one that begins as the clock of the day and then goes evenly.
"""

from __future__ import annotations

import time

from distributed import batched
from tornado.ioloop import IOLoop

__all__ = ["go_steady", "steady"]

_AHEAD = time.time() - time.monotonic()


def steady() -> float:
    """Seconds since 1970, by the clock of the day as it was when this process began."""
    return _AHEAD + time.monotonic()


def go_steady() -> None:
    """Have dask and tornado go by `steady` in this process. May be called again."""
    IOLoop.time = lambda self: steady()  # type: ignore[method-assign]  # noqa: ARG005
    batched.time = steady  # type: ignore[attr-defined]
