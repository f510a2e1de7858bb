"""What people read of mutants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harness.mutants.hunt import Found
from harness.mutants.listing import Mutant

__all__ = ["summary", "told"]

_SHOWN = 5
"""Rules that a survivor is told with; what all of the model uses is in many."""


def told(found: Found, number: int, total: int, equivalent: Mapping[str, str]) -> str:
    """A line on one mutant."""
    counted = f"[{number}/{total}]"
    if found.by is None:
        after = f"after {found.tried} workloads"
        if found.mutant in equivalent:
            return f"{counted} equivalent, as said: {found.mutant} ({after})"
        return f"{counted} SURVIVES {found.mutant} ({after})"
    said = "; it is said to be equivalent" if found.mutant in equivalent else ""
    return f"{counted} {found.mutant} | {found.by}: {found.how}{said}"


def summary(
    taken: Sequence[Mutant], found: Mapping[str, Found], excused: Mapping[str, str]
) -> Iterator[str]:
    """The page at the end: survivors with the rules that they hide in, and counts."""
    survivors = [m for m in taken if m.name in found and found[m.name].by is None]
    if survivors:
        yield "\nSurvivors, with the rules that they hide in"
    for mutant in survivors:
        yield f"  {mutant.name}"
        yield f"    line {mutant.change.line}: {_rules(mutant)}"
    yield "\n  module                 mutants  found out  equivalent  survive"
    modules = Counter(mutant.function.module for mutant in taken)
    lost = Counter(mutant.function.module for mutant in survivors)
    same = Counter(m.function.module for m in taken if m.name in excused)
    for module, count in sorted(modules.items()):
        seen = count - lost[module] - same[module]
        yield f"  {module:22} {count:7}  {seen:9}  {same[module]:10}  {lost[module]:7}"
    by = Counter(_source(one) for one in found.values() if one.by is not None)
    yield "\nFound out by: " + ", ".join(f"{name} {count}" for name, count in by.most_common())
    caught, rules = sum(by.values()), {rule for mutant in taken for rule in mutant.rules}
    share = 100 * caught / len(found) if found else 100.0
    yield (
        f"{len(taken)} mutants in {len(rules)} rules: {caught} of {len(found)} found out"
        f" ({share:.1f} %), {len(excused)} equivalent,"
        f" {sum(one.seconds for one in found.values()):.0f} s of CPU"
    )


def _rules(mutant: Mutant) -> str:
    more = len(mutant.rules) - _SHOWN
    named = ", ".join(mutant.rules[:_SHOWN]) or "no rule names it"
    return f"{named} and {more} more" if more > 0 else named


def _source(found: Found) -> str:
    by = found.by or ""
    return "unit tests" if "::" in by or by.endswith(".py") else by.partition(":")[0]
