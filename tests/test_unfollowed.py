"""A run of the model that asked for no known issue is the run that follows all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.known import applicable
from harness.recordings.recheck import jobs_of
from harness.running.unfollowed import Unfollowed
from harness.trace import placement_of

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.mark.parametrize("name", ["bh73-rand", "bh73-focus", "iomap-rand"])
def test_what_asked_for_no_issue_runs_the_same_with_all_of_them(name):
    asked = 0
    jobs = jobs_of(RECORDINGS / f"{name}.jsonl.xz")[:60]
    for job in jobs:
        case = job.case()
        workload, placement = case.trace.workload, placement_of(case.trace)
        issues = frozenset(
            issue.quirk for issue in applicable(case.trace.kernel, workload) if issue.quirk
        )
        unfollowed = Unfollowed()
        strict = case.reference().run(workload, placement, unfollowed)
        if unfollowed.asked(issues):
            asked += 1
        else:
            assert case.reference().run(workload, placement, issues) == strict, workload.name
    assert 0 < asked < len(jobs)


def test_nobody_has_asked_for_an_issue_that_is_not_listed():
    unfollowed = Unfollowed()
    assert "one" not in unfollowed
    assert not unfollowed.asked(())
    assert not unfollowed.asked(("other",))
    assert unfollowed.asked(("other", "one"))
