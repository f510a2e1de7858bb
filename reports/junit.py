"""The last night as JUnit XML, as Jenkins, GitLab and others read it.

A test suite is a line, path and configuration; a test case is a program. A mismatch is a
failure whose type is its signature; broken machinery and unusable workloads are errors; what
the model refuses is skipped. Known issues pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pandas as pd

from harness.verdict import Outcome
from reports.since import Since

__all__ = ["junit"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ERRORS = (str(Outcome.BROKEN), str(Outcome.UNUSABLE))


def junit(since: Since) -> Iterator[str]:
    """The document, line by line: a night may have many programs."""
    texts = _texts(since)
    began = {night.night: night.began for night in since.nights.itertuples(index=False)}
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield f"<testsuites{_attributes({'name': 'ext4diff', **_counts(since.results)})}>"
    keys = ["line", "path", "config"]
    for (line, path, config), rows in since.results.groupby(keys, observed=True):
        name = f"{line or 'unnamed'}, {path} path, {config}"
        moment = began[rows["night"].iloc[0]].partition("+")[0]  # the schema has no zone
        said = {"name": name, **_counts(rows), "skipped": _skipped(rows)}
        yield f"<testsuite{_attributes({**said, **({'timestamp': moment} if moment else {})})}>"
        yield from _properties(rows)
        for row in rows.itertuples(index=False):
            yield from _case(row, f"{path}.{config}", texts)
        yield "</testsuite>"
    yield "</testsuites>"


def _texts(since: Since) -> dict[str, str]:
    """The text of each signature."""
    return {cause.signature: str(cause.about.text) for cause in since.causes}


def _counts(rows: pd.DataFrame) -> dict[str, str]:
    outcomes = rows["outcome"]
    return {
        "tests": str(len(rows)),
        "failures": str(int((outcomes == str(Outcome.MISMATCH)).sum())),
        "errors": str(int(outcomes.isin(_ERRORS).sum())),
        "time": f"{float(rows['seconds'].sum()):.3f}",
    }


def _skipped(rows: pd.DataFrame) -> str:
    return str(int((rows["outcome"] == str(Outcome.NOT_MODELLED)).sum()))


def _properties(rows: pd.DataFrame) -> Iterator[str]:
    yield "<properties>"
    for name in ("kernel", "build_id", "night"):
        for value in dict.fromkeys(value for value in rows[name] if value):
            yield f"<property{_attributes({'name': name, 'value': str(value)})}/>"
    yield "</properties>"


def _case(row: Any, folder: str, texts: dict[str, str]) -> Iterator[str]:
    said = {"classname": folder, "name": row.program, "time": f"{row.seconds:.3f}"}
    found = _found(row, texts)
    if found is None:
        yield f"<testcase{_attributes(said)}/>"
        return
    element, kind, message, text = found
    inner = _attributes({"type": kind, "message": message})
    yield f"<testcase{_attributes(said)}>"
    yield f"<{element}{inner}>{escape(_legal(text))}</{element}>"
    yield "</testcase>"


def _found(row: Any, texts: dict[str, str]) -> tuple[str, str, str, str] | None:
    """Element, type, message and text of what is not simply right."""
    match row.outcome:
        case Outcome.MISMATCH:
            kept = f"\nkept in {row.artifact}" if row.artifact else ""
            kind = texts.get(row.signature, row.signature)
            return "failure", kind, row.said, f"{row.said}\nsignature {row.signature}{kept}"
        case Outcome.BROKEN | Outcome.UNUSABLE:
            return "error", row.outcome, row.reason, row.said
        case Outcome.NOT_MODELLED:
            return "skipped", row.outcome, row.reason, row.said
    return None


def _attributes(values: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(_legal(value))}" for name, value in values.items())


def _legal(text: str) -> str:
    """`text` without characters that XML can't hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
