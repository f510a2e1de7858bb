"""The main job against a real kernel: what a user types, what is left behind."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import make_workload

from harness.artifacts.artifact import keep
from harness.pairs import Pair, make_pair
from harness.running.runner import Runner
from harness.sides.machine import GuestSide
from harness.sides.side import Choice
from harness.verdict import Outcome
from vm import mkfs

pytestmark = pytest.mark.vm

TOP = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "harness"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TOP)}
PLAIN = "pwrite a 0 10000; fsync a; fpunch a 0 4k; pread a 0 10000"


def processes_of(session: int) -> list[str]:
    """The processes of a session, QEMU among them; not those that ended and wait for init."""
    command = ["ps", "-o", "stat=,args=", "-s", str(session)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if not line.startswith("Z")]


@pytest.fixture(scope="module")
def pair():
    pair = make_pair("model", Choice())
    pair.prepare()
    yield pair
    pair.close()


def test_model_and_kernel_agree_on_a_plain_program(pair: Pair):
    verdict = Runner(pair.expected, pair.actual).run(make_workload(PLAIN)).verdict
    assert verdict.outcome is Outcome.AGREE
    assert verdict.steps == 4
    assert verdict.compared > 50


def test_without_the_list_of_known_issues_the_kernels_bug_is_a_mismatch_and_is_kept(
    pair: Pair, tmp_path
):
    workload = make_workload("pwrite a 0 4k; pwrite_fault a 20000 8k fault=0; fsync a")
    strict = Runner(pair.expected, pair.actual, issues=()).run(workload)
    assert strict.verdict.outcome is Outcome.MISMATCH
    assert {m.field for m in strict.verdict.headline} >= {"size"}
    keep(strict, pair, tmp_path, "why")
    image = tmp_path / "image"
    image.write_bytes(gzip.decompress((tmp_path / "guest.img.gz").read_bytes()))
    assert mkfs.disk_blocks(image, ["a"]) == strict.actual.final.disk_blocks
    assert Runner(pair.expected, pair.actual).run(workload).verdict.outcome is Outcome.KNOWN


def test_a_panic_is_a_finding_and_the_next_workload_gets_a_new_guest(pair: Pair, tmp_path):
    class Crashing(GuestSide):
        crash = True

        def run(self, workload, placement=None, quirks=frozenset()):
            if self.crash:
                self.crash = False
                self._alive().ask({"cmd": "sysrq", "key": "c"}, 60, "a crash on purpose")
            return super().run(workload, placement, quirks)

    side = Crashing(Choice())
    side.prepare()
    try:
        runner = Runner(pair.expected, side)
        verdict = runner.run(make_workload(PLAIN)).verdict
        assert verdict.outcome is Outcome.MISMATCH
        assert "Kernel panic - not syncing: sysrq" in str(verdict.mismatches[0].actual)
        side.save_evidence(tmp_path)
        assert "sysrq" in (tmp_path / "guest.kernel.log").read_text()
        assert runner.run(make_workload(PLAIN)).verdict.outcome is Outcome.AGREE
    finally:
        side.close()


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_an_interrupted_main_job_keeps_its_results_and_leaves_no_process(tmp_path, workers):
    command = [*COMMAND, "differential", "--results", "results", *workers]
    results = tmp_path / "results" / "results.jsonl"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with subprocess.Popen(
        command, cwd=tmp_path, env={**ENVIRONMENT, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 240
        while not results.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "fields compared" in output
    assert json.loads(results.read_text().splitlines()[0])["outcome"] == "agree"
    assert processes_of(process.pid) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "tmp"]
    assert not list(temporary.iterdir())


def test_a_selection_of_the_catalogue_runs_to_its_end(tmp_path):
    command = [*COMMAND, "differential", "-k", "write-then-fsync", "--results", "results"]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, check=False, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "AGREE" not in done.stderr
    assert "  all " in done.stdout
