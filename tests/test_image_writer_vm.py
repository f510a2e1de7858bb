"""The model's image against a real kernel's: equal after a workload, and mounted in a guest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes import make_workload

from harness.comparison.compare import compare
from harness.image.canonical import canonical
from harness.image.difference import differences
from harness.image.form import FORM, Canonical
from harness.image.look import with_image
from harness.trace import placement_of
from model import Behaviour, Model
from model.image.filesystem import Filesystem
from model.image_writer import write_image
from vm import mkfs
from vm.guest import Guest
from vm.kernel import resolve_kernel

pytestmark = pytest.mark.vm

LINES = {
    "states": "pwrite a 0 10000; falloc_keep a 65536 32768; pwrite a 80000 9000; truncate a 77777; "
    "falloc b 4096 100000; append b 3; sync; finsert b 16384 65536",
    "tree": "; ".join(f"pwrite a {at * 32768} 4096; fsync a" for at in range(30))
    + "; fpunch a 300000 200000; fzero a 700000 30000",
    "names": "pwrite a 0 100; pwrite b 0 5000; rename b c; unlink a; pwrite d 20000 1; remount; "
    "pwrite a 0 70000",
}
CONFIGS = ("4k@delalloc", "1k@nodelalloc", "bigalloc16k@delalloc", "nocsum4k@delalloc",
           "inline@delalloc", "nojournal@delalloc", "quota4k@delalloc,usrquota")  # fmt: skip


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    kernel = resolve_kernel(os.environ.get("EXT4DIFF_KERNEL"))
    with Guest.start(kernel, network=False) as started:
        yield started


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out.img"
    (tmp_path / "out.img").unlink(missing_ok=True)


def form(path: Path) -> Canonical:
    with Filesystem.open(path) as fs:
        return canonical(fs)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("line", LINES)
def test_the_models_image_equals_the_kernels(guest, out, line, config):
    workload = make_workload(LINES[line], config)
    trace = guest.run(workload)
    model = Model(Behaviour.of_release(guest.release, iomap=False), mkfs.geometry_of)
    mount = model.finish(workload, placement_of(trace))
    write_image(mount, mkfs.image_file(workload.config.image), out)
    actual = out.with_name("actual.img")
    try:
        guest.disk.copy_to(actual)
        mine, kernels = form(out), form(actual)
    finally:
        actual.unlink()
    assert differences(mine, kernels) == []
    assert mine.shapes == kernels.shapes


@pytest.mark.parametrize("config", CONFIGS)
def test_a_kernel_goes_on_from_the_models_image(guest, out, config, monkeypatch):
    before = make_workload(LINES["tree"], config)
    model = Model(Behaviour.of_release(guest.release, iomap=False), mkfs.geometry_of)
    mount = model.finish(before)
    write_image(mount, mkfs.image_file(before.config.image), out)
    size = mount.files["a"].size
    after = make_workload("append a 5000; falloc_keep a 0 2000000; pwrite e 0 8192", config)
    monkeypatch.setattr(mkfs, "image_file", lambda _image: out)
    trace = guest.run(after)
    assert trace.final is not None
    assert (trace.final.fsck, trace.final.log) == ("", ())
    seen = trace.start.files or trace.steps[0].observation.files
    assert seen["a"].size in (size, size + 5000)
    content = trace.final.content
    assert content is not None
    assert content["a"].size == size + 5000
    expected = mount.files["a"].content.checksums(size)
    whole = size // 4096  # the last piece is shared with what was appended
    found = content["a"].blocks or {}
    assert {at: crc for at, crc in found.items() if at < whole} == {
        at: crc for at, crc in expected.items() if at < whole
    }


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("line", LINES)
def test_the_next_workload_sees_the_same_from_either_image(
    guest, out, line, config, monkeypatch, tmp_path
):
    """From the model's image and from the kernel's own, a kernel does the same."""
    before = make_workload(LINES[line], config)
    trace = guest.run(before)
    actual = tmp_path / "actual.img"
    guest.disk.copy_to(actual)
    model = Model(Behaviour.of_release(guest.release, iomap=False), mkfs.geometry_of)
    mount = model.finish(before, placement_of(trace))
    write_image(mount, mkfs.image_file(before.config.image), out)
    after = make_workload(
        "append a 5000; pwrite a 2000 100; falloc_keep a 100000 200000; pwrite e 0 8192; "
        "fpunch a 0 4096; unlink e; sync; pread a 0 90000", config
    )  # fmt: skip
    seen = []
    try:
        for image in (out, actual):
            monkeypatch.setattr(mkfs, "image_file", lambda _image, image=image: image)
            found = guest.run(after)
            final = with_image(found.final, Path(guest.disk.path), after.config, shut_down=False)
            seen.append(msgspec.structs.replace(found, final=final))
    finally:
        actual.unlink()
    verdict = compare(*seen)
    assert verdict.mismatches == ()
    assert FORM not in {field for field, _ in verdict.not_compared}
    assert seen[0].final.form.files["/a"].size >= 5000
