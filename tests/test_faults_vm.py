"""Real guests break in every way that can be brought about, and the run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faulty_guests import FAULTS, SHOWS

from harness.errors import MISMATCH
from harness.trace import decode

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
STEPS = "pwrite a 0 2m; fsync a; pwrite b 1m 1m; fsync b; fpunch a 0 1m; fsync a; sync"
WORDS = {
    "panic": "kernel panic: sysrq triggered crash",
    "oops": "differ at before the first step: kernel",
    "task-hangs": "differ at step",
    "guest-hangs": "(QEMU: paused)",
    "qmp-silent": "QEMU does not answer on its control connection",
    "qemu-killed": "QemuError: QEMU ended: it was killed by SIGKILL",
    "qemu-ends": "QemuError: QEMU ended",
    "agent-fails": "AgentDiedError: the agent failed",
    "agent-killed": "AgentDiedError: the agent died",
    "garbage": "ChannelError: the agent sent no JSON",
    "half-a-line": "half a line has come",
}
"""What is said of each."""
VERDICTS = {
    "panic": "the kernel panicked: Kernel panic - not syncing: sysrq triggered crash",
    "oops": "the kernel panicked: ",
    "task-hangs": "is blocked in ",
}
"""What was seen, in the artifacts of findings."""


class Night:
    """One run of all faults, each followed by a workload without one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        for number, fault in enumerate(FAULTS):
            self._program(f"{number:02}-1", fault)
            self._program(f"{number:02}-2", "next")
        self.results.mkdir()
        (self.results / "summary.txt").symlink_to("/dev/full")
        words = ["--accel", "tcg", "--results", str(self.results), str(folder)]
        if "EXT4DIFF_KERNEL" in os.environ:
            words += ["--kernel", os.environ["EXT4DIFF_KERNEL"]]
        paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "EXT4DIFF_FAULTS": str(folder),
        }
        self.done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "harness.plugin", "-p", "faulty_guests", *words],
            cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
            timeout=1800,
        )  # fmt: skip

    def _program(self, folder: str, name: str) -> None:
        path = self.folder / folder / f"{name}.ops"
        path.parent.mkdir()
        lines = STEPS.replace("; ", "\n")
        path.write_text(f"show: what a fault does\non: 4k@delalloc\n\n{lines}\n")

    def rows(self) -> list[dict[str, Any]]:
        """What was kept, in the order of the runs."""
        return [json.loads(line) for line in (self.results / "results.jsonl").open()]

    def of(self, fault: str) -> list[dict[str, Any]]:
        """The row of the fault, and that of the workload after it."""
        at = list(FAULTS).index(fault)
        return self.rows()[2 * at : 2 * at + 2]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return Night(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_for_what_it_is_and_the_next_guest_is_well(
    night: Night, fault: str
) -> None:
    struck, following = night.of(fault)
    assert struck["outcome"] == ("mismatch" if fault in SHOWS else "broken"), struck
    assert WORDS[fault] in f"{struck['said']} {struck['reason']}"
    assert following["outcome"] == "agree"


@pytest.mark.parametrize("fault", sorted(SHOWS))
def test_a_finding_is_kept_with_its_log(night: Night, fault: str) -> None:
    at = list(FAULTS).index(fault)
    (kept,) = night.results.glob(f"{at:02}-1-{fault}@*")
    assert (kept / "guest.img.gz").stat().st_size > 1000
    assert (kept / "guest.kernel.log").read_text()
    assert VERDICTS[fault] in (kept / "verdict.json").read_text()
    if fault != "oops":  # which strikes before the mount
        assert decode((kept / "actual.json").read_bytes()).steps


def test_nothing_is_lost_and_no_guest_is_left(night: Night) -> None:
    assert len(night.rows()) == 2 * len(FAULTS)
    assert night.done.returncode == MISMATCH, night.done.stdout
    struck = [line.split() for line in (night.folder / "struck").read_text().splitlines()]
    assert [fault for _, fault in struck] == list(FAULTS)
    assert not [pid for pid, _ in struck if Path(f"/proc/{pid}").exists()]


def test_a_summary_that_the_disk_has_no_room_for_is_told(night: Night) -> None:
    assert "trouble: cannot keep summary.txt" in night.done.stdout
    assert "No space left on device" in night.done.stdout
