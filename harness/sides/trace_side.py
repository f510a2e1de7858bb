"""A kept trace as a side of a comparison."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.sides.side import Side
from harness.trace import Placement, Trace, decode
from workloads.host_files import open_regular
from workloads.workload import Workload

__all__ = ["TraceSide"]


class TraceSide(Side):
    """A trace that a mismatch left behind (`actual.json`): the kernel of another day."""

    name = "recording"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with open_regular(path) as file:
                self._trace = decode(file.read())
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(f"{path} is no trace: {error}") from error

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,  # noqa: ARG002
        quirks: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Trace:
        """The trace; `UsageError` if it is of another workload."""
        kept = self._trace.workload
        if (kept.ops, kept.config) != (workload.ops, workload.config):
            raise UsageError(f"{self._path} is a trace of {kept.name}, not of {workload.name}")
        return self._trace

    def release(self) -> str | None:
        """The release that the trace notes."""
        return self._trace.kernel

    def header(self) -> list[str]:
        """Which trace."""
        return [f"recording {self._path}, kernel {self._trace.kernel or 'unknown'}"]
