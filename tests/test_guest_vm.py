"""A real kernel in a guest: what only a real one can show. Selected by `-m vm`."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import make_workload

from harness.trace import State, Trace
from vm import mkfs
from vm.accel import probe
from vm.boot import Deadlines, make_machine
from vm.disk import Disk
from vm.errors import GuestHangError, KernelPanicError, MountRefusedError
from vm.guest import Guest
from vm.initramfs import boot_files
from vm.kernel import Kernel, resolve_kernel
from vm.qemu import Qemu
from workloads.images import IMAGES

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return resolve_kernel(os.environ.get("EXT4DIFF_KERNEL"))


@pytest.fixture(scope="module")
def guest(kernel: Kernel) -> Iterator[Guest]:
    with Guest.start(kernel) as started:
        yield started


def _run(guest: Guest, line: str, config: str = "4k@delalloc") -> Trace:
    trace = guest.run(make_workload(line, config))
    assert trace.final is not None
    assert trace.final.fsck == ""
    assert trace.final.log == ()
    return trace


def test_delayed_blocks_become_written(guest: Guest) -> None:
    trace = _run(guest, "pwrite a 0 8k; fsync a")
    written, synced = trace.steps
    before, after = written.observation.files["a"], synced.observation.files["a"]
    assert [step.result for step in trace.steps] == [8192, 0]
    assert (before.size, before.blocks, before.disk_blocks, before.disksize) == (8192, 16, 0, 0)
    assert before.reserved == 2
    assert before.extents is not None
    assert [extent.state for extent in before.extents] == [State.DELAYED]
    assert (after.blocks, after.disk_blocks, after.disksize, after.reserved) == (16, 16, 8192, 0)
    assert after.extents is not None
    assert [extent.state for extent in after.extents] == [State.WRITTEN]
    assert written.events is not None
    assert [(event.file, event.count, event.reserved) for event in written.events] == [
        ("a", 1, 1),
        ("a", 1, 2),
    ]
    assert trace.final is not None
    assert trace.final.content == trace.final.dropped
    assert trace.final.disk_blocks == {"a": 16}


def test_the_disk_is_reset_between_workloads(guest: Guest) -> None:
    first = _run(guest, "pwrite a 0 1m; fsync a; pwrite b 0 4k; sync")
    other = _run(guest, "pwrite a 0 1000; sync", "1k@nodelalloc")
    again = _run(guest, "pwrite a 0 1m; fsync a; pwrite b 0 4k; sync")
    assert again == first
    assert other.start.files == {}


def test_qemu_tells_of_each_write_to_the_disk(guest: Guest) -> None:
    """So only that is looked at: after a reset nothing differs from the image."""
    base = mkfs.image_file(IMAGES["4k"])
    guest.reset_disk(base)
    _run(
        guest,
        "falloc a 0 1m; pwrite a 4k 9k; fsync a; fzero a 0 64k; write_zeroes a 0 64k; remount",
    )
    written = guest._qemu.written()
    assert written
    assert guest.disk.reset(base, written) > 0
    assert guest.disk.reset(base) == 0
    _run(guest, "pwrite a 0 8k; fsync a", "1k@delalloc")
    guest.reset_disk(base)
    assert guest.disk.reset(base) == 0


def test_a_host_that_stops_the_guest_for_a_while_changes_nothing(guest: Guest) -> None:
    """A second without CPU let the flusher thread overtake sync(2): writeback began elsewhere."""
    line = "size: 16m; pwrite a 0 1000; falloc fill 0 16m; fpunch fill 1m 10k; sync; "
    workload = make_workload(line + "pwrite a 500 64k; sync", "1k@delalloc")
    first = guest.run(workload)
    assert first.steps[1].result == "ENOSPC"
    with _busy_host(guest._qemu.pid):
        for _ in range(2):
            assert guest.run(workload).steps == first.steps


@contextlib.contextmanager
def _busy_host(pid: int) -> Iterator[None]:
    """Stop the process `pid` for more than a second again and again."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.wait(random.uniform(0.01, 0.15)):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1.1)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_every_step_of_a_full_file_system_is_seen(guest: Guest) -> None:
    trace = _run(guest, "pwrite a 0 48m; sync; unlink a", "1k@delalloc")
    filled = trace.steps[0]
    assert isinstance(filled.result, int)
    assert filled.result < 48 << 20
    assert filled.events is not None
    assert sum(event.count for event in filled.events if event.kind == "reserve") > 30000


def test_a_mount_that_the_kernel_does_not_know_is_refused_and_the_guest_lives(
    guest: Guest,
) -> None:
    with pytest.raises(MountRefusedError, match="no_such_option"):
        guest.run(make_workload("pwrite a 0 1", "4k@no_such_option"))
    _run(guest, "pwrite a 0 1")


def test_quota_limits_are_in_force(guest: Guest) -> None:
    line = "pwrite a 0 300k; chown a 1000; sync; quota_set 1000 400; user_write a 300k 200k 1000"
    trace = _run(guest, line, "quota4k@delalloc,usrquota")
    assert [step.result for step in trace.steps[:4]] == [300 << 10, 0, 0, 0]
    last = trace.steps[4].result
    assert last == "EDQUOT" or (isinstance(last, int) and last < 200 << 10)
    assert trace.final is not None
    assert trace.final.warnings is not None
    assert "uid 1000: block hard limit reached" in trace.final.warnings


def test_a_shutdown_is_no_complaint(guest: Guest) -> None:
    trace = _run(guest, "pwrite a 0 64k; fsync a; shutdown 2; pwrite a 0 4k; sync")
    assert trace.steps[2].observation.error == "EIO"
    assert [step.result for step in trace.steps[3:]] == ["EIO", 0]


def test_a_panic_arrives_by_console_and_by_netconsole(kernel: Kernel) -> None:
    with Guest.start(kernel) as guest:
        with pytest.raises(KernelPanicError, match=r": sysrq triggered crash$") as caught:
            guest.ask({"cmd": "sysrq", "key": "c"}, 20, "the crash")
        report = caught.value.report
        assert report.rstrip().endswith("]---")
        # A kernel may be built without the call trace.
        assert "Call Trace" not in report or "sysrq_handle_crash" in report
        if guest.netconsole == "":
            assert guest.link.netlog is not None
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                if "end Kernel panic" in guest.link.netlog.text:
                    break
                time.sleep(0.1)
            assert "Kernel panic - not syncing" in guest.link.netlog.text


def test_a_stopped_guest_is_a_hang(kernel: Kernel) -> None:
    with Guest.start(kernel, network=False) as guest:
        guest.deadlines = Deadlines(1, 1, 1)
        guest._qemu.control.execute("stop")
        with pytest.raises(GuestHangError, match="paused"):
            guest.run(make_workload())


def test_a_probe_that_fails_leaves_nothing(kernel: Kernel) -> None:
    with contextlib.closing(Disk()) as disk:
        machine = make_machine(boot_files(kernel), disk)
        before = _children()
        probe(machine, deadline=2.0, silence=1.0)
    assert _children() == before


def _children() -> list[str]:
    return (Path("/proc/self/task") / str(os.getpid()) / "children").read_text().split()


_KILLED = """
import sys, time
from pathlib import Path
from vm.qemu import Machine, Qemu
qemu = Qemu(Machine(Path(sys.argv[1]), Path(sys.argv[2]), None))
print(qemu.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_qemu_dies_with_its_parent(kernel: Kernel, number: signal.Signals) -> None:
    with contextlib.closing(Disk()) as disk:
        machine = make_machine(boot_files(kernel), disk)
    command = [sys.executable, "-c", _KILLED, str(machine.kernel), str(machine.initrd)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(number)
        parent.wait(20)
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_qemu_reports_what_it_does_not_like(kernel: Kernel, tmp_path: Path) -> None:
    with contextlib.closing(Disk()) as disk:
        machine = make_machine(boot_files(kernel), disk)
    broken = type(machine)(machine.kernel, tmp_path / "absent", None)
    with pytest.raises(Exception, match=r"QEMU did not start: .*absent"):
        Qemu(broken)
