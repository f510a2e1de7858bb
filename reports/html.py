"""The report as one HTML page that needs nothing but itself.

No script, no font, no request: a policy in the page forbids all of them, so that nothing that
a kernel's log or a file of another machine says can do more than be read. Pictures are images
(`data:`), not markup, for the same reason. All text is escaped by jinja2.
"""

from __future__ import annotations

import base64
import datetime
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2

from reports import sections
from reports.frames import Frames
from reports.since import Cause, Since, State
from reports.trend import trends

__all__ = ["page"]

FULL = 40
"""Findings that are shown with picture and program; others get a line."""
LINES = 400
"""Findings that get a line."""
PROGRAM = 4000
"""Characters of a program that are shown."""
PICTURES = 3_000_000
"""Characters of pictures in a page; findings after that go without."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def page(
    frames: Frames,
    since: Since,
    rules: Sequence[str] = (),
    operations: Sequence[str] = (),
    *,
    version: str = "",
    made: str = "",
    beside: str | None = ".",
) -> str:
    """The page. `rules` and `operations` are the names that may be reached; `version` is that
    of ext4diff, and `made` says when the page was made. Paths of artifacts are from the folder
    `beside`, as the page sees it; if that is None, they are no links."""
    shown, lines, left_out = _shared_out(since)
    history, more_lines = trends(frames)
    return (
        _environment()
        .get_template("report.html")
        .render(
            beside=beside,
            since=since,
            states=list(State),
            shown=shown,
            lines=lines,
            left_out=left_out,
            pictures=_pictures(shown),
            matrix=sections.matrix(since),
            rules=sections.coverage(frames, since, "rule", rules),
            operations=sections.coverage(frames, since, "operation", operations),
            speed=sections.speed(frames, since),
            trends=history,
            more_lines=more_lines,
            issues=sections.issues(frames, since),
            complaints=sections.remarks(frames, since, "complaint"),
            intended=sections.remarks(frames, since, "intended"),
            not_compared=sections.remarks(frames, since, "not compared"),
            unjudged=sections.unjudged(since),
            about=sections.about(since),
            nights=len(frames.nights),
            version=version,
            made=made,
        )
    )


def _shared_out(since: Since) -> tuple[list[Cause], list[Cause], int]:
    """The findings that are shown whole, those that get a line, and how many get none."""
    here = [cause for cause in since.causes if cause.state is not State.AWAY]
    rest = here[FULL:] + since.of(State.AWAY)
    return here[:FULL], rest[:LINES], max(0, len(rest) - LINES)


def _pictures(shown: Iterable[Cause]) -> dict[str, str]:
    """The pictures of findings by signature, as addresses of images."""
    found: dict[str, str] = {}
    budget = PICTURES
    for cause in shown:
        picture = str(cause.about.picture)
        if picture and len(picture) <= budget:
            budget -= len(picture)
            data = base64.b64encode(picture.encode("utf-8", "replace")).decode()
            found[cause.signature] = f"data:image/svg+xml;base64,{data}"
    return found


# --- what the templates say things with -----------------------------------------------


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    made.filters.update(
        count=_count, rate=_rate, span=_span, percent=_percent, day=_day, link=_link,
        program=_program, slug=_slug,
    )  # fmt: skip
    return made


def _printable(value: Any) -> Any:
    """`value` without characters that no page may hold; a kernel's log may have any."""
    if isinstance(value, str) and _CONTROL.search(value):
        return type(value)(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", value))
    return value


def _count(number: float, noun: str = "", many: str = "") -> str:
    """`1,234 programs`; without a noun the number alone."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _span(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _percent(part: float) -> str:
    """`12%`, and never 0% or 100% of what is not nothing or all."""
    if 0 < part < 0.01:
        return "<1%"
    return ">99%" if 0.99 < part < 1 else f"{part:.0%}"


def _day(text: str) -> str:
    """A time of day as people write it; a text that is none as it is."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text or "at an unknown time"
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()


def _link(path: str, beside: str | None) -> str | None:
    """Where an artifact can be reached; None if only its own machine can say. Only a path
    below the folder `beside` is a link: anything else could be an address."""
    if beside is None or not path or path.startswith("/") or ".." in path.split("/"):
        return None
    return urllib.parse.quote(f"{beside}/{path}")


def _program(text: str) -> str:
    """A program, cut where it gets too long."""
    if len(text) <= PROGRAM:
        return text.rstrip()
    return f"{text[:PROGRAM]}\n# ... {len(text) - PROGRAM} characters more"


def _slug(text: str) -> str:
    """`text` as a class or an anchor of the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
