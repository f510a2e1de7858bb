"""A kernel that hangs: a known issue where the model finds no end either, else a mismatch."""

from __future__ import annotations

import msgspec
import pytest
from fakes import RELEASE, make_workload
from modelled import geometry

from harness.known import KNOWN_ISSUES
from harness.known_issue import KnownIssue
from harness.running.hangs import UNSEEN
from harness.running.runner import Runner
from harness.trace import Complaint, ComplaintKind, Extent, Placement, State, Trace
from harness.verdict import Compared, Outcome
from model import Behaviour, Model
from reports.steps import step_table
from vm.errors import KernelHangError, KernelPanicError
from workloads.workload import Workload

FIVE = "; ".join(f"pwrite {name} {at * 64}k 4k" for name in "abcde" for at in range(5))
LINE = f"size: 14m; {FIVE}; falloc f 0 60m; sync; pread a 0 1"
"""Four clusters are left, kept for conversions; each file needs one for its tree. So the last block
gets a cluster, and its tree block none."""
SYNC = 26
BLOCKED = "the kernel hangs in step 27 (sync): task kworker/u4:2 is blocked in ext4_writepages"
WARNING = Complaint(ComplaintKind.WARNING, "WARNING in ext4_writepages")
TASK = Complaint(ComplaintKind.HUNG, "INFO: task hung in ext4_writepages")


class Reference:
    name = "model"

    def run(self, workload: Workload, placement: Placement | None, quirks: frozenset[str]) -> Trace:
        return Model(Behaviour(iomap=False, quirks=quirks), geometry).run(workload, placement)


class Hanging:
    """A kernel that shows what the strict model expects of `done` steps, and then ends so."""

    name = "kernel"

    def __init__(self, error: type[KernelPanicError], message: str, done: int) -> None:
        self.error, self.message, self.done = error, message, done
        self.complaints: tuple[Complaint, ...] = ()

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
        part = msgspec.structs.replace(workload, ops=workload.ops[: self.done])
        far = {"f": (Extent(0, 1 << 40, State.WRITTEN, 1 << 40),)}
        seen = Reference().run(part, (far,) * self.done, frozenset())
        trace = msgspec.structs.replace(
            seen, workload=workload, subject=self.name, kernel=RELEASE, final=None
        )
        raise self.error(self.message, trace, "", self.complaints)


def judged(
    error: type[KernelPanicError] = KernelHangError,
    message: str = BLOCKED,
    done: int = SYNC,
    complaints: tuple[Complaint, ...] = (),
    issues: tuple[KnownIssue, ...] = KNOWN_ISSUES,
) -> Compared:
    kernel = Hanging(error, message, done)
    kernel.complaints = complaints
    return Runner(Reference(), kernel, issues).run(make_workload(LINE, "bigalloc64k@delalloc"))


@pytest.mark.parametrize("message", [BLOCKED, "the kernel hangs in step 27: its 60 s are over"])
def test_a_hang_that_the_model_foretells_is_a_known_issue(message: str) -> None:
    compared = judged(message=message)
    verdict = compared.verdict
    assert (verdict.outcome, verdict.known) == (Outcome.KNOWN, ("writeback-without-end",))
    assert verdict.steps == SYNC
    assert verdict.not_compared["steps", UNSEEN] == 2
    assert step_table(compared)[-1].split() == ["k", "27", "sync", "never", "returned"]


@pytest.mark.parametrize(
    ("error", "message", "done"),
    [
        (KernelHangError, BLOCKED, SYNC - 1),
        (KernelHangError, BLOCKED, SYNC + 1),
        (KernelHangError, BLOCKED.replace("ext4_writepages", "ext4_truncate"), SYNC),
        (KernelPanicError, "kernel BUG: is blocked in ext4_writepages", SYNC),
    ],
    ids=["sooner", "later", "elsewhere", "a panic"],
)
def test_any_other_one_is_a_mismatch(
    error: type[KernelPanicError], message: str, done: int
) -> None:
    compared = judged(error, message, done)
    assert compared.verdict.outcome is Outcome.MISMATCH
    assert compared.verdict.mismatches[-1].field == "kernel"
    assert step_table(compared)[-1].startswith(" x")


def test_whoever_follows_no_known_issue_sees_a_mismatch() -> None:
    assert judged(issues=()).verdict.outcome is Outcome.MISMATCH


def test_what_the_kernel_complains_of_besides_still_counts() -> None:
    assert judged(complaints=(TASK,)).verdict.outcome is Outcome.KNOWN
    verdict = judged(complaints=(TASK, WARNING)).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert [mismatch.actual for mismatch in verdict.mismatches] == [WARNING]
