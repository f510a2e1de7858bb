"""The rules of docs/semantics.md, as programs read them.

The page is the one place that relates a rule's id to what the model notes when it applies
it, to the kernel's functions and to the model's. It is installed with the programs, so that
every report can name them.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import msgspec

from harness.errors import UsageError

__all__ = ["PAGE", "Rule", "parse_rules", "rule_noted", "specification"]

PAGE = Path(__file__).parent / "semantics.md"
"""docs/semantics.md: a symbolic link to it in a source tree, a copy where it is installed."""
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

    @property
    def gist(self) -> str:
        """Its first sentence."""
        return re.split(r"(?<=[.:]) (?=[A-Z`0-9])", self.words.replace("\n", " "), maxsplit=1)[0]


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a page. Raises `ValueError` if one has lines that no rule has."""
    return tuple(_rule(section) for section in text.split("\n### ")[1:])


@functools.cache
def specification() -> tuple[Rule, ...]:
    """The rules. Raises `UsageError` if the page is gone from where it was installed."""
    try:
        return parse_rules(PAGE.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read the rules in {PAGE}: {error.strerror}; install ext4diff again"
        ) from error


def rule_noted(because: str) -> Rule | None:
    """The rule that the model notes as `because`; None if that is no rule's note, or the page
    is not there."""
    return _by_note().get(because)


@functools.cache
def _by_note() -> dict[str, Rule]:
    try:
        return {note: rule for rule in specification() for note in rule.reports}
    except UsageError:  # what is reported goes before how it is called
        return {}


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
