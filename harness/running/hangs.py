"""A kernel that never comes back from an operation, where the model says that it won't.

Nobody sees what such an operation did, so it is enough that the model, following the kernel's known
issues, finds no end to it either: with the blocks that nobody saw where they would be adjacent to
the ones before them, or apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from harness.errors import EndlessError, NotModelledError
from harness.known_issue import KnownIssue
from harness.trace import APART, Extent, Placement, Reference, Trace, placement_of
from workloads.workload import Workload

__all__ = ["UNSEEN", "foretold"]

UNSEEN = "the kernel never came back from the step before, as the model says"


def foretold(
    reference: Reference, workload: Workload, seen: Trace, hang: str, issues: Iterable[KnownIssue]
) -> KnownIssue | None:
    """The issue for which the kernel that has shown `seen` did not come back from the next
    operation of `workload`; `hang` says where it is blocked. None if none of `issues` is one."""
    listed = list(issues)
    quirks = frozenset(issue.quirk for issue in listed if issue.quirk is not None)
    done, before = len(seen.steps), placement_of(seen)
    for issue in listed:
        if issue.hang is None or not re.search(issue.hang, hang):
            continue
        if _is_endless(reference, workload, before[:done], quirks):
            return None  # the model has it hang sooner than the kernel did
        nowhere: tuple[dict[str, tuple[Extent, ...]], ...] = ({}, {APART: ()})
        for places in nowhere:
            if _is_endless(reference, workload, (*before[:done], places), quirks):
                return issue
    return None


def _is_endless(
    reference: Reference, workload: Workload, placement: Placement, quirks: frozenset[str]
) -> bool:
    """Whether one of the operations that `placement` tells of has no end."""
    part = msgspec.structs.replace(workload, ops=workload.ops[: len(placement)])
    try:
        reference.run(part, placement, quirks)
    except EndlessError:
        return True
    except NotModelledError:
        pass
    return False
