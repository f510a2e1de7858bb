"""A run that QEMU records replays to the same, byte for byte, and is judged like any other."""

from __future__ import annotations

import os

import pytest
from fakes import make_workload

from vm.initramfs import boot_files
from vm.kernel import resolve_kernel
from vm.record_replay import FILES, Recorder
from vm.replaying import read_recording, replay

pytestmark = [pytest.mark.vm, pytest.mark.slow]

WORKLOAD = make_workload("pwrite a 0 8k; fsync a; pwrite_fault a 20000 8k fault=0; fpunch a 0 4k")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings") / "one, two"
    kernel = resolve_kernel(os.environ.get("EXT4DIFF_KERNEL"))
    guest = Recorder(kernel, boot_files(kernel), folder, 2).start()
    try:
        trace = guest.run(WORKLOAD)
    finally:
        guest.close()
    return folder, trace


def test_a_recorded_run_is_seen_and_judged_as_any_other(recorded):
    folder, trace = recorded
    assert [step.result for step in trace.steps] == [8192, 0, "EFAULT", 0]
    assert trace.steps[2].events is not None
    assert len(trace.steps[2].events) == 2
    assert trace.final is not None
    assert (trace.final.fsck, trace.final.disk_blocks) == ("", {"a": 16})
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert read_recording(folder).step == 2


def test_it_replays_to_the_same_twice_and_stays_as_it_is(recorded):
    folder, _ = recorded
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert replay(folder)
    assert replay(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_replay_that_says_something_else_is_told(recorded):
    folder, _ = recorded
    log = folder / "agent.log"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"EFAULT", b"ENOSPC"))
    try:
        assert not replay(folder)
    finally:
        log.write_bytes(whole)
