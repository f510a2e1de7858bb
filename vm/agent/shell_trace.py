"""Trace events for a person's shell: chosen with wildcards, recorded step by step."""

from __future__ import annotations

import contextlib
import fnmatch
import os

from .tracing import TRACING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Recorder", "chosen"]

INSTANCE = "ext4diff-step"
KIB = 16384
"""Size of each CPU's buffer for the events of one step."""


def chosen(patterns: list[str], available: list[str]) -> tuple[list[str], str]:
    """The events of `available` (`system:name`) that `patterns` name, and the first pattern
    that names none ("" if each does). A pattern without a colon is an event's or a system's
    name."""
    names: dict[str, None] = {}
    for pattern in patterns:
        full = [pattern] if ":" in pattern else [f"*:{pattern}", f"{pattern}:*"]
        found = [name for name in available for one in full if fnmatch.fnmatchcase(name, one)]
        if not found:
            return [], pattern
        names.update(dict.fromkeys(found))
    return list(names), ""


class Recorder:
    """The events that are on in the shell; with `record` also collected for each step.

    `refused` is a pattern that names no event, `near` the names that resemble it; `text`
    what the last step recorded.
    """

    def __init__(self, patterns: list[str], record: bool, tracing: str = TRACING) -> None:
        self._tracing = tracing
        self._record = record
        with open(f"{tracing}/available_events") as file:
            available = file.read().split()
        self.names, self.refused = chosen(patterns, available)
        self.near: list[str] = []
        self.text = ""
        if self.refused:
            self.near = _near(self.refused, available)

    def switch_on(self) -> None:
        """Begin to collect them, in the trace that everybody reads."""
        _write(f"{self._tracing}/trace", "")
        for name in self.names:
            _write(f"{self._tracing}/events/{name.replace(':', '/')}/enable", "1")

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Collect what happens meanwhile in `text`."""
        if not self._record:
            yield
            return
        base = f"{self._tracing}/instances/{INSTANCE}"
        os.makedirs(base)
        try:
            switch = os.open(f"{base}/tracing_on", os.O_WRONLY | os.O_CLOEXEC)
            os.pwrite(switch, b"0", 0)
            _write(f"{base}/buffer_size_kb", str(KIB))
            for name in self.names:
                _write(f"{base}/events/{name.replace(':', '/')}/enable", "1")
            os.pwrite(switch, b"1", 0)
            yield
            os.pwrite(switch, b"0", 0)
            os.close(switch)
            with open(f"{base}/trace", errors="replace") as file:
                self.text = file.read()
        finally:
            os.rmdir(base)


def _near(pattern: str, available: list[str]) -> list[str]:
    """Events, or systems with a wildcard, whose names resemble `pattern`."""
    import difflib  # noqa: PLC0415 - rarely needed

    systems = sorted({f"{name.partition(':')[0]}:*" for name in available})
    plain = [name.partition(":")[2] for name in available] if ":" not in pattern else []
    return difflib.get_close_matches(pattern, [*available, *systems, *plain], 5, 0.6)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
