"""Values of traces in words: what a person reads in a table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.extent import Run, runs
from harness.trace import Complaint, Extent
from harness.verdict import Place
from workloads.fields import format_number

__all__ = [
    "columns",
    "extents_text",
    "one_line",
    "paint",
    "pair_text",
    "place_text",
    "times",
    "value_text",
]

LONGEST = 24
"""Items of a list that a report shows."""
FIRST_LINES = 12
"""Lines of a kernel's complaint that a report shows."""


def paint(text: str, code: str, colour: bool) -> str:
    """`text` in a colour of the terminal, if it has any."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


def value_text(value: object) -> str:
    """`value` of a mismatch in words: runs as `4k delayed at 8k`, events one after the other."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Complaint):
        return "\n".join(_complaint_lines(value))
    if isinstance(value, tuple | list):
        if value and all(isinstance(item, tuple) and len(item) == 3 for item in value):
            return "; ".join(_run_text(run) for run in value)
        return "; ".join(map(str, value)) or "none"
    return str(value)


def pair_text(expected: object, actual: object) -> tuple[str, str]:
    """Both values of a mismatch in words; of long lists what is around the first difference."""
    if not isinstance(expected, tuple | list) or not isinstance(actual, tuple | list):
        return value_text(expected), value_text(actual)
    if max(len(expected), len(actual)) <= LONGEST:
        return value_text(expected), value_text(actual)
    pairs = enumerate(zip(expected, actual, strict=False))
    shorter = min(len(expected), len(actual))  # it may be the beginning of the other
    same = next((index for index, (one, two) in pairs if one != two), shorter)
    return _cut(expected, same), _cut(actual, same)


def _cut(items: Sequence[object], around: int) -> str:
    """Items from shortly before the one at `around`, `LONGEST` at most."""
    first = max(0, around - 2)
    shown = items[first : first + LONGEST]
    more = len(items) - first - len(shown)
    before = f"({first} before) " if first else ""
    return f"{before}{value_text(shown)}" + (f"; and {more} more" if more > 0 else "")


def _complaint_lines(complaint: Complaint) -> list[str]:
    """Its title, when it came, and the first lines of the report."""
    when = "" if complaint.step is None else f", first in step {complaint.step + 1}"
    more = len(complaint.lines) - FIRST_LINES
    return [
        f"{complaint}{when}",
        *(f"  at {frame}" for frame in complaint.frames[:1] if ":" in frame),
        *(f"  {line}" for line in complaint.lines[:FIRST_LINES]),
        *([f"  ... and {more} lines more"] if more > 0 else []),
    ]


def _run_text(run: Run) -> str:
    start, length, state = run
    return f"{format_number(length)} {state} at {format_number(start)}"


def extents_text(extents: Sequence[Extent] | None) -> str:
    """The runs of `extents` in words; `?` if they are not known."""
    return "?" if extents is None else value_text(runs(extents))


def place_text(place: Place, steps: int) -> str:
    """Where a mismatch is, for a workload of `steps` steps counted from 1."""
    if place == "start":
        return "before the first step"
    return "after the last step" if place == "final" else f"step {place + 1} of {steps}"


def one_line(text: str) -> str:
    """`text` without line ends and control characters; a kernel's log may hold any."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text)


def times(count: int, noun: str) -> str:
    """`1 workload`, `2 mismatches`, `1,200 workloads`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """`rows` as lines with aligned columns."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        indent
        + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
