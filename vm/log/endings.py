"""The words with which a kernel ends, or says that it hangs, as the console notices them."""

from __future__ import annotations

import re

from vm.log.lines import read_lines

__all__ = ["BLOCKED", "FATAL", "HANG", "excerpt"]

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


def excerpt(text: str, start: int, limit: int = 200) -> str:
    """At most `limit` lines of the console's `text` from index `start`, without time stamps."""
    lines = text[start:].splitlines()[:limit]
    return "\n".join(line.text for line in read_lines(lines))
