"""What each system call on files is in a workload."""

from __future__ import annotations

from workloads.formats.syscall_data import DATA
from workloads.formats.syscall_names import NAMES
from workloads.formats.syscalls import Handler

__all__ = ["CALLS"]

CALLS: dict[str, Handler] = {**NAMES, **DATA}
"""What is followed, by the call's name; every other call has nothing to do with files."""
