"""Signatures of known issues: each has few, and none has another's.

The programs are those that docs/semantics.md names for each; the model that follows the
issue stands for the kernel, the strict one expects.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

from documented import Example, run, run_usual

from harness.comparison.compare import compare
from harness.signature import Signature, signature_of
from harness.specification import Rule, specification

ISSUES = [rule for rule in specification() if rule.name.startswith("quirk.")]


def signatures(rule: Rule) -> Counter[Signature]:
    """How many configurations of the issue's programs part with each signature."""
    quirk = rule.words.split("`")[1]
    found: Counter[Signature] = Counter()
    for text, mark in rule.workloads:
        example = Example(text, iomap=mark == "iomap", placed=mark != "unplaced")
        followed = run(example, quirks=frozenset({quirk})).traces
        for strict, kernel in zip(run_usual(example).traces, followed, strict=True):
            signature = signature_of(compare(strict, kernel))
            if signature is not None:
                found[signature] += 1
    return found


@cache
def found_of_all() -> dict[str, Counter[Signature]]:
    """The signatures of each issue."""
    return {rule.name: signatures(rule) for rule in ISSUES}


SHARED = {
    "result: other where it was zeroed last, read",
    "result: other where it was written last, read",
    "extents: unwritten instead of written, writeback",
}
"""Where the step that shows an issue is an ordinary one, long after the one that is to blame."""


def test_no_two_issues_share_a_signature_but_where_no_rule_tells_the_situation() -> None:
    owners: dict[Signature, set[str]] = {}
    for name, found in found_of_all().items():
        for signature in found:
            owners.setdefault(signature, set()).add(name)
    shared = {signature.text for signature, names in owners.items() if len(names) > 1}
    assert shared <= SHARED


def test_an_issue_has_few_signatures() -> None:
    assert sum(len(found) > 0 for found in found_of_all().values()) >= 6
    for name, found in found_of_all().items():
        assert len(found) <= 4, (name, {s.text: n for s, n in found.items()})


def test_the_write_that_moves_the_size_has_one() -> None:
    found = found_of_all()["quirk.efault-beyond-eof"]
    (first, hits), *rest = found.most_common()
    assert first.text == "size: larger (write.bh.no-bytes-past-eof)"
    assert hits > 5 * sum(count for _, count in rest)
