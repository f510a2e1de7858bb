"""What the kernel says and what is no complaint, because the workload asked for it.

The rule: a line is excused only if an operation or mount option of the workload brings it
about on a kernel without bugs. It is excused by its own words and, for a shutdown, only
after the kernel has acknowledged that shutdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vm.log.lines import Line

__all__ = ["unexpected"]

_OPTIONS = re.compile(r"EXT4-fs: (?:Warning: mounting with data=journal|The data=journal mount)")
"""What mounting with an option always brings about."""
_SHUTDOWN = re.compile(r"EXT4-fs \([^)]+\): shut down requested")
_AFTER_SHUTDOWN = re.compile(
    r"Aborting journal|Detected aborted journal|Remounting filesystem read-only"
    r"|EXT4-fs error .*(?:[Jj]ournal has aborted|IO failure)|ext4_journal_check_start"
    r"|failed to convert unwritten|Delayed block allocation failed .*error -5"
    r"|This should not happen|previous I/O error|warning: mounting unchecked fs"
)
"""What a shutdown that the workload itself asked for brings about."""


def unexpected(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines that nothing in the workload accounts for."""
    shut_down = False
    for line in lines:
        shut_down = shut_down or _SHUTDOWN.match(line.text) is not None
        if _OPTIONS.match(line.text) or (shut_down and _AFTER_SHUTDOWN.search(line.text)):
            continue
        yield line
