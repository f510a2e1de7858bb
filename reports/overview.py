"""The last night on the terminal: what is new, and the counts behind it."""

from __future__ import annotations

from collections.abc import Iterator

from harness.verdict import Outcome
from reports.since import Cause, Since, State
from reports.words import columns, one_line, times

__all__ = ["overview"]

MOST = 20
"""Findings that are listed."""


def overview(since: Since) -> Iterator[str]:
    """The lines, free of what a terminal would obey."""
    return (one_line(line) for line in _lines(since))


def _lines(since: Since) -> Iterator[str]:
    yield since.headline
    if not since.parts:
        yield "The last night has no results: it was cut off before its first program was done,"
        yield "or no guest came up."
        return
    yield ""
    shown = [o for o in Outcome if any(part.outcomes.get(o) for part in since.parts)]
    rows = [("tested", "path", *map(str, shown), "new")]
    for part in since.parts:
        counts = (str(part.outcomes.get(outcome) or "-") for outcome in shown)
        rows.append((part.line or "unnamed", part.path, *counts, str(len(part.of(State.NEW)))))
    yield from columns(rows)
    yield from _findings(since)


def _findings(since: Since) -> Iterator[str]:
    for state, title in (
        (State.NEW, "New"),
        (State.BACK, "Back after a pause"),
        (State.STILL, "Seen before"),
        (State.AWAY, "Not seen any more (other programs ran, or it is gone)"),
    ):
        causes = since.of(state)
        if causes:
            yield ""
            yield title
        for cause in causes[:MOST]:
            yield from _finding(cause)
        if len(causes) > MOST:
            yield f"  ... and {len(causes) - MOST} more"


def _finding(cause: Cause) -> Iterator[str]:
    paths = ", ".join(dict.fromkeys(part.path for part, _ in cause.places))
    yield f"  {cause.signature} {cause.about.text}, {times(cause.runs, 'run')} on {paths}"
    if cause.state is not State.AWAY:
        yield f"    {cause.about.said}"
    if cause.about.artifact and cause.state is not State.AWAY:
        yield f"    kept in {cause.about.artifact}"
