"""The rules of docs/semantics.md, as programs read them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import msgspec

from harness.errors import UsageError

__all__ = ["PAGE", "Rule", "parse_rules", "specification"]

PAGE = Path(__file__).parent.parent / "docs" / "semantics.md"
_FIELDS = ("kernel", "model", "workloads", "reports")


class Rule(msgspec.Struct, frozen=True):
    """One rule: its id, its words, and what its lines name.

    `kernel` and `model` are functions, `workloads` programs, each with its mark (`iomap`,
    `unplaced` or nothing), `reports` the strings that the model notes for it.
    """

    name: str
    words: str
    kernel: tuple[str, ...]
    model: tuple[str, ...]
    workloads: tuple[tuple[str, str], ...]
    reports: tuple[str, ...]


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a page. Raises `ValueError` if one has lines that no rule has."""
    return tuple(_rule(section) for section in text.split("\n### ")[1:])


@functools.cache
def specification() -> tuple[Rule, ...]:
    """The rules. Raises `UsageError` where the documentation is not installed."""
    try:
        return parse_rules(PAGE.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the rules in {PAGE}: {error.strerror}; run this in a source tree"
        ) from error


def _rule(section: str) -> Rule:
    title, _, body = section.partition("\n")
    words, *lines = re.split(r"^- (?=\w+: )", body.partition("\n## ")[0], flags=re.MULTILINE)
    fields = dict(line.strip().split(": ", 1) for line in lines)
    if list(fields) != [name for name in _FIELDS if name in fields]:
        raise ValueError(f"{title}: its lines are {', '.join(fields)}")
    quoted = {name: tuple(re.findall(r"`([^`]+)`", fields.get(name, ""))) for name in _FIELDS}
    programs = re.findall(r"`([^`]+)`(?: \((\w+)\))?", fields.get("workloads", ""))
    return Rule(
        title.strip("`"), words.strip(), quoted["kernel"], quoted["model"],
        tuple((text, mark) for text, mark in programs), quoted["reports"],
    )  # fmt: skip
