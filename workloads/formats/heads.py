"""The head that every exported text begins with, and reading it back."""

from __future__ import annotations

import re

from workloads.program import Program
from workloads.syntax import WorkloadSyntaxError, parse
from workloads.writing import format_header

__all__ = ["head_of", "program_of"]

_MARK = "ext4diff workload "
_LINE = re.compile(r"[#/ *]*(" + _MARK + r"|show: |on: |rules: |size: )(.*)")


def head_of(program: Program) -> list[str]:
    """Lines, without comment signs, that say which workload a text was made from."""
    return [f"{_MARK}{program.name}", *format_header(program)]


def program_of(lines: list[str]) -> Program | None:
    """What a head that `head_of` wrote says of a program, as far as it can be read.

    Its one operation means nothing. None if the text has no such head.
    """
    kept: list[str] = []
    marked = False
    for line in lines[:40]:
        match = _LINE.match(line)
        if match is not None and match[1] == _MARK:
            marked = True
        elif match is not None and marked:
            kept.append(match[1] + match[2])
    if not marked:
        return None
    try:
        return parse("\n".join([*kept, "sync"]), "head")
    except WorkloadSyntaxError:
        return None
