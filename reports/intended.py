"""Intended differences in words: which of the table showed, where, and what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from harness.differences.intended import Difference
from harness.differences.table import INTENDED
from harness.verdict import Verdict
from reports.words import place_text
from workloads.workload import PATH_NAMES

__all__ = ["counted", "intended_lines", "intended_summary"]

_BY_NAME = {entry.name: entry for entry in INTENDED}


def counted(verdict: Verdict) -> dict[str, tuple[int, int]]:
    """By entry: the fields that are signs of it, and those that follow from one."""
    signs = Counter(found.row for found in verdict.intended if not found.follows)
    follow = Counter(found.row for found in verdict.intended if found.follows)
    return {name: (signs[name], follow[name]) for name in signs | follow}


def intended_lines(verdict: Verdict) -> list[str]:
    """What `explain` says: each entry that showed, where first, and what it is about."""
    lines = []
    for name, (signs, follow) in counted(verdict).items():
        first = next(found.difference for found in verdict.intended if found.row == name)
        where = place_text(first.place, len(verdict.workload.ops))
        lines.append(f"  {name}: {_fields(signs, follow)}, first at {where}")
        if name in _BY_NAME:
            lines += [f"    {line}" for line in _about(_BY_NAME[name])]
    return ["", "Intended differences", *lines] if lines else []


def intended_summary(counts: Iterable[Mapping[str, tuple[int, int]]]) -> list[str]:
    """The summary's part, from what `counted` gave for each workload."""
    totals: Counter[str] = Counter()
    signs: Counter[str] = Counter()
    follow: Counter[str] = Counter()
    for one in counts:
        for name, (direct, after) in one.items():
            totals[name] += 1
            signs[name] += direct
            follow[name] += after
    lines = [
        f"  {name} in {count} workload{'' if count == 1 else 's'},"
        f" {_fields(signs[name], follow[name])}" + (f": {said}" if (said := _said(name)) else "")
        for name, count in totals.most_common()
    ]
    return ["", "Intended differences", *lines] if lines else []


def _fields(signs: int, follow: int) -> str:
    """How many fields differ, of both kinds."""
    text = f"{signs} field{'' if signs == 1 else 's'}"
    return f"{text} and {follow} that follow" if follow else text


def _said(name: str) -> str:
    return _BY_NAME[name].situation if name in _BY_NAME else ""


def _about(entry: Difference) -> list[str]:
    """What an entry says, for a person."""
    if entry.between == "paths":
        names = tuple(PATH_NAMES.values())
    elif entry.between == "releases" and entry.since is not None:
        release = ".".join(map(str, entry.since))
        names = (f"before {release}", f"since {release}")
    else:
        names = ("one side", "the other")
    return [
        f"when: {entry.situation}",
        f"{names[0]}: {entry.first}",
        f"{names[1]}: {entry.second}",
        f"why: {entry.why} ({entry.source})",
    ]
