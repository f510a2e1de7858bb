"""The machinery breaks in every way that a fake guest can play, and a whole run goes on.

A run of `ext4diff differential` with all that is ours in it: pytest's plugin, sides, guests,
links, images; a program stands in QEMU's place. Each fault is followed by a workload that has
none. `test_faults_vm.py` does the same to real guests.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from campaign_kernel import placed
from fake_machine import FAULTS, FIRST, SHOWS
from fake_qemu import HELLO
from fakes import make_workload
from told import FORMATS, event, page

from harness.coverage.reached import contiguous
from harness.errors import AGREE, MACHINERY, MISMATCH
from harness.trace import Trace, decode
from model import Behaviour, Model
from model.image_writer import write_image
from vm import mkfs
from vm.cache import cache_root
from workloads.content import pattern
from workloads.ops import Write

HERE = Path(__file__).parent
Ran = tuple["Bench", "subprocess.CompletedProcess[str]"]
LINE = "pwrite a 0 8k; fsync a; pwrite a 8k 100"
INODE = 12
"""Of the only file."""
CONFTEST = """
import os
from pathlib import Path
from harness.sides import machine
from vm import boot, channel, control, link, live_guest
from vm.boot import Deadlines
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity

RELEASE = "7.3.4-fake"
KERNEL = Kernel(Path("vmlinuz"), RELEASE, None, "a fake", "0" * 64, KernelIdentity(RELEASE))
machine.resolve_kernel = lambda spec, mirror, refresh: KERNEL
machine.boot_files = lambda kernel, mirror, refresh: BootFiles(Path("vmlinux"), Path("initramfs"))
live_guest.TCG_FACTOR = 1.0
live_guest.Deadlines = lambda: Deadlines(boot=60, step=60, end=60)
link._SETTLE = 0.1
channel._LONGEST = 1 << 20


_wait = link.Link.wait

def wait(self, number, seconds, what, over=""):
    'As a Link waits, but a guest that has fallen silent gets no time.'
    while (row := self.next(number, 0.1)) is None:
        silent = Path(os.environ["EXT4DIFF_FAKE_MACHINE"], "silent")
        words = silent.read_text().split() if silent.exists() else []
        if str(self.process.pid) in words:
            return _wait(self, number, 0.3, what, over)
        if f"{self.process.pid}+qmp" in words:
            control._TIMEOUT = 1.0
            try:
                return _wait(self, number, 0.3, what, over)
            finally:
                control._TIMEOUT = 10.0
    return row

link.Link.wait = wait
"""
"""What would take minutes with real guests: nothing is fetched, and nobody waits for a guest that
says nothing any more."""


class Bench:
    """A folder with a fake machine in it, in which runs can be made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.programs = folder / "topic"
        self.programs.mkdir()
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "bin").mkdir()
        qemu = folder / "bin" / "qemu-system-x86_64"
        qemu.write_text(f"#!{sys.executable}\nimport fake_machine\nfake_machine.main()\n")
        qemu.chmod(0o755)
        for name, data in _answers().items():
            (folder / name).write_bytes(data)
        cache = folder / "cache" / "ext4diff"  # of its own, but for images, which take time
        cache.mkdir(parents=True)
        (cache / "images").symlink_to(cache_root() / "images")
        paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "EXT4DIFF_FAKE_MACHINE": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def program(self, name: str, fault: str = "") -> None:
        """Write a program that breaks so."""
        read = f"pread a {FIRST + list(FAULTS).index(fault)} 1" if fault else "pread a 50000 1"
        lines = "\n".join((*LINE.split("; "), read))
        path = self.programs / f"{name}.ops"
        path.write_text(f"show: what a fault does\non: 4k@delalloc\n\n{lines}\n")

    def run(self, *before: str) -> subprocess.CompletedProcess[str]:
        """Run the programs, by way of the program `before`."""
        command = [*before, sys.executable, "-m", "pytest", "-p", "harness.plugin"]
        command += ["--accel", "tcg", "--results", str(self.results)]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            check=False, timeout=900,
        )  # fmt: skip

    def rows(self) -> dict[str, dict[str, Any]]:
        """What was kept of each program, by its name."""
        lines = (self.results / "results.jsonl").read_text().splitlines()
        digests = [json.loads(line) for line in lines]
        return {Path(row["name"].partition("::")[0]).stem: row for row in digests}

    def given(self) -> list[tuple[str, str]]:
        """Guest (its pid) and fault of each workload, in the order of the runs."""
        lines = (self.folder / "runs").read_text().splitlines()
        return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]

    def alive(self) -> list[str]:
        """Guests that still run."""
        return [pid for pid, _ in self.given() if Path(f"/proc/{pid}").exists()]


@functools.cache
def _answers() -> dict[str, bytes]:
    """What a kernel without faults answers to the programs: what the model foretells."""
    workload = make_workload(f"{LINE}; pread a 50000 1")
    places = contiguous(workload)
    model = Model(Behaviour.of_release("7.3", iomap=False), mkfs.geometry_of)
    trace, mount = model.play(workload, places)
    base = mkfs.image_file(workload.config.image)
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "disk"
        write_image(mount, base, disk)
        blocks = list(_changed(base.read_bytes(), disk.read_bytes()))
    rows = list(_rows(trace, places[0]))
    parts = {"hello": {**HELLO, "tracepoints": FORMATS}, "rows": rows, "blocks": blocks}
    return {f"{name}.json": msgspec.json.encode(part) for name, part in parts.items()}


def _changed(before: bytes, after: bytes) -> Iterator[tuple[int, str]]:
    """Offset and new content (hex) of the blocks that are not equal."""
    for at in range(0, len(after), 1 << 16):  # what is equal is found fast by large pieces
        if before[at : at + (1 << 16)] != after[at : at + (1 << 16)]:
            for block in range(at, at + (1 << 16), 4096):
                if before[block : block + 4096] != after[block : block + 4096]:
                    yield block, after[block : block + 4096].hex()


def _rows(trace: Trace, places: Any) -> Iterator[dict[str, Any]]:
    """`trace` as an agent tells it."""
    yield {"start": True, "observation": msgspec.to_builtins(trace.start)}
    for number, step in enumerate(trace.steps):
        seen = msgspec.to_builtins(placed(step.observation, places))
        pages = page(
            *(event(e.kind, INODE, e.count, e.reserved, e.claim) for e in step.events or ())
        )
        told = {"observation": seen, "names": [(INODE, "a")]}
        yield {
            "step": number, "result": step.result, "trace": len(pages), "raw": pages.hex(), **told
        }  # fmt: skip
    yield {"phase": "sync"}
    assert trace.final is not None
    data = b"".join(
        pattern(op.tag, op.off, op.len) for op in trace.workload.ops if isinstance(op, Write)
    )
    contents = {"a": {"size": len(data), "whole": True}}
    for reading in ("dropped", "content"):
        yield {"data": reading, "runs": [("a", 0, len(data))], "raw": data.hex()}
    seen = msgspec.to_builtins(placed(trace.final.observation, places))
    final = {"dropped": contents, "content": contents, "trouble": []}
    yield {"final": final, "observation": seen, "log": []}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One run in which everything breaks once, and is whole afterwards."""
    bench = Bench(tmp_path_factory.mktemp("faults"))
    for fault in FAULTS:
        bench.program(_name(fault), fault)
        bench.program(_name(fault, "next"))
    return bench, bench.run()


def _name(fault: str, which: str = "fault") -> str:
    """The program with the fault, or the `next` one; files are run in the order of their names."""
    return f"{list(FAULTS).index(fault):02}-{which}"


WORDS = {
    "panic": "kernel panic: ext4: state of the tree is bad",
    "oops": "kernel NULL pointer dereference in ext4_da_write_end",
    "task hangs": "INFO: task hung",
    "warning": "WARNING in ext4_da_release_space",
    "mount lost": "differ at step 2 of 4 (fsync a)",
    "guest hangs": "no answer from the guest within 0.3 s in step 2 (fsync) (QEMU: running)",
    "QMP silent": "(QEMU: QEMU does not answer on its control connection",
    "QEMU killed": "QemuError: QEMU ended: it was killed by SIGKILL",
    "QEMU ends": "QemuError: QEMU ended: cannot allocate memory",
    "agent fails": "AgentDiedError: the agent failed: KeyError: 'off'",
    "agent killed": "AgentDiedError: the agent died:",
    "garbage": "ChannelError: the agent sent no JSON",
    "half a line": "half a line has come",
    "line without end": "ChannelError: the agent's line has more than",
    "other answer": "ChannelError: an answer to request",
}
"""What is said of each."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_for_what_it_is(everything: Ran, fault: str) -> None:
    row = everything[0].rows()[_name(fault)]
    assert row["outcome"] == ("mismatch" if fault in SHOWS else "broken")
    assert WORDS[fault] in f"{row['said']} {row['reason']}"


@pytest.mark.parametrize("fault", FAULTS)
def test_what_comes_next_has_a_new_guest_and_agrees(everything: Ran, fault: str) -> None:
    bench, _ = everything
    assert bench.rows()[_name(fault, "next")]["outcome"] == "agree"
    given = bench.given()
    at = [name for _, name in given].index(fault)
    guest, (following, nothing) = given[at][0], given[at + 1]
    assert nothing == ""
    assert following != guest


@pytest.mark.parametrize("fault", sorted(SHOWS))
def test_a_finding_is_kept_with_all_that_was_seen_before_it(everything: Ran, fault: str) -> None:
    bench, _ = everything
    (kept,) = bench.results.glob(f"*{_name(fault)}@*")
    trace = decode((kept / "actual.json").read_bytes())
    whole = fault == "warning"
    assert len(trace.steps) == (4 if whole else 1)
    assert (trace.final is not None) == whole
    names = {path.name for path in kept.iterdir()}
    assert {"guest.img.gz", "guest.kernel.log", "workload.ops", "README.txt"} <= names
    if fault in ("panic", "oops"):
        assert "Kernel panic" in (kept / "guest.panic.txt").read_text()


def test_no_result_is_lost_and_each_workload_ran_once(everything: Ran) -> None:
    bench, _ = everything
    assert len(bench.rows()) == 2 * len(FAULTS)
    assert [fault for _, fault in bench.given()] == [
        name for fault in FAULTS for name in (fault, "")
    ]


def test_no_guest_is_left(everything: Ran) -> None:
    assert everything[0].alive() == []


def test_the_status_is_that_of_a_mismatch_and_nothing_is_a_fault_of_ours(everything: Ran) -> None:
    _, done = everything
    assert done.returncode == MISMATCH
    assert "Traceback" not in done.stdout + done.stderr
    assert f"{len(FAULTS)} " in done.stdout


@pytest.mark.parametrize(
    ("faults", "status"),
    [(["QEMU killed"], MACHINERY), (["QEMU killed", "oops"], MISMATCH), ([], AGREE)],
)
def test_the_status_says_what_is_worst(tmp_path: Path, faults: list[str], status: int) -> None:
    bench = Bench(tmp_path)
    for name, fault in enumerate([*faults, ""]):
        bench.program(f"{name}", fault)
    done = bench.run()
    assert done.returncode == status, done.stdout
    assert bench.alive() == []


def test_no_privilege_is_needed(tmp_path: Path) -> None:
    """Nothing can be mounted, no node made, no network: a run does without."""
    if os.geteuid() == 0:
        drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    else:
        drop = ("setpriv", "--no-new-privs")
    bench = Bench(tmp_path)
    bench.program("0")
    done = bench.run(*drop)
    assert done.returncode == AGREE, done.stdout
    assert "no netconsole, only the serial log" in done.stdout


def test_results_on_a_full_disk_are_told_and_do_not_change_the_verdict(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.program("0", "oops")
    bench.program("1")
    bench.results.mkdir()
    for name in ("results.jsonl", "summary.txt"):
        (bench.results / name).symlink_to("/dev/full")
    done = bench.run()
    assert done.returncode == MISMATCH
    said = f"trouble: cannot keep results.jsonl in {bench.results}: No space left on device"
    assert said in done.stdout
    assert "Mismatches: 1 finding in 1 workload" in done.stdout
