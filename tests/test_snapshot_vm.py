"""Guests that go on from a snapshot, on a real QEMU. Selected by `-m vm`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes import make_workload

from vm import cache
from vm.errors import KernelPanicError, SnapshotError
from vm.initramfs import BootFiles, boot_files
from vm.kernel import Kernel, resolve_kernel
from vm.snapshot import Snapshot

pytestmark = pytest.mark.vm
LINE = "pwrite a 0 64k; fsync a; pwrite_fault a 1m 8k fault=4k; drop_caches; pread a 0 64k"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kernel, BootFiles]:
    kernel = resolve_kernel(os.environ.get("EXT4DIFF_KERNEL"))
    return kernel, boot_files(kernel)


@pytest.fixture(scope="module")
def snapshot(parts: tuple[Kernel, BootFiles]) -> Iterator[Snapshot]:
    made = Snapshot.of(parts[0], "tcg", parts[1])
    yield made
    made.close()


def test_every_guest_shows_the_same(snapshot: Snapshot) -> None:
    traces = []
    for _ in range(3):
        with snapshot.guest() as guest:
            traces += [guest.run(make_workload(LINE)), guest.run(make_workload(LINE))]
    for trace in traces:
        assert trace.final is not None
        assert (trace.final.log, trace.final.fsck) == ((), "")
        assert trace.steps == traces[0].steps
        assert trace.final.content == traces[0].final.content


def test_what_one_guest_writes_no_other_sees(snapshot: Snapshot) -> None:
    with snapshot.guest() as one, snapshot.guest() as other:
        one.run(make_workload("pwrite a 0 1m; fsync a"))
        done = other.execute(["sh", "-c", "echo x > /tmp/mine; ls /tmp; date +%s"], 30)
        assert "mine" in done.output
        with snapshot.guest() as third:
            listed = third.execute(["ls", "/tmp"], 30)
            assert "mine" not in listed.output


def test_the_clock_is_that_of_the_host(snapshot: Snapshot) -> None:
    with snapshot.guest() as guest:
        said = float(guest.execute(["date", "+%s"], 30).output)
    assert abs(said - time.time()) < 10


def test_a_panic_is_told_as_ever_and_the_next_guest_is_well(snapshot: Snapshot) -> None:
    with snapshot.guest() as guest, pytest.raises(KernelPanicError, match="sysrq"):
        guest.ask({"cmd": "sysrq", "key": "c"}, 60, "a crash")
    with snapshot.guest() as guest:
        assert guest.run(make_workload(LINE)).final is not None


def test_a_damaged_snapshot_is_taken_again(
    parts: tuple[Kernel, BootFiles], snapshot: Snapshot
) -> None:
    folder = cache.cache_root() / "snapshots"
    newest = max(folder.glob("*/state"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[:-1000])
    again = Snapshot.of(parts[0], "tcg", parts[1])
    with again.guest() as guest:
        assert guest.release == parts[0].release
    again.close()


def test_a_state_that_qemu_does_not_take_is_an_error(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = msgspec.structs.replace(snapshot._kept, state=b"no state of a machine" * 1000)
    monkeypatch.setattr(snapshot, "_kept", damaged)
    with pytest.raises(SnapshotError, match="no guest goes on"):
        snapshot.guest()


def test_no_name_is_left(snapshot: Snapshot) -> None:
    with snapshot.guest() as guest:
        assert guest.machine.memory_file is not None
        assert Path(guest.machine.memory_file).resolve().name.endswith("(deleted)")
