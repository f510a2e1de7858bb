"""How often Python looks for garbage: seldom.

Nearly all that models and traces leave is freed at once, by its count of references. Looking
through what is alive for the rest, every 700 objects as is Python's default, finds next to
nothing and takes a twentieth of the time.
"""

from __future__ import annotations

import gc

__all__ = ["collect_seldom"]

_OBJECTS = 100_000
"""Objects that are new and alive when Python looks among them: some 10 MB."""


def collect_seldom() -> None:
    """Have Python's garbage collector look at new objects once there are many of them."""
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
