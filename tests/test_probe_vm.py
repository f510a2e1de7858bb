"""What a real kernel says of itself and against itself. Selected by `-m vm`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import make_workload

from harness.trace import ComplaintKind
from vm import mkfs
from vm.elf import section
from vm.guest import Guest
from vm.initramfs import boot_files
from vm.kernel import Kernel, resolve_kernel
from vm.probe import probe

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return resolve_kernel(os.environ.get("EXT4DIFF_KERNEL"))


@pytest.fixture
def guest(kernel: Kernel) -> Iterator[Guest]:
    with Guest.start(kernel) as started:
        yield started


def test_a_probe_tells_release_build_id_and_what_every_run_needs(kernel: Kernel) -> None:
    found = probe(kernel)
    assert found.kernel.release == kernel.release
    assert len(found.kernel.build_id) == 40
    assert len(found.kernel.config_sha256) == 64
    has = {answer.ability.name: answer.has for answer in found.answers}
    assert has["reservation tracepoints"] is True
    assert has["es cache ioctl"] is True
    assert None not in has.values()
    assert found.complaints == ()


def test_the_build_id_is_the_one_in_the_kernels_file(guest: Guest, kernel: Kernel) -> None:
    vmlinux = boot_files(kernel).kernel
    if vmlinux == kernel.image:
        pytest.skip("this kernel boots from its bzImage only")
    assert bytes.fromhex(guest.kernel.build_id) in section(vmlinux.read_bytes(), ".notes")


def test_a_complaint_is_told_with_its_step_and_the_trace_names_the_kernel(guest: Guest) -> None:
    trace = guest.run(make_workload("pwrite a 50 1; pwrite a 1 20000", "inline@data=journal"))
    assert trace.identity["build_id"] == guest.kernel.build_id
    assert trace.final is not None
    (said,) = trace.final.log or ()
    assert (said.kind, said.title) == (
        ComplaintKind.JBD2, "JBD2: Spotted dirty metadata buffer",
    )  # fmt: skip
    assert said.step == 1


def test_a_corrupt_bitmap_is_an_ext4_error_with_its_function(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = guest.disk.reset

    def without_bitmap(image: Path) -> None:
        reset(image)
        size = mkfs.read_geometry(Path(guest.disk.path)).block_size
        with Path(guest.disk.path).open("r+b") as disk:
            disk.seek(max(size, 2048))
            block = int.from_bytes(disk.read(4), "little")
            disk.seek(block * size)
            disk.write(bytes(size))

    monkeypatch.setattr(guest.disk, "reset", without_bitmap)
    trace = guest.run(make_workload("pwrite a 0 64k; fsync a", "4k@delalloc"))
    assert trace.final is not None
    titles = {said.title: said.step for said in trace.final.log or ()}
    assert titles["EXT4-fs error in ext4_validate_block_bitmap"] == 1
    assert titles["EXT4-fs: Delayed block allocation failed"] == 1
    assert trace.final.fsck
