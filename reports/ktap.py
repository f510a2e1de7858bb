"""The last night as KTAP, version 1 (Documentation/dev-tools/ktap.rst of the kernel).

Tests are nested: a line and path, a configuration in it, a program in that. A known issue
passes, with what it is after the `#`; what was not compared is a SKIP, or an ERROR if the
machinery failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.verdict import Outcome
from reports.since import Since
from reports.words import one_line

__all__ = ["ktap"]

_BAD = frozenset(map(str, (Outcome.MISMATCH, Outcome.BROKEN, Outcome.UNUSABLE)))


def ktap(since: Since) -> Iterator[str]:
    """The lines."""
    yield "KTAP version 1"
    yield f"1..{len(since.parts)}"
    for number, part in enumerate(since.parts, 1):
        rows = since.results
        own = rows[(rows["line"] == part.line) & (rows["path"] == part.path)]
        yield from _indented(_configurations(own))
        bad = any(part.outcomes.get(outcome) for outcome in _BAD)
        name = f"{part.line or 'unnamed'}, {part.path} path"
        yield f"{_result(bad)} {number} {_name(name)}"


def _configurations(rows: pd.DataFrame) -> Iterator[str]:
    groups = list(rows.groupby("config", observed=True))
    yield "KTAP version 1"
    yield f"1..{len(groups)}"
    for number, (config, group) in enumerate(groups, 1):
        yield from _indented(_programs(group))
        yield f"{_result(bool(group['outcome'].isin(_BAD).any()))} {number} {_name(str(config))}"


def _programs(rows: pd.DataFrame) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"1..{len(rows)}"
    for number, row in enumerate(rows.itertuples(index=False), 1):
        if row.outcome == Outcome.MISMATCH:
            yield f"# {one_line(row.said)}"
            if row.artifact:
                yield f"# kept in {one_line(row.artifact)}"
        yield f"{_result(row.outcome in _BAD)} {number} {_name(row.program)}{_directive(row)}"


def _directive(row: Any) -> str:
    """What follows the name, if anything."""
    match row.outcome:
        case Outcome.NOT_MODELLED:
            return f" # SKIP not modelled: {one_line(row.reason)}"
        case Outcome.BROKEN | Outcome.UNUSABLE:
            return f" # ERROR {row.outcome}: {one_line(row.reason)}"
        case Outcome.KNOWN | Outcome.INTENDED:
            return f" # {row.outcome}"
    return ""


def _result(bad: bool) -> str:
    return "not ok" if bad else "ok"


def _name(text: str) -> str:
    """A description must not hold a `#`."""
    return one_line(text).replace("#", "no.")


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
