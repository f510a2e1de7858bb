"""Lines of a kernel's log as they come: with or without level, time and caller.

printk puts `[  TIME]` and, with CONFIG_PRINTK_CALLER, `[  T123]` or `[  C0]` before a line
(`info_print_prefix` in kernel/printk/printk.c); netconsole and a raw log `<LEVEL>`;
syslog daemons a date and `kernel:`; on a console the end of a program's line may stand
before them. The caller tells apart the lines of reports that two
tasks print at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Line", "read_lines"]

_PREFIX = re.compile(
    r"(?:[^\[\n]{0,60}(?=\[ *\d+\.\d{6}\])|[^\[\n]{0,60}? kernel: )?"
    r"(?:<(?P<level>\d+)>)?"
    r"(?P<stamps>(?:\[ *\d+\.\d+\])?(?:\[ *(?P<caller>[TC]\d+)\])?) ?"
)
_LEVELS = 8


@dataclass(frozen=True)
class Line:
    """One line: its text without prefixes, and what the prefixes said.

    `level` is printk's, 0 (KERN_EMERG) to 7, None if it is not told; `caller` is empty if
    it is not. `step` is the workload's step in which the kernel said it, if known.
    """

    text: str
    caller: str = ""
    level: int | None = None
    step: int | None = None


def read_lines(texts: Iterable[str], step: int | None = None) -> Iterator[Line]:
    """The lines in `texts`, which may have several each, without their prefixes."""
    for text in texts:
        for raw in text.replace("\r", "").split("\n"):
            match = _PREFIX.match(raw)
            assert match is not None  # every part is optional
            level = None if match["level"] is None else int(match["level"]) % _LEVELS
            # without a prefix a leading space is the line's own: a stack frame's
            start = match.end() if match["stamps"] else match.end("stamps")
            yield Line(raw[start:].rstrip(), match["caller"] or "", level, step)
