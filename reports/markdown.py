"""The last night in Markdown, short: for the summary page of a CI service, or a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.verdict import Outcome
from reports.since import Cause, Since, State
from reports.words import times

__all__ = ["markdown"]

MOST = 10
"""Findings that are listed."""
LONG = 300
"""Characters of a text from elsewhere."""


def markdown(since: Since) -> Iterator[str]:
    """The lines."""
    yield f"## ext4diff: {since.headline}"
    yield ""
    if not since.parts:
        yield "The last night has no results: it was cut off before its first program was done,"
        yield "or no guest came up."
        return
    yield from _table(since)
    yield from _findings(since)
    broken = since.count(Outcome.BROKEN)
    if broken:
        yield ""
        yield f"{times(broken, 'run')} not judged because the machinery failed."


def _table(since: Since) -> Iterator[str]:
    yield "| tested | path | kernel | runs | agree | known | mismatch | new findings |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    for part in since.parts:
        agree = part.outcomes.get(Outcome.AGREE, 0) + part.outcomes.get(Outcome.INTENDED, 0)
        counts = (
            part.runs, agree, part.outcomes.get(Outcome.KNOWN, 0),
            part.outcomes.get(Outcome.MISMATCH, 0), len(part.of(State.NEW)),
        )  # fmt: skip
        words = (part.line or "unnamed", part.path, ", ".join(part.kernels) or "unknown")
        yield f"| {' | '.join([*map(_plain, words), *map(str, counts)])} |"


def _findings(since: Since) -> Iterator[str]:
    listed = [cause for cause in since.causes if cause.state is not State.AWAY]
    for cause in listed[:MOST]:
        yield ""
        yield from _finding(cause)
    if len(listed) > MOST:
        yield ""
        yield f"… and {times(len(listed) - MOST, 'finding')} more."
    away = since.of(State.AWAY)
    if away:
        yield ""
        yield f"Not seen any more: {times(len(away), 'finding')} of the night before."


def _finding(cause: Cause) -> Iterator[str]:
    state = "**new**" if cause.state is State.NEW else str(cause.state)
    paths = ", ".join(dict.fromkeys(part.path for part, _ in cause.places))
    yield (
        f"- {state}: {_plain(cause.about.text)} ({times(cause.runs, 'run')}, {paths}"
        f" path, signature `{cause.signature}`)"
    )
    kept = f"; kept in {_plain(cause.about.artifact)}" if cause.about.artifact else ""
    yield f"  <br>{_plain(cause.about.said)}{kept}"


def _plain(text: str) -> str:
    """`text` as it is, whatever of it would be markup, in one line and not too long."""
    one_line = " ".join(text.split())
    cut = one_line if len(one_line) <= LONG else f"{one_line[:LONG]}…"
    escaped = cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#@!~$])", r"\\\1", escaped)
