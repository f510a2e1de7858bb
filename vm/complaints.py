"""Which lines of a kernel's log are complaints, and which of them end the guest."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["BLOCKED", "FATAL", "HANG", "complaints", "excerpt"]

FATAL = re.compile(
    r"(Kernel panic - not syncing: [^\r\n]*|BUG: unable to handle[^\r\n]*"
    r"|BUG: kernel NULL pointer[^\r\n]*|kernel BUG at [^\r\n]*|Oops: [^\r\n]*"
    r"|general protection fault[^\r\n]*|Internal error: [^\r\n]*)"
)
"""The first line of a report after which nothing that the guest says can be relied on."""

HANG = re.compile(
    r"(INFO: task [^\r\n]* blocked for more than[^\r\n]*|BUG: soft lockup[^\r\n]*"
    r"|rcu: INFO: rcu_\w+ (?:self-)?detected [^\r\n]*|watchdog: BUG: [^\r\n]*)"
)
"""The first line of a report that the kernel makes no progress."""

BLOCKED = re.compile(
    r"task:(?P<task>\S+) +state:D[^\r\n]*(?:\r?\n(?!.*task:)[^\r\n]*){0,60}?"
    r"\b(?P<function>(?:ext4|jbd2)_?\w*)\+"
)
"""A task in the list of sysrq-w that is blocked inside ext4 or jbd2."""

_COMPLAINTS = re.compile(
    r"WARNING: |\bBUG: |kernel BUG at|Oops|Kernel panic|EXT4-fs (?:warning|error)"
    r"|EXT4-fs \([^)]*\): .*(?:warning|error|fail|corrupt|invalid|bad |wrong|inconsisten|lost)"
    r"|JBD2: .*(?:error|fail|corrupt|abort|unexpected|WARN)|Aborting journal"
    r"|reserved data blocks|Buffer I/O error|I/O error, dev|blocked for more than"
    r"|possible (?:circular|recursive) locking|inconsistent lock state|suspicious RCU"
    r"|INFO: (?:task|rcu)|rcu: INFO|possible deadlock|stack-out-of-bounds|KASAN|KCSAN|UBSAN|KFENCE"
    r"|page allocation failure|Out of memory|oom-kill|segfault|traps: "
    r"|were overwritten before they were read",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"Warning: mounting with data=journal")
_SHUTDOWN = "shut down requested"
_AFTER_SHUTDOWN = re.compile(
    r"Aborting journal|Detected aborted journal|Remounting filesystem read-only"
    r"|EXT4-fs error .*(?:[Jj]ournal has aborted|IO failure)|ext4_journal_check_start"
    r"|failed to convert unwritten|Delayed block allocation failed .*error -5"
    r"|This should not happen|previous I/O error"
)
"""What a shutdown that the workload itself asked for brings about."""


def complaints(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines that complain: WARN, BUG, ext4's and jbd2's errors, I/O errors, lockdep, OOM.

    After a shutdown that was asked for (EXT4_IOC_SHUTDOWN) its own consequences are none.
    """
    found: list[str] = []
    shut_down = False
    for line in lines:
        shut_down = shut_down or _SHUTDOWN in line
        expected = _HARMLESS.search(line) or (shut_down and _AFTER_SHUTDOWN.search(line))
        if _COMPLAINTS.search(line) and not expected:
            found.append(line)
    return tuple(found)


def excerpt(text: str, start: int, limit: int = 60) -> str:
    """At most `limit` lines of the console's `text` from index `start`, without time stamps."""
    lines = text[start:].replace("\r", "").splitlines()[:limit]
    return "\n".join(re.sub(r"^(?:<\d+>)?\[ *\d+\.\d+\] ?", "", line) for line in lines)
