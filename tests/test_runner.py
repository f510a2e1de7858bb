"""The runner keeps findings, known issues, refusals and broken machinery apart."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from fakes import LINE, RELEASE, FakeSubject, make_trace, make_workload, seen

from harness.errors import MachineryError, NotModelledError, UsageError
from harness.known import KNOWN_ISSUES
from harness.running.runner import Runner
from harness.trace import (
    Complaint,
    ComplaintKind,
    Extent,
    State,
    Step,
    Trace,
    placement_of,
)
from harness.verdict import Outcome, Verdict
from vm.errors import KernelPanicError
from workloads.workload import Workload

QUIRK = "efault_beyond_eof_moves_size"
NAME = "efault-beyond-eof-moves-size"
STUCK = Step("EFAULT", (), seen(size=8192))
BEYOND = Step("EFAULT", (), seen(size=8192, reserved=7))
FIRED = Step("EFAULT", (), seen(size=8192), quirks=(QUIRK,))


@dataclasses.dataclass
class FakeModel:
    """A reference with one trace for the strict run and one for the run with quirks."""

    strict: Trace | Exception
    quirky: Trace | Exception | None = None
    name: str = "model"
    runs: list[tuple[Workload, object, frozenset[str]]] = dataclasses.field(default_factory=list)

    def run(self, workload, placement, quirks) -> Trace:
        self.runs.append((workload, placement, quirks))
        answer = self.quirky if quirks and self.quirky is not None else self.strict
        if isinstance(answer, Exception):
            raise answer
        return cut(answer, workload)


def cut(trace: Trace, workload: Workload) -> Trace:
    """The trace cut to the workload's operations, as a model that runs fewer gives it."""
    done = len(workload.ops)
    final = trace.final if done == len(trace.steps) else None
    return make_trace(
        workload, trace.subject, trace.kernel, dict(enumerate(trace.steps[:done])), final=final
    )


def kernel_trace(steps: dict[int, Step] | None = None, **fields) -> Trace:
    return make_trace(subject="guest", kernel=RELEASE, steps=steps, **fields)


ISSUES = [issue for issue in KNOWN_ISSUES if issue.quirk in (QUIRK, None)]
"""The one that the tests play, and those that only the log shows."""


def judge(model: FakeModel, *answers) -> Runner:
    return Runner(model, FakeSubject("guest", answers), ISSUES)


def test_the_kernel_runs_first_and_the_model_gets_its_placement(workload):
    where = Step(0, (), seen(extents=(Extent(0, 4096, State.WRITTEN, 123 << 12),)))
    actual = kernel_trace({2: where})
    model = FakeModel(make_trace())
    compared = judge(model, actual).run(workload)
    assert model.runs[0][1] == placement_of(actual)
    assert compared.actual is actual
    assert compared.verdict.kernel == RELEASE


def test_agreement(workload):
    compared = judge(FakeModel(make_trace()), kernel_trace()).run(workload)
    assert compared.verdict.outcome is Outcome.AGREE
    assert compared.verdict.gone == ()


def test_another_kernel_can_be_the_reference(workload):
    other = FakeSubject("base", [make_trace(subject="base", steps={1: STUCK})])
    verdict = Runner(other, FakeSubject("guest", [kernel_trace()])).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.subjects == ("base", "guest")


# --- known issues ---------------------------------------------------------------------


def test_what_agrees_once_the_known_issue_is_followed_is_known(workload):
    model = FakeModel(make_trace(), make_trace(steps={1: FIRED}))
    compared = judge(model, kernel_trace({1: STUCK})).run(workload)
    assert compared.verdict.outcome is Outcome.KNOWN
    assert compared.verdict.known == (NAME,)
    assert model.runs[1][2] == {QUIRK}
    assert compared.expected is not None
    assert compared.expected.steps[1].quirks == (QUIRK,)


def test_what_differs_after_a_known_issue_is_a_mismatch_against_the_model_that_follows_it(workload):
    model = FakeModel(make_trace(), make_trace(steps={1: FIRED}))
    other = Step(0, (), seen(reserved=9))
    verdict = judge(model, kernel_trace({1: STUCK, 2: other})).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert [(m.place, m.field) for m in verdict.headline] == [(2, "reserved")]
    assert verdict.known == (NAME,)


def test_a_model_that_did_not_ask_for_a_known_issue_runs_once(workload):
    class Direct(FakeModel):
        def run(self, workload, placement, quirks):
            assert "another" not in quirks  # no known issue of this kernel
            self.runs.append((workload, placement, quirks))
            return make_trace(workload)

    model = Direct(make_trace())
    verdict = judge(model, kernel_trace({1: STUCK})).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert len(model.runs) == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda quirks: QUIRK in quirks,
        lambda quirks: not quirks.isdisjoint((QUIRK, "other")),
        bool,
        list,
    ],
)
def test_a_model_that_asked_in_whatever_way_is_run_with_the_issue(workload, ask):
    class Asking(FakeModel):
        def run(self, workload, placement, quirks):
            self.runs.append((workload, placement, quirks))
            return cut(self.quirky if ask(quirks) else self.strict, workload)

    model = Asking(make_trace(), make_trace(steps={1: FIRED}))
    compared = judge(model, kernel_trace({1: STUCK})).run(workload)
    assert compared.verdict.known == (NAME,)


def test_a_quirk_that_does_not_fire_explains_nothing(workload):
    silent = Step("EFAULT", (), seen(size=8192))
    model = FakeModel(make_trace(), make_trace(steps={1: silent}))
    verdict = judge(model, kernel_trace({1: STUCK})).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.known == ()


def test_a_quirk_that_fires_after_the_first_divergence_explains_nothing(workload):
    late = Step(0, (), seen(), quirks=(QUIRK,))
    model = FakeModel(make_trace(), make_trace(steps={1: STUCK, 2: late}))
    verdict = judge(model, kernel_trace({1: STUCK})).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH


def test_another_difference_in_the_same_step_is_a_mismatch_against_the_strict_model(workload):
    worse = Step("EFAULT", (), seen(size=8192, reserved=7))
    model = FakeModel(make_trace(), make_trace(steps={1: FIRED}))
    verdict = judge(model, kernel_trace({1: worse})).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.known == ()


def test_an_issue_that_should_show_and_does_not_is_reported(workload):
    model = FakeModel(make_trace(), make_trace(steps={1: FIRED}))
    verdict = judge(model, kernel_trace()).run(workload).verdict
    assert verdict.outcome is Outcome.AGREE
    assert verdict.gone == (NAME,)


def test_an_older_kernel_gets_no_quirk(workload):
    model = FakeModel(make_trace(), make_trace(steps={1: FIRED}))
    old = make_trace(subject="guest", kernel="6.12.48", steps={1: STUCK})
    verdict = judge(model, old).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert len(model.runs) == 1


@dataclasses.dataclass
class TwoQuirks:
    """A model with two quirks: `QUIRK` shows in step 0, `OTHER` in step 1."""

    name: str = "model"

    def run(self, workload, placement, quirks) -> Trace:
        steps = {}
        if QUIRK in quirks:
            steps[0] = Step(0, (), seen(blocks=99), quirks=(QUIRK,))
        if OTHER in quirks:
            steps[1] = Step("EFAULT", (), seen(size=8192), quirks=(OTHER,))
        return make_trace(steps=steps)


OTHER = "another_bug"
TWO = (
    KNOWN_ISSUES[0],
    msgspec.structs.replace(KNOWN_ISSUES[0], name="another-bug", quirk=OTHER),
)


def test_of_two_issues_only_the_one_that_explains_is_followed_and_the_other_is_gone(workload):
    runner = Runner(TwoQuirks(), FakeSubject("guest", [kernel_trace({1: STUCK})]), TWO)
    verdict = runner.run(workload).verdict
    assert verdict.outcome is Outcome.KNOWN
    assert (verdict.known, verdict.gone) == (("another-bug",), (NAME,))


def test_two_issues_can_be_followed_together(workload):
    first = Step(0, (), seen(blocks=99))
    runner = Runner(TwoQuirks(), FakeSubject("guest", [kernel_trace({0: first, 1: STUCK})]), TWO)
    verdict = runner.run(workload).verdict
    assert verdict.outcome is Outcome.KNOWN
    assert set(verdict.known) == {NAME, "another-bug"}
    assert verdict.gone == ()


def complained(
    workload: Workload, steps: dict[int, Step], said: str, fired: Step = FIRED
) -> Verdict:
    """The verdict on a kernel with `steps` and an image of which e2fsck says `said`, where the
    issue that the model can follow, by `fired` in step 1, excuses a wrong i_blocks."""
    issue = msgspec.structs.replace(
        KNOWN_ISSUES[0], image_complaint=r"i_blocks is \d+|still has errors"
    )
    actual = kernel_trace(steps)
    actual = msgspec.structs.replace(actual, final=msgspec.structs.replace(actual.final, fsck=said))
    model = FakeModel(make_trace(), make_trace(steps={1: fired}))
    return Runner(model, FakeSubject("guest", [actual]), [issue]).run(workload).verdict


COUNTED = "Inode 12, i_blocks is 96, should be 128.  Fix? no\n* WARNING: it still has errors *"


def test_what_e2fsck_says_of_an_issue_that_was_followed_is_known(workload):
    assert complained(workload, {1: STUCK}, COUNTED).outcome is Outcome.KNOWN


def test_an_issue_that_nothing_but_the_image_shows_is_known(workload):
    unseen = msgspec.structs.replace(make_trace().steps[1], quirks=(QUIRK,))
    assert complained(workload, {}, COUNTED, unseen).known == (NAME,)
    beyond = complained(workload, {}, COUNTED + "\nFree blocks count wrong", unseen)
    assert [m.field for m in beyond.mismatches] == ["fsck"]


@pytest.mark.parametrize(
    ("steps", "said"), [({}, COUNTED), ({1: STUCK}, COUNTED + "\nFree blocks count wrong")]
)
def test_what_it_says_without_the_issue_or_beyond_it_is_a_mismatch(workload, steps, said):
    verdict = complained(workload, steps, said)
    assert [m.field for m in verdict.mismatches] == ["fsck"]


# --- refusals and failures ------------------------------------------------------------


SPOTTED = Complaint(ComplaintKind.JBD2, "JBD2: Spotted dirty metadata buffer")
ERROR = Complaint(ComplaintKind.EXT4_ERROR, "EXT4-fs error in ext4_foo")
(LOGGED,) = (i for i in KNOWN_ISSUES if i.name == "inline-growth-spotted-by-the-journal")


def complaining(log: tuple[Complaint, ...], config: str) -> Verdict:
    workload = make_workload(LINE, config)
    trace = make_trace(workload)
    assert trace.final is not None
    final = msgspec.structs.replace(trace.final, log=log)
    actual = msgspec.structs.replace(trace, subject="guest", kernel=RELEASE, final=final)
    return judge(FakeModel(trace), actual).run(workload).verdict


def test_a_complaint_that_a_known_issue_explains_is_known():
    verdict = complaining((SPOTTED,), "inline@data=journal")
    assert verdict.outcome is Outcome.KNOWN
    assert verdict.known == ("inline-growth-spotted-by-the-journal",)


@pytest.mark.parametrize(
    ("log", "config", "left"),
    [
        ((SPOTTED, ERROR), "inline@data=journal", ERROR),
        ((SPOTTED,), "4k@data=journal", SPOTTED),
        ((SPOTTED,), "inline@delalloc", SPOTTED),
    ],
)
def test_any_other_complaint_is_a_mismatch(log, config, left):
    verdict = complaining(log, config)
    assert verdict.outcome is Outcome.MISMATCH
    assert [(m.field, m.actual) for m in verdict.mismatches] == [("log", left)]


@pytest.mark.parametrize("shows", [True, False])
def test_what_an_issue_says_that_can_be_followed_is_known_only_where_it_shows(workload, *, shows):
    issue = msgspec.structs.replace(KNOWN_ISSUES[0], complaint="in ext4_foo")
    actual = kernel_trace({1: STUCK} if shows else {})
    actual = msgspec.structs.replace(
        actual, final=msgspec.structs.replace(actual.final, log=(ERROR,))
    )
    model = FakeModel(make_trace(), make_trace(steps={1: FIRED} if shows else {}))
    verdict = Runner(model, FakeSubject("guest", [actual]), [issue]).run(workload).verdict
    assert verdict.known == ((NAME,) if shows else ())
    assert [m.actual for m in verdict.mismatches] == ([] if shows else [ERROR])


def test_of_two_issues_that_say_the_same_the_first_is_named():
    second = msgspec.structs.replace(LOGGED, name="another")
    workload = make_workload(LINE, "inline@data=journal")
    trace = make_trace(workload)
    final = msgspec.structs.replace(trace.final, log=(SPOTTED,))
    actual = msgspec.structs.replace(trace, subject="guest", kernel=RELEASE, final=final)
    for issues in ([LOGGED, second], [second, LOGGED]):
        runner = Runner(FakeModel(trace), FakeSubject("guest", [actual]), issues)
        assert runner.run(workload).verdict.known == (issues[0].name,)


def test_an_issue_is_followed_past_a_complaint_that_another_one_explains():
    """The kernel complains in step 0, before the issue that the model can follow shows."""
    workload = make_workload(LINE, "inline@data=journal")
    strict = make_trace(workload)
    actual = make_trace(workload, subject="guest", kernel=RELEASE, steps={1: STUCK})
    early = msgspec.structs.replace(SPOTTED, step=0)
    actual = msgspec.structs.replace(
        actual, final=msgspec.structs.replace(actual.final, log=(early,))
    )
    verdict = (
        judge(FakeModel(strict, make_trace(workload, steps={1: FIRED})), actual)
        .run(workload)
        .verdict
    )
    assert verdict.outcome is Outcome.KNOWN
    assert verdict.known == (NAME, "inline-growth-spotted-by-the-journal")


def test_what_a_kernel_said_before_it_died_is_told_with_its_death(workload):
    trace = msgspec.structs.replace(kernel_trace(), final=None)
    panic = KernelPanicError("the kernel panicked: x", trace, "x", (ERROR,))
    verdict = judge(FakeModel(make_trace(workload)), panic).run(workload).verdict
    assert [(m.field, m.actual) for m in verdict.mismatches] == [
        ("kernel", "the kernel panicked: x"), ("log", ERROR),
    ]  # fmt: skip


def test_what_the_model_refuses_is_named_and_nothing_is_judged(workload):
    refusal = NotModelledError("pwrite on a file with inline data")
    verdict = judge(FakeModel(refusal), kernel_trace()).run(workload).verdict
    assert verdict.outcome is Outcome.NOT_MODELLED
    assert verdict.refused == str(refusal)


def test_a_complaint_is_a_finding_even_where_the_model_refuses_the_workload(workload):
    actual = kernel_trace()
    bad = msgspec.structs.replace(actual.final, fsck="Free blocks count wrong")
    actual = msgspec.structs.replace(actual, final=bad)
    verdict = judge(FakeModel(NotModelledError("quota")), actual).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert [m.field for m in verdict.mismatches] == ["fsck"]
    assert verdict.refused == "quota"


def test_a_refusal_with_quirks_leaves_the_strict_verdict(workload):
    model = FakeModel(make_trace(), NotModelledError("x"))
    verdict = judge(model, kernel_trace({1: STUCK})).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH


class Refusing(FakeModel):
    """One that with the issue goes no further than the first two operations."""

    def run(self, workload, placement, quirks) -> Trace:
        if quirks and len(workload.ops) > 2:
            raise NotModelledError("what follows the issue")
        return super().run(workload, placement, quirks)


@pytest.mark.parametrize(
    ("seen_there", "outcome"), [(STUCK, Outcome.NOT_MODELLED), (BEYOND, Outcome.MISMATCH)]
)
def test_what_the_model_refuses_behind_a_known_issue_is_no_mismatch(workload, seen_there, outcome):
    """If the issue explains the step up to which the model follows it; e2fsck may then say what
    comes with the issue."""
    model = Refusing(make_trace(), make_trace(steps={1: FIRED}))
    actual = kernel_trace({1: seen_there, 2: Step(0, (), seen(reserved=9))})
    verdict = judge(model, actual).run(workload).verdict
    assert verdict.outcome is outcome
    if outcome is Outcome.NOT_MODELLED:
        assert (verdict.refused, verdict.known) == ("what follows the issue", (NAME,))


def test_broken_machinery_is_no_mismatch(workload):
    verdict = (
        judge(FakeModel(make_trace()), MachineryError("no boot in 60 s")).run(workload).verdict
    )
    assert verdict.outcome is Outcome.BROKEN
    assert verdict.broken == "MachineryError: no boot in 60 s"


def test_an_impossible_image_is_the_workloads_fault(workload):
    verdict = judge(FakeModel(make_trace()), UsageError("image too small")).run(workload).verdict
    assert verdict.outcome is Outcome.UNUSABLE


# --- panics ---------------------------------------------------------------------------


def partial(done: int, steps: dict[int, Step] | None = None) -> Trace:
    whole = kernel_trace(steps, final=None)
    return type(whole)(
        workload=whole.workload,
        subject=whole.subject,
        start=whole.start,
        steps=whole.steps[:done],
        final=None,
        kernel=RELEASE,
    )


def test_a_panic_is_a_mismatch_at_the_step_that_did_not_return(workload):
    panic = KernelPanicError("kernel BUG at fs/ext4/inode.c:1", partial(1))
    compared = judge(FakeModel(make_trace()), panic).run(workload)
    verdict = compared.verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.steps == 1
    assert verdict.workload == workload
    (mismatch,) = verdict.mismatches
    assert (mismatch.place, mismatch.field) == (1, "kernel")
    assert mismatch.op == "pwrite_fault a 8k 4k fault=0"
    assert mismatch.actual == "kernel BUG at fs/ext4/inode.c:1"


def test_the_steps_before_a_panic_are_compared(workload):
    panic = KernelPanicError("BUG", partial(2, {1: STUCK}))
    verdict = judge(FakeModel(make_trace()), panic).run(workload).verdict
    assert {m.place for m in verdict.mismatches} == {1, 2}


def test_a_panic_after_the_last_step_is_at_the_end(workload):
    panic = KernelPanicError("BUG", partial(3))
    verdict = judge(FakeModel(make_trace()), panic).run(workload).verdict
    assert verdict.mismatches[-1].place == "final"


@pytest.mark.parametrize("trace", [None, partial(0)])
def test_a_panic_at_mount_is_a_mismatch_at_the_start(workload, trace):
    verdict = judge(FakeModel(make_trace()), KernelPanicError("BUG", trace)).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.mismatches[0].place == "start"


def test_a_panic_is_a_finding_even_where_the_model_refuses_the_workload(workload):
    panic = KernelPanicError("BUG", partial(1))
    verdict = judge(FakeModel(NotModelledError("x")), panic).run(workload).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.refused is None


def test_workloads_without_faults_are_modelled_once():
    plain = make_workload("pwrite a 0 4k")
    model = FakeModel(make_trace(plain))
    actual = make_trace(plain, "guest", RELEASE)
    assert judge(model, actual).run(plain).verdict.outcome is Outcome.AGREE
    assert len(model.runs) == 1
