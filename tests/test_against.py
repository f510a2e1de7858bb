"""Two kernels on one workload: who runs what, what ends it, and what is said of it."""

from __future__ import annotations

import msgspec
import pytest
from fakes import RELEASE, FakeSubject, make_trace, make_workload, seen
from test_differences import EXAMPLES
from test_differences import seen as side

from harness import pairs
from harness.against.against import Against
from harness.against.settle import settle
from harness.differences.table import INTENDED
from harness.known import KNOWN_ISSUES
from harness.pairs import make_pair
from harness.running.runner import Runner
from harness.sides.side import Choice
from harness.trace import Step, Trace
from harness.verdict import Compared, Mismatch, Outcome
from reports.steps import step_table
from reports.summary import digest, summarise
from reports.terminal import explain
from vm.errors import GuestHangError, ImageError, KernelPanicError
from workloads.workload import Workload

WRONG = Step(result=7, events=(), observation=seen())
SHORT = "pwrite a 0 4k; fsync a"


def answer(**changes: object):
    """A side that answers with a trace of whatever it is asked."""
    return lambda workload: make_trace(workload, "kernel", RELEASE, **changes)


def model():
    return FakeSubject("model", [make_trace])


def against(expected, actual, *, models=None) -> Against:
    return Against(
        FakeSubject("base", [expected]),
        FakeSubject("kernel", [actual]),
        models or (model(), model()),
    )


def run(expected, actual, line: str = SHORT):
    return against(expected, actual).run(make_workload(line))


def test_kernels_that_do_the_same_agree_and_no_model_is_needed():
    refusing = FakeSubject("model", [GuestHangError("not to be asked")])
    compared = against(answer(), answer(), models=(refusing, refusing)).run(make_workload(SHORT))
    assert compared.verdict.outcome is Outcome.AGREE
    assert compared.verdict.subjects == ("base", "kernel")
    assert compared.verdict.kernels == (RELEASE, RELEASE)


def test_kernels_that_are_wrong_alike_agree():
    wrong = answer(steps={0: WRONG})
    assert run(wrong, wrong).verdict.outcome is Outcome.AGREE


def test_a_difference_that_the_model_does_not_predict_is_a_mismatch():
    compared = run(answer(), answer(steps={0: WRONG}))
    verdict = compared.verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.headline == (
        Mismatch(
            0, "pwrite a 0 4k", None, "result", 0, 7, ("by the model both should be the same",)
        ),
    )
    text = explain(compared)
    assert "base and kernel differ at step 1 of 2" in text
    assert "What the model says of both\n  - by the model both should be the same" in text
    assert f"base: kernel {RELEASE}" in text


def panic(trace: Trace | None) -> KernelPanicError:
    return KernelPanicError("BUG: unable to handle page fault", trace, "report")


@pytest.mark.parametrize("who", ["base", "kernel"])
def test_a_panic_of_either_kernel_is_a_finding_at_its_step(who):
    def dies(workload: Workload) -> Trace:
        whole = make_trace(workload, "kernel", RELEASE)
        raise panic(msgspec.structs.replace(whole, steps=whole.steps[:1], final=None))

    compared = run(*((dies, answer()) if who == "base" else (answer(), dies)))
    (found,) = compared.verdict.mismatches
    assert (found.place, found.field, found.expected) == (1, "kernel", "goes on")
    assert found.actual == f"{who}: BUG: unable to handle page fault"


def test_a_panic_at_mount_is_a_finding_too():
    verdict = run(answer(), panic(None)).verdict
    assert [(m.place, m.field) for m in verdict.mismatches] == [("start", "kernel")]


def test_what_differs_before_a_panic_is_judged():
    def dies(workload: Workload) -> Trace:
        whole = make_trace(workload, "kernel", RELEASE, {0: WRONG})
        raise panic(msgspec.structs.replace(whole, steps=whole.steps[:1], final=None))

    fields = [m.field for m in run(answer(), dies).verdict.mismatches]
    assert fields == ["result", "kernel"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(GuestHangError("no answer"), Outcome.BROKEN), (ImageError("too small"), Outcome.UNUSABLE)],
)
def test_what_is_no_fault_of_a_kernel_says_which_side_it_was(error, outcome):
    verdict = run(error, answer()).verdict
    assert verdict.outcome is outcome
    assert "base: " in (verdict.broken or "") + (verdict.unusable or "")


def test_complaints_count_against_either_kernel():
    workload = make_workload(SHORT)
    final = msgspec.structs.replace(make_trace(workload).final, fsck="Free blocks count wrong")
    for sides in ((answer(final=final), answer()), (answer(), answer(final=final))):
        (found,) = run(*sides).verdict.mismatches
        assert found.field == "fsck"
        assert "Free blocks count wrong" in str(found.actual)


def test_a_kernel_without_iomap_takes_its_only_path_where_the_other_takes_both():
    old, new = FakeSubject("base", [answer()]), FakeSubject("kernel", [answer()], iomap=True)
    workload = make_workload(SHORT, "4k@delalloc,buffered_iomap")
    assert Against(old, new, (model(), model())).run(workload).verdict.outcome is Outcome.AGREE
    assert old.runs[0][0].config.mount == "delalloc"
    assert new.runs[0][0].config.mount == "delalloc,buffered_iomap"


# --- what --against makes ---------------------------------------------------------------


@pytest.fixture
def kernels(monkeypatch):
    """What was asked for: the specification of each kernel."""
    asked: list[str | None] = []

    def maker(spec: str | None, _choice: Choice) -> FakeSubject:
        asked.append(spec)
        return FakeSubject("guest", [answer()], iomap=True)

    monkeypatch.setitem(pairs.MAKERS, "kernel", maker)
    return asked


def test_the_model_is_the_default_and_expects(kernels):
    pair = make_pair("model", Choice("bzImage"))
    assert kernels == ["bzImage"]
    assert pair.expected.is_model
    assert isinstance(pair.runner(), Runner)


@pytest.mark.parametrize(
    ("against", "names", "paths"),
    [
        ("path:buffer_head", ("buffer_head", "iomap"), ("bh", "iomap")),
        ("path:iomap", ("iomap", "buffer_head"), ("iomap", "bh")),
    ],
)
def test_a_path_is_held_against_the_other_one_of_the_same_kernel(kernels, against, names, paths):
    pair = make_pair(against, Choice("bzImage"))
    assert kernels == ["bzImage", "bzImage"]
    assert tuple(side.name for side in pair.sides) == names
    assert tuple(side.forced_path for side in pair.sides) == paths
    assert isinstance(pair.runner(), Against)
    assert "two paths of one kernel" in pair.header()[0]


def test_another_kernel_is_the_base(kernels):
    pair = make_pair("debian:trixie", Choice("tree:/x"))
    assert kernels == ["tree:/x", "debian:trixie"]
    assert [side.name for side in pair.sides] == ["base", "kernel"]
    assert pair.paths() == ("bh", "iomap")


# --- reports ----------------------------------------------------------------------------


def test_intended_differences_are_shown_by_step_and_counted_by_name():
    one, other = EXAMPLES["short-write-gives-back"][0].traces()
    compared = Compared(settle(side(one), side(other)), one, other)
    assert step_table(compared)[1].startswith(" i ")
    text = explain(compared)
    assert "  short-write-gives-back: 2 fields and 5 that follow, first at step 1 of 1" in text
    assert "    buffer_head: what was reserved for the rest stays delayed" in text
    digests = [digest(compared.verdict, name, 0.1) for name in ("x", "y")]
    page = "\n".join(summarise(digests))
    assert "Intended differences\n  short-write-gives-back in 2 workloads, 4 fields and 10" in page


def test_the_names_of_known_issues_and_of_entries_do_not_meet():
    assert not {entry.name for entry in INTENDED} & {issue.name for issue in KNOWN_ISSUES}
