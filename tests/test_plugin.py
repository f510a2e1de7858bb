"""pytest as the engine: items, outcomes, exit status, what is kept; all with fake guests."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fakes import RELEASE

from harness.artifacts.artifact import program_of
from harness.errors import UsageError
from harness.pairs import make_pair
from harness.session import exit_status
from harness.sides.side import Choice
from harness.trace import decode
from harness.verdict import Outcome
from reports.summary import Digest
from workloads.files import load
from workloads.program import workloads

HERE = Path(__file__).parent
CONFTEST = '''
import dataclasses, os, sys, time
from pathlib import Path
import msgspec
import pytest
from fakes import *
from harness import pairs
from harness.errors import *
from harness.trace import *
from vm.errors import *

WRONG = Step("EFAULT", (), seen(size=8192))
FIRED = Step("EFAULT", (), seen(size=8192), quirks=("efault_beyond_eof_moves_size",))

def answer(workload):
    """A fake kernel, whose mood is the program's name."""
    mood = workload.program.split("-")[0]
    if mood == "panic": raise KernelPanicError("kernel BUG at fs/ext4/inode.c:1", None)
    if mood == "broken": raise GuestHangError("no answer within 60 s")
    if mood == "die": os._exit(9)
    if mood == "small": raise ImageError("image 4k: too small")
    if mood == "slow":
        Path("started").touch(); time.sleep(900)
    steps = {1: WRONG} if mood in ("wrong", "known") else {}
    return make_trace(workload, "guest", RELEASE, steps)

class Guest(FakeSubject):
    def knows_iomap(self): return bool(os.environ.get("IOMAP"))
    def header(self): return ["kernel 7.3.4 (fake), tcg, no netconsole: fake"]
    def identity(self): return {"kernel": RELEASE}
    def usable(self): return not (MOOD == "dead" and self.runs)
    def prepare(self):
        if MOOD == "slow start":
            open("started", "w").close()
            time.sleep(900)
        if MOOD == "unbootable": raise HostToolError("QEMU is missing; run: apt-get install qemu")
    def close(self):
        with open(os.environ["CLOSED"], "a") as file: file.write("closed\\n")

class Model(Side):
    name, is_model = "model", True
    def run(self, workload, placement=None, quirks=frozenset()):
        mood = workload.program.split("-")[0]
        if mood == "refused": raise NotModelledError("quota limits")
        if mood == "crash": raise KeyError("oops")
        steps = {1: FIRED} if quirks and mood == "known" else {}
        return make_trace(workload, "model", steps=steps)

@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish():
    yield
    with open(os.environ["CLOSED"], "a") as file: file.write("finished\\n")

MOOD = os.environ.get("MOOD", "")
pairs.MAKERS["kernel"] = lambda argument, choice: Guest("guest", [answer])
pairs.MAKERS["model"] = lambda argument, choice: Model()
'''
WORKLOAD = """\
show: what it would catch
on: 4k@delalloc 1k@delalloc

pwrite a 0 4k
pwrite_fault a 8k 4k fault=0
fsync a
"""


class Bench:
    """A folder with fake sides, in which pytest can be run with the plugin."""

    def __init__(self, path: Path, **env: str) -> None:
        self.path = path
        self.results = path / "results"
        (path / "conftest.py").write_text(CONFTEST)
        paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # faster, and as if nothing else were installed
            "CLOSED": str(path / "closed"),
            **env,
        }
        self.command = [sys.executable, "-m", "pytest", "-p", "harness.plugin"]
        self.command += ["--results", str(self.results)]

    def write(self, *names: str, text: str = WORKLOAD) -> Path:
        (self.path / "topic").mkdir(exist_ok=True)
        for name in names:
            path = self.path / "topic" / f"{name}.ops"
            path.write_text(text)
        return path

    def run(self, *args: str) -> Run:
        xdist = ["-p", "xdist"] if "-n" in args else []
        done = subprocess.run(
            [*self.command, *xdist, *args], cwd=self.path, env=self.env, capture_output=True,
            text=True, check=False, timeout=900,
        )  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)


@dataclasses.dataclass
class Run:
    status: int
    out: str
    err: str

    def says(self, *patterns: str) -> bool:
        """Whether lines match all of `patterns` (fnmatch), in their order."""
        lines = iter(self.out.splitlines())
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(line, pattern) for line in lines):
                raise AssertionError(f"no line like {pattern!r} (in order) in:\n{self.out}")
        return True


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


MOODS = ("broken", "crash", "fine", "known", "panic", "refused", "small", "wrong")


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> tuple[Bench, Run]:
    """One run of a program of each mood on two configurations."""
    bench = Bench(tmp_path_factory.mktemp("everything"))
    bench.write(*MOODS)
    return bench, bench.run("-v", f"--junitxml={bench.results}/junit.xml")


# --- one run with everything in it ----------------------------------------------------


def test_the_head_says_what_runs_and_that_one_path_was_not_tested(everything):
    assert everything[1].says(
        "*model : guest; the iomap path was NOT TESTED: this kernel does not know*",
        "kernel 7.3.4 (fake), tcg, no netconsole: fake",
    )


def test_progress_shows_items_by_readable_names_with_our_outcomes(everything):
    assert everything[1].says(
        "topic/broken.ops::4k@delalloc BROKEN*",
        "topic/broken.ops::1k@delalloc BROKEN*",
        "topic/crash.ops::4k@delalloc BROKEN*",
        "topic/fine.ops::4k@delalloc AGREE*",
        "topic/known.ops::4k@delalloc KNOWN*",
        "topic/panic.ops::4k@delalloc MISMATCH*",
        "topic/refused.ops::4k@delalloc NOT MODELLED*",
        "topic/small.ops::4k@delalloc UNUSABLE*",
        "topic/wrong.ops::1k@delalloc MISMATCH*100%*",
    )


def test_the_summary_counts_outcomes_by_configuration(everything):
    assert everything[1].says(
        "*= ext4diff =*",
        "*NOT TESTED*",
        "  configuration *agree*known*mismatch*not modelled*unusable*broken",
        "  4k@delalloc  *1 *1 *2 *1 *1 *2",
        "  1k@delalloc  *1 *1 *2 *1 *1 *2",
        "  all *2 *2 *4 *2 *2 *4",
        "  18 steps and * fields compared",
        "Mismatches: 2 findings in 4 workloads",
        "  2 workloads: *instead of success, write [[]*[]]",
        "    kept in *topic-wrong@4k@delalloc",
        "Known issues that showed",
        "  efault-beyond-eof-moves-size in 2 workloads: i_size moves*",
        "Refused, so not compared",
        "  2 workloads: quota limits",
        "Unusable workloads",
        "  2 workloads: image 4k: too small",
        "Broken machinery*",
        "*2 workloads: GuestHangError: no answer within 60 s",
        "*2 workloads: a fault of ext4diff itself, KeyError: 'oops'",
        "Slowest",
        "results are in *",
    )


def test_a_mismatch_is_told_in_words_without_a_traceback(everything):
    assert everything[1].says(
        "wrong@4k@delalloc: model and guest differ at step 2 of 3*",
        " >  2  pwrite_fault a 8k 4k fault=0",
        "*size *4096 *8192*",
        "Kept in: *topic-wrong@4k@delalloc",
    )
    assert "items.py:" not in everything[1].out.split("wrong@4k@delalloc: model and guest")[1]


def test_a_panic_is_told_as_a_mismatch(everything):
    assert everything[1].says("*kernel BUG at fs/ext4/inode.c:1*")


def test_a_fault_of_the_harness_shows_its_traceback(everything):
    assert everything[1].says('>*raise KeyError("oops")*')


def test_a_mismatch_leaves_a_directory_that_repeats_it(everything):
    kept = everything[0].results / "topic-wrong@4k@delalloc"
    assert {path.name for path in kept.iterdir()} == {
        "README.txt", "workload.ops", "workload.json", "expected.json", "actual.json",
        "identity.json", "kernel.log", "manifest.json", "verdict.json", "picture.svg",
        "reproduce.sh", "reproduce.c",
    }  # fmt: skip
    assert "differ at step 2" in (kept / "README.txt").read_text()
    assert decode((kept / "actual.json").read_bytes()).kernel == RELEASE
    original = load(everything[0].path / "topic" / "wrong.ops")
    assert load(kept / "workload.ops").ops == original.ops


def test_junit_keeps_errors_failures_and_refusals_apart_and_has_properties(everything):
    suite = ET.parse(everything[0].results / "junit.xml").getroot()[0]
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "16", "failures": "4", "errors": "6", "skipped": "2"}
    case = suite.find(".//testcase[failure]")
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert case is not None
    assert properties["outcome"] == "mismatch"
    assert properties["config"] == "1k@delalloc"
    assert properties["kernel"] == RELEASE
    assert "NOT TESTED" in (properties["ext4diff 0"] or "")


def test_every_result_is_kept_and_the_guests_are_closed(everything):
    bench, run = everything
    lines = (bench.results / "results.jsonl").read_text().splitlines()
    assert len(lines) == 16
    outcomes = set(Outcome) - {Outcome.INTENDED}  # that takes two kernels
    assert {json.loads(line)["outcome"] for line in lines} == set(map(str, outcomes))
    assert "fields compared" in (bench.results / "summary.txt").read_text()
    assert "closed" in (bench.path / "closed").read_text()
    assert run.status == 1


# --- exit status ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ("agree known", 0),
        ("agree not_modelled", 0),
        ("not_modelled", 3),
        ("agree mismatch", 1),
        ("mismatch broken unusable", 1),
        ("agree broken", 3),
        ("broken unusable", 3),
        ("agree unusable", 2),
    ],
)
def test_exit_status(outcomes, status):
    digests = [
        Digest(name, "4k@delalloc", "bh", Outcome[name.upper()], 0.0, "")
        for name in outcomes.split()
    ]
    assert exit_status(digests) == status
    assert exit_status(digests, interrupted=True) == 130


def test_files_that_can_not_be_read_are_status_2_unless_something_worse_was_found():
    broken = Digest("x", "4k@delalloc", "bh", Outcome.BROKEN, 0.0, "")
    assert exit_status([], unusable=True) == 2
    assert exit_status([broken], unusable=True) == 3


def test_agreement_and_known_issues_are_status_0(bench):
    bench.write("fine", "known")
    assert bench.run().status == 0


def test_a_harness_that_fails_is_status_3(bench):
    bench.write("crash")
    assert bench.run().status == 3


def test_missing_qemu_is_status_3_in_one_line(tmp_path):
    bench = Bench(tmp_path, MOOD="unbootable")
    bench.write("fine")
    run = bench.run()
    assert run.status == 3
    assert "ext4diff: QEMU is missing; run: apt-get install qemu\n" in run.err
    assert run.err.count("QEMU is missing") == 1
    assert "QEMU is missing" not in run.out


def test_an_error_of_the_machinery_is_told_without_a_traceback(bench):
    bench.write("broken")
    run = bench.run()
    assert run.says("broken@4k@delalloc: broken: GuestHangError: no answer within 60 s")
    assert "Told" not in run.out


def test_a_worker_that_dies_is_status_3(bench):
    bench.write("die", "fine")
    run = bench.run("-n", "1")
    assert run.status == 3
    assert run.says("*trouble: *die.ops*crashed*")


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_guest_that_never_comes_up_ends_the_run(tmp_path, workers):
    bench = Bench(tmp_path, MOOD="dead")
    bench.write("broken", "fine")
    run = bench.run(*workers)
    assert run.status == 3
    assert run.says("*no guest comes up*")


def test_an_unknown_operation_is_status_2_and_names_the_line(bench):
    bench.write("bad", text="pwrit a 0 4k\n")
    run = bench.run()
    assert run.status == 2
    assert run.says('*bad.ops:1:1: unknown operation "pwrit"*')
    assert "Traceback" not in run.out


def test_a_short_run_takes_one_configuration_of_each_program(bench):
    bench.write("fine", "known")
    assert bench.run("--short").says("  4k@delalloc *1 *1", "  all *1 *1")
    assert bench.run("--short", "--on", "1k@*").says("  1k@delalloc *1 *1", "  all *1 *1")


def test_nothing_selected_is_status_2(bench):
    bench.write("fine")
    nothing = bench.run("--on", "nothing@*")
    assert nothing.status == 2
    assert nothing.says("trouble: no workload is for --on nothing@[*];*")


@pytest.mark.parametrize("against", ["", "path:", "path:bh", "path:both"])
def test_an_unknown_path_is_a_usage_error(against):
    with pytest.raises(UsageError, match="--against"):
        make_pair(against, Choice())


def test_an_unknown_path_is_status_2_in_one_line(bench):
    run = bench.run("--against", "path:toaster")
    assert run.status == 2
    assert "the paths are path:buffer_head and path:iomap" in run.err


# --- pytest's own features ------------------------------------------------------------


def test_both_paths_run_where_the_kernel_has_both(tmp_path):
    bench = Bench(tmp_path, IOMAP="yes")
    bench.write("fine")
    assert bench.run("-v").says(
        "*both paths*",
        "*fine.ops::4k@delalloc AGREE*",
        "*fine.ops::4k@delalloc+iomap AGREE*",
    )


def test_a_workload_for_a_path_that_the_kernel_lacks_is_counted_as_refused(bench):
    bench.write("fine", text=WORKLOAD.replace("1k@delalloc", "1k@delalloc,buffered_iomap"))
    run = bench.run()
    assert run.status == 0
    assert run.says("*Refused*", "  1 workload: this kernel does not know *buffered_iomap")


def test_selection_first_failure_and_last_failed_just_work(bench):
    bench.write("fine", "wrong")
    assert bench.run("-k", "fine").status == 0
    assert bench.run("-x").says("*1 failed*")
    run = bench.run("--lf", "--on", "4k@*")
    assert (run.status, run.says("*1 failed*")) == (1, True)


def test_workers_of_xdist_have_a_guest_each_and_results_come_together(bench):
    bench.write("fine", "wrong", "known", "refused")
    run = bench.run("-n", "2")
    assert run.status == 1
    assert run.says("  all *2 *2 *2 *2")
    assert (bench.path / "closed").read_text().count("closed") >= 2
    assert len((bench.results / "results.jsonl").read_text().splitlines()) == 8
    assert (bench.results / "topic-wrong@1k@delalloc" / "README.txt").exists()


def test_a_worker_of_xdist_ends_its_guest_before_it_says_that_it_is_done(bench):
    """Else a guest that takes 5 seconds to end is interrupted, and leaves a traceback."""
    bench.write("fine")
    assert bench.run("-n", "1").status == 0
    lines = (bench.path / "closed").read_text().split()
    assert lines[:3] == ["closed", "closed", "finished"]  # the first is the main process's


def test_a_kept_workload_on_a_smaller_image_is_the_same_workload(bench):
    path = bench.write("wrong", text=WORKLOAD.replace("on:", "size: 20m\non:"))
    for workload in workloads(load(path)):
        assert workloads(program_of(workload)) == [workload]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_results_so_far_and_ends_the_guests(bench, number):
    bench.write("fine", "slow")
    with subprocess.Popen(
        bench.command, cwd=bench.path, env=bench.env, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 900
        while not (bench.path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate(timeout=900)
    assert process.returncode == 130
    assert "6 steps and" in output
    assert len((bench.results / "results.jsonl").read_text().splitlines()) == 2
    assert (bench.path / "closed").exists()


def test_an_interrupt_before_the_first_workload_is_told_in_one_line(tmp_path):
    """While packages are fetched or a first guest boots."""
    bench = Bench(tmp_path, MOOD="slow start")
    bench.write("fine")
    with subprocess.Popen(
        bench.command, cwd=bench.path, env=bench.env, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 900
        while not (bench.path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=900)
    assert process.returncode == 130
    assert said == "ext4diff: interrupted\n"
    assert (bench.path / "closed").exists()


def test_what_is_in_the_way_does_not_lose_the_verdict(bench):
    (bench.results / "results.jsonl").mkdir(parents=True)  # neither can be written to
    (bench.results / "topic-wrong@4k@delalloc").touch()
    bench.write("wrong")
    run = bench.run()
    assert run.status == 1
    assert run.says("*Kept in: *topic-wrong@4k@delalloc-2", "*trouble: cannot keep*")
