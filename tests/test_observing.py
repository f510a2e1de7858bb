"""Programs that are observed only at their end: what is compared, counted, and looked at again."""

from __future__ import annotations

import collections
import os
import re
from functools import partial
from pathlib import Path

import msgspec
import pytest
from fakes import RELEASE, FakeSubject, make_trace, make_workload, seen
from told import FORMATS

from harness.artifacts.artifact import keep
from harness.artifacts.read import open_artifact
from harness.comparison.compare import compare
from harness.errors import NotModelledError
from harness.lab import Lab
from harness.observing import UNFORETOLD
from harness.pairs import Pair
from harness.recordings.recheck import jobs_of, judge
from harness.sides.side import Choice
from harness.trace import (
    Complaint,
    ComplaintKind,
    Observe,
    Placement,
    Step,
    Trace,
    placement_of,
    unobserved_step,
)
from harness.verdict import Outcome
from reports.steps import step_table
from reports.summary import digest, summarise
from reports.terminal import explain, headline
from vm.agent import session
from vm.agent.files import Files
from vm.agent.session import Steps
from vm.errors import KernelPanicError, QemuError
from vm.tracepoints import Tracepoints
from vm.transcript import Transcript
from workloads.workload import Workload

RECORDINGS = Path(__file__).with_name("recordings")
WRONG = Step(0, (), seen(size=8192))
WORKLOAD = make_workload()
PARALLEL = "pwrite a 0 4k; parallel; pwrite a 0 4k; and; fsync a; end"


def at_end(trace: Trace) -> Trace:
    """`trace` as a subject tells it that looks after the last operation only."""
    early = tuple(unobserved_step(step.result, step.threads) for step in trace.steps[:-1])
    return msgspec.structs.replace(trace, steps=early + trace.steps[-1:])


class Kernel(FakeSubject):
    """A kernel that looks when it is told to, and notes when that was."""

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        self.looked = [*getattr(self, "looked", []), self.observe]
        trace = super().run(workload, placement, quirks)
        return trace if self.observe is Observe.STEPS else at_end(trace)


def lab_of(*steps: dict[int, Step], observe: Observe = Observe.END) -> tuple[Lab, Kernel]:
    """A lab whose kernel shows the `steps` of each run, the last ones again and again."""
    shows = [partial(make_trace, subject="guest", kernel=RELEASE, steps=s) for s in steps or ({},)]
    kernel = Kernel("guest", shows)
    model = FakeSubject("model", [make_trace])
    lab = Lab(Pair(model, kernel, choice=Choice(observe=observe)))
    lab.prepare()
    return lab, kernel


# --- what is compared ------------------------------------------------------------------------


def test_the_result_of_every_step_and_the_last_observation_are_compared() -> None:
    for at, field in ((0, "result"), (2, "size")):
        lab, _ = lab_of({at: msgspec.structs.replace(WRONG, result=1 if at == 0 else 0)})
        (first, *_) = lab.run(WORKLOAD).verdict.mismatches
        assert (first.place, first.field) == (at, field)


def test_what_is_not_compared_is_counted_and_shown() -> None:
    lab, _ = lab_of()
    compared = lab.run(WORKLOAD)
    assert compared.verdict.outcome is Outcome.AGREE
    reason = "only the end was observed"
    counts = compared.verdict.not_compared
    assert counts["observation", reason] == counts["events", reason] == 2
    shown = "\n".join(summarise([digest(compared.verdict, "a", 0.0)]))
    assert re.search(f"observation +2 times +{reason}", shown)
    assert sum("(not observed)" in line for line in step_table(compared)) == 2
    assert "observed at their end only" in lab.pair.header()[0]


def test_a_difference_in_the_middle_that_the_end_does_not_show_is_not_seen() -> None:
    lab, kernel = lab_of({1: WRONG})
    assert lab.run(WORKLOAD).verdict.outcome is Outcome.AGREE
    assert kernel.looked == [Observe.END]


# --- what is looked at again -----------------------------------------------------------------


def test_a_mismatch_is_run_again_with_everything_observed_so_that_it_has_its_step() -> None:
    lab, kernel = lab_of({2: WRONG}, {1: WRONG, 2: WRONG})
    found = lab.run(WORKLOAD)
    assert kernel.looked == [Observe.END, Observe.STEPS]
    assert found.verdict.mismatches[0].place == 1
    assert found.verdict.note == ""
    assert lab.pair.actual.observe is Observe.STEPS


def test_a_mismatch_that_only_the_end_showed_stays_one_and_says_so(tmp_path: Path) -> None:
    lab, _ = lab_of({2: WRONG}, {})
    found = lab.run(WORKLOAD)
    assert found.verdict.outcome is Outcome.MISMATCH
    assert "observed after every step, the same program agrees" in headline(found.verdict)
    assert "before step 3" not in explain(found)  # nobody looked there
    folder = keep(found, lab.pair, tmp_path / "artifact", explain(found))
    assert "--observe end workload.ops" in (folder / "README.txt").read_text()
    with open_artifact(folder) as artifact:
        assert artifact.manifest.observe is Observe.END


def test_what_the_model_could_not_know_at_the_end_is_no_mismatch_and_counted() -> None:
    """The kernel does the same both times; the model foretells that when it knows the steps."""
    lab, kernel = lab_of({2: WRONG})
    foretold = lab.pair.expected
    assert isinstance(foretold, FakeSubject)
    knowing = partial(make_trace, subject="model", steps={2: WRONG})
    foretold._left = [make_trace, knowing]
    verdict = lab.run(WORKLOAD).verdict
    assert kernel.looked == [Observe.END, Observe.STEPS]
    assert (verdict.outcome, verdict.note) == (Outcome.AGREE, "")
    assert verdict.not_compared["size", UNFORETOLD] == 1


def test_a_panic_in_the_second_run_is_the_mismatch() -> None:
    lab, kernel = lab_of({2: WRONG})
    kernel._left.append(KernelPanicError("it panicked"))
    assert lab.run(WORKLOAD).verdict.mismatches[0].field == "kernel"


def test_a_second_run_that_breaks_down_is_said() -> None:
    lab, kernel = lab_of({2: WRONG})
    kernel._left.append(QemuError("it is gone"))
    verdict = lab.run(WORKLOAD).verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.note.endswith("could not be judged: QemuError: it is gone")


def test_what_the_end_alone_does_not_tell_is_judged_by_the_steps() -> None:
    """Also if the kernel's log is full of what may be a known issue's."""
    lab, kernel = lab_of({})
    foretold = lab.pair.expected
    assert isinstance(foretold, FakeSubject)
    foretold._left = [NotModelledError("little space"), make_trace]
    complaint = Complaint(ComplaintKind.EXT4, "Data will be lost")
    logged = partial(make_trace, subject="guest", kernel=RELEASE)
    trace = logged(WORKLOAD)
    assert trace.final is not None
    final = msgspec.structs.replace(trace.final, log=(complaint,))
    kernel._left = [msgspec.structs.replace(trace, final=final), logged]
    verdict = lab.run(WORKLOAD).verdict
    assert kernel.looked == [Observe.END, Observe.STEPS]
    assert (verdict.outcome, verdict.note) == (Outcome.AGREE, "")


@pytest.mark.parametrize("line", ["pwrite a 0 4k; shutdown 1", PARALLEL])
def test_programs_whose_verdict_needs_every_step_are_observed_so(line: str) -> None:
    lab, kernel = lab_of()
    lab.run(make_workload(line))
    assert kernel.looked == [Observe.STEPS]


def test_without_the_option_everything_is_observed() -> None:
    lab, kernel = lab_of(observe=Observe.STEPS)
    assert lab.run(WORKLOAD).verdict.not_compared == {}
    assert kernel.looked == [Observe.STEPS]


# --- the model, held against recordings of kernels -------------------------------------------


@pytest.mark.parametrize("name", ["bh73-rand", "iomap-rand"])
def test_the_model_foretells_the_end_of_recorded_programs_without_what_came_between(
    name: str,
) -> None:
    path = RECORDINGS / f"{name}.jsonl.xz"
    outcomes: collections.Counter[Outcome] = collections.Counter()
    for job in jobs_of(path)[:20]:
        case = job.case()
        ended = msgspec.structs.replace(case, trace=at_end(case.trace))
        whole, end = judge(case).verdict, judge(ended).verdict
        if whole.outcome in (Outcome.AGREE, Outcome.KNOWN):
            assert end.outcome in (Outcome.AGREE, whole.outcome), headline(end)
            outcomes[end.outcome] += 1
        assert None in placement_of(ended.trace)
    assert outcomes[Outcome.AGREE] > 10


def test_a_wrong_end_of_a_recorded_program_is_found() -> None:
    path = RECORDINGS / "bh73-rand.jsonl.xz"
    case = jobs_of(path)[0].case()
    trace = at_end(case.trace)
    last = trace.steps[-1]
    (name, file), *_ = last.observation.files.items()
    longer = msgspec.structs.replace(file, size=(file.size or 0) + 1)
    observation = msgspec.structs.replace(
        last.observation, files={**last.observation.files, name: longer}
    )
    steps = (*trace.steps[:-1], msgspec.structs.replace(last, observation=observation))
    wrong = msgspec.structs.replace(trace, steps=steps)
    found = judge(msgspec.structs.replace(case, trace=wrong)).verdict
    assert [(m.place, m.field) for m in found.headline] == [(len(steps) - 1, "size")]


def test_two_traces_observed_at_the_end_compare() -> None:
    trace = at_end(make_trace(WORKLOAD))
    assert compare(trace, trace).mismatches == ()


# --- the guest's side -------------------------------------------------------------------------


class Watch:
    """What watches a kernel, without one: notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tracer = self.log = self.settler = self
        self.injector = None

    def drain(self) -> bytes:
        self.asked.append("drain")
        return b"events"

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def read(self) -> list[str]:
        return []

    def settle(self) -> None:
        self.asked.append("settle")


class Mounted:
    """A mounted file system that is a directory."""

    def __init__(self, root: Path, watch: Watch) -> None:

        self.root, self.device, self.files, self._watch = (
            str(root),
            "/dev/null",
            Files(str(root)),
            watch,
        )

    def remount(self) -> None:
        """Nothing."""

    def observe(self, shut_down: bool) -> dict[str, object]:
        self._watch.asked.append("observe")
        return {"raw": [b"seen"]}


def test_the_agent_looks_after_the_last_operation_only_and_settles_after_each(
    tmp_path: Path,
) -> None:
    watch = Watch()
    ops = msgspec.to_builtins(make_workload("pwrite a 0 4k; pwrite a 4k 4k; pwrite a 8k 4k").ops)
    steps = Steps(list(ops), Mounted(tmp_path, watch), watch)  # type: ignore[arg-type]
    rows = []
    while not steps.over:
        rows.append(steps.next(look=steps.last))
    assert [sorted(row) for row in rows[:2]] == [["result", "step"]] * 2
    before = [((tmp_path / "a").stat().st_ino, "a")]
    told = {"trace": len(b"events"), "raw": [b"events", b"seen"], "before": before}
    assert rows[2] == {"step": 2, "result": 4096, **told}
    # what the tracer holds of the steps before is no part of the last one's
    look = ["drain", "resume"]
    assert watch.asked == [*look, "settle", "pause", "settle", *look, "settle", "drain", "observe"]


@pytest.mark.parametrize("twice", [True, False])
def test_files_are_read_after_the_last_mount_and_if_each_step_counts_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twice: bool
) -> None:
    class Disk(Mounted):
        def umount(self) -> None:
            told.append({"did": "umount"})

        def mount(self) -> None:
            told.append({"did": "mount"})

        def observe(self, shut_down: bool = False) -> dict[str, object]:
            return {"raw": [b"seen"]}

    told: list[dict[str, object]] = []
    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(session, "drop_caches", lambda: told.append({"did": "drop_caches"}))
    watch = Watch()
    final, seen = session._final(
        Disk(tmp_path, watch),  # type: ignore[arg-type]
        told.append,
        watch,  # type: ignore[arg-type]
        shut_down=False,
        twice=twice,
    )
    assert seen == {"raw": [b"seen"]}
    assert final["content"] == {"a": {"size": 1, "whole": True}}
    assert final["dropped"] == (final["content"] if twice else None)
    did = [row.get("did") or row.get("data") for row in told if "phase" not in row]
    before = ["drop_caches", "dropped"] if twice else []
    assert did == [*before, "umount", "mount", "content", "umount"]


def test_at_the_end_caches_are_dropped_once_the_flusher_thread_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once in 13 runs on 7.3.4: a page past EOF that sync(2) leaves to the flusher thread
    was still dirty, so the inode stayed, with the size that a failed write had given it."""

    class Disk(Mounted):
        def umount(self) -> None:
            """Nothing."""

        mount = umount

        def observe(self, shut_down: bool = False) -> dict[str, object]:
            return {}

    watch = Watch()
    monkeypatch.setattr(os, "sync", lambda: watch.asked.append("sync"))
    monkeypatch.setattr(session, "drop_caches", lambda: watch.asked.append("drop_caches"))
    session._final(
        Disk(tmp_path, watch),  # type: ignore[arg-type]
        lambda _row: None,
        watch,  # type: ignore[arg-type]
        shut_down=False,
        twice=True,
    )
    assert watch.asked == ["sync", "settle", "drop_caches"]


def test_a_row_without_observation_is_an_unobserved_step() -> None:
    workload = make_workload("sync; sync")
    transcript = Transcript(workload, Tracepoints(FORMATS), "guest", RELEASE, observe=Observe.END)
    transcript.take({"start": True, "observation": {"files": {}}})
    transcript.take({"step": 0, "result": 0})
    transcript.take({"step": 1, "result": 0, "trace": 0, "observation": {"files": {}}})
    trace = transcript.trace()
    assert trace is not None
    assert [step.observed for step in trace.steps] == [False, True]
