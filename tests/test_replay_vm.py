"""An artifact of a real mismatch: replayed by its archive, and shown by its C program."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.artifacts.read import open_artifact
from vm.guest import Guest
from vm.initramfs import boot_files
from vm.kernel import resolve_kernel

pytestmark = pytest.mark.vm

TOP = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "harness"]
LINE = "pwrite a 0 4k; pwrite_fault a 20000 8k fault=0; shutdown 2"  # which is logged


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOP), "TMPDIR": str(folder)}
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=200,
    )  # fmt: skip


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the known bug leaves when it is not followed."""
    folder = tmp_path_factory.mktemp("artifact")
    done = command(folder, "run", LINE, "--strict-model", "--results", "r")
    assert done.returncode == 1, done.stderr
    return next((folder / "r").iterdir())


def test_it_is_complete(artifact):
    names = {path.name for path in artifact.iterdir()}
    assert names >= {
        "README.txt", "manifest.json", "verdict.json", "workload.ops", "expected.json",
        "actual.json", "expected.img.gz", "guest.img.gz", "guest.qemu.txt", "identity.json",
        "reproduce.sh", "reproduce.c", "picture.svg",
    }  # fmt: skip
    assert {"guest.kernel.log", "guest.netconsole.log"} & names
    with open_artifact(artifact) as opened:
        note = opened.manifest.sides["guest"]
        assert len(note.identity["sha256"]) == 64
        assert note.command[0].endswith("qemu-system-x86_64")
        assert "-kernel" in note.command


def test_its_archive_gives_the_same_mismatch_again(artifact, tmp_path):
    assert command(tmp_path, "pack", str(artifact), "-o", "one.tar.zst").returncode == 0
    done = command(tmp_path, "replay", "one.tar.zst", "--runs", "3")
    assert done.returncode == 1, done.stderr
    last = done.stdout.splitlines()[-2:]
    assert last[0] == "the same mismatch: step 2 of 3, size of a: 4096 expected, 20000 seen"
    assert last[1] == "the same mismatch in 3 of 3 runs"
    assert {path.name for path in tmp_path.iterdir()} == {"one.tar.zst"}


def test_a_replay_that_is_ended_leaves_nothing(artifact, tmp_path):
    assert command(tmp_path, "pack", str(artifact), "-o", "one.tar.zst").returncode == 0
    environment = {**os.environ, "PYTHONPATH": str(TOP), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*COMMAND, "replay", "one.tar.zst", "--runs", "100000"], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("run 1 of"):
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.communicate()
    time.sleep(0.2)
    found = subprocess.run(
        ["ps", "-o", "stat=,args=", "-s", str(process.pid)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert not [line for line in found.stdout.splitlines() if not line.startswith("Z")]
    assert {path.name for path in tmp_path.iterdir()} == {"one.tar.zst"}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this host")
def test_its_c_program_shows_it_without_ext4diff(artifact, tmp_path):
    binary = tmp_path / "reproduce"
    subprocess.run(
        ["gcc", "-O1", "-static", "-s", "-o", binary, artifact / "reproduce.c"], check=True
    )
    with open_artifact(artifact) as opened:
        image = opened.workload.config.image
    kernel = resolve_kernel(None)
    mounted = "mkdir -p /mnt; mount -o noatime,delalloc /dev/vda /mnt"
    script = f"{mounted} && ./reproduce /mnt; umount /mnt"
    with Guest.start(kernel, "auto", boot_files(kernel)) as guest:
        done = guest.execute(
            ["sh", "-c", script], 120, image=image, files={"reproduce": binary.read_bytes()}
        )
    assert done.status == 0, done.output
    step = done.output.partition("step 2 pwrite_fault")[2].splitlines()
    assert step[0].endswith("= EFAULT")
    assert step[1].startswith("  a size 20000 ")
