"""Images as e2fsprogs makes and judges them. The programs are real, no VM is needed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest

from harness.errors import MACHINERY, USAGE
from vm import mkfs
from vm.errors import CacheError, FileSystemToolError, HostToolError, ImageError
from vm.host_tools import ensure_host_tools, find_program
from vm.mkfs import POISON, disk_blocks, fsck, image_file, make_image, mke2fs_options, read_geometry
from workloads.images import DEVICE_SIZE, IMAGES, Geometry, Image

F_BFREE = {
    "4k": 14327, "1k": 41950, "2k": 21999, "bigalloc16k": 15084, "bigalloc64k": 15216,
    "1kbigalloc8k": 43472, "small4k": 2807, "nocsum4k": 14327, "ext3ish": 14326,
    "inline": 14328, "nojournal": 15351, "quota4k": 14325, "quotabig16k": 15080,
}  # fmt: skip
"""statfs f_bfree right after mount, measured on Linux 7.3.4 with images of mke2fs 1.47.0."""


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    ensure_host_tools(["mke2fs", "e2fsck", "debugfs"])


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where to make an image; pytest would keep its 64 MB for three runs."""
    yield tmp_path / "image"
    (tmp_path / "image").unlink(missing_ok=True)


def debugfs(path: Path, command: str) -> str:
    done = subprocess.run(
        [find_program("debugfs"), "-w", "-R", command, str(path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_every_image_starts_as_it_was_measured(path: Path, image: Image) -> None:
    make_image(image, path)
    assert read_geometry(path) == Geometry(
        blocks=image.size // image.block_size,
        free_blocks=F_BFREE[image.name],
        reserved_blocks=0,
        block_size=image.block_size,
        cluster_size=image.cluster_size,
        inode_size=256,
    )
    assert fsck(path) == ""


def test_what_mke2fs_does_not_write_is_poison(path: Path) -> None:
    image = IMAGES["small4k"]
    make_image(image, path)
    data = path.read_bytes()
    assert len(data) == DEVICE_SIZE
    assert set(data[image.size :]) == {POISON}
    pieces = [data[at : at + 4096] for at in range(0, image.size, 4096)]
    poisoned = pieces.count(bytes([POISON]) * 4096)
    free = read_geometry(path).free_blocks
    assert free - 16 <= poisoned <= free  # mke2fs zeroes the last 64 KiB


def test_equal_images_have_equal_bytes(path: Path) -> None:
    make_image(IMAGES["quota4k"], path)
    first = path.read_bytes()
    make_image(IMAGES["quota4k"], path)
    assert path.read_bytes() == first


def test_the_hosts_configuration_does_not_matter(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "mke2fs.conf"
    other.write_text("[defaults]\n\tbase_features = sparse_super\n\tinode_size = 128\n")
    monkeypatch.setenv("MKE2FS_CONFIG", str(other))
    make_image(IMAGES["4k"], path)
    assert read_geometry(path).inode_size == 256
    features = debugfs(path, "features")
    assert "has_journal" in features and "orphan_file" not in features


def test_extended_options_of_an_image_join_the_common_ones(path: Path) -> None:
    options = mke2fs_options(IMAGES["quota4k"])
    assert options.count("-E") == 1
    assert "hash_seed=" in " ".join(options) and "quotatype=usrquota" in " ".join(options)
    make_image(IMAGES["quota4k"], path)
    stats = debugfs(path, "stats")
    assert "User quota inode" in stats and "Group quota inode" not in stats
    assert "12345678-1234-1234-1234-123456789abc" in stats.split("Directory Hash Seed")[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 0}, "0 bytes do not fit"),
        ({"size": DEVICE_SIZE + 1}, "do not fit the device"),
        ({"size": 16384}, "image odd: Not enough space"),
        ({"size": 1 << 20}, "1048576 bytes are too small for a journal"),
        ({"options": ("-b", "4096", "-O", "no_such_feature")}, "no_such_feature"),
    ],
)
def test_an_image_that_can_not_be_is_refused_with_mke2fs_reason(
    path: Path, change: dict[str, object], reason: str
) -> None:
    image = msgspec.structs.replace(IMAGES["4k"], name="odd", **change)
    with pytest.raises(ImageError, match=reason) as caught:
        make_image(image, path)
    assert caught.value.exit_status == USAGE
    assert "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("name", ["/dev/null", "/dev/ext4diff-no-such-disk", "/tmp"])
def test_devices_and_directories_are_refused(name: str) -> None:
    with pytest.raises(ImageError, match="no regular file"):
        make_image(IMAGES["4k"], Path(name))


def test_a_full_disk_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(file: BinaryIO) -> None:
        file.write(b"something")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mkfs, "_fill", fill)
    with pytest.raises(CacheError, match="no space left") as caught:
        make_image(IMAGES["4k"], path)
    assert caught.value.exit_status == MACHINERY
    assert not path.exists()


def test_images_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = image_file(IMAGES["small4k"])
    made = first.stat().st_mtime_ns
    assert image_file(IMAGES["small4k"]) == first
    assert first.stat().st_mtime_ns == made
    larger = msgspec.structs.replace(IMAGES["small4k"], size=IMAGES["small4k"].size + 4096)
    assert image_file(larger) != first
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("data", [b"", bytes(4096)])
def test_geometry_of_what_is_no_ext4_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ImageError, match="no ext4"):
        read_geometry(path)
    with pytest.raises(ImageError, match="No such file"):
        read_geometry(path.parent / "none")


def test_fsck_says_what_is_wrong(path: Path) -> None:
    make_image(IMAGES["4k"], path)
    (path.parent / "file").write_bytes(b"x" * 5000)
    debugfs(path, f"write {path.parent}/file a")
    assert fsck(path) == ""
    debugfs(path, "set_inode_field a i_blocks 800")
    assert "i_blocks is 800, should be 16" in fsck(path)


def test_fsck_that_can_not_work_is_the_machinerys_failure(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))
    with pytest.raises(FileSystemToolError) as caught:
        fsck(path)
    assert caught.value.exit_status == MACHINERY


def test_disk_blocks_of_many_files_by_one_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image(IMAGES["1k"], path)
    for name, size in {"a": 5000, "b.c": 0, "d-1": 1}.items():
        (path.parent / name).write_bytes(b"x" * size)
        debugfs(path, f"write {path.parent}/{name} {name}")
    calls = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (calls.append(a), run(*a, **k))[1])
    assert disk_blocks(path, ["a", "none", "b.c", "d-1"]) == {"a": 10, "b.c": 0, "d-1": 2}
    assert disk_blocks(path, []) == {}
    assert len(calls) == 1


def test_disk_blocks_of_a_huge_file_are_told_in_sectors_too(path: Path) -> None:
    """Its inode counts file system blocks; so does one whose count has passed 0."""
    make_image(IMAGES["4k"], path)
    (path.parent / "file").write_bytes(b"x" * 5000)
    for name in ("a", "b"):
        debugfs(path, f"write {path.parent}/file {name}")
    debugfs(path, "set_inode_field a flags 0xc0000")
    assert disk_blocks(path, ["a", "b"]) == {"a": 16 * 8, "b": 16}


def test_disk_blocks_of_what_is_no_file_system(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))
    with pytest.raises(FileSystemToolError, match="debugfs"):
        disk_blocks(path, ["a"])
    with pytest.raises(FileSystemToolError, match="plain"):
        disk_blocks(path, ["a\nrm b"])


def test_a_disk_without_a_name_is_judged_too(path: Path) -> None:
    """The guest's disk is anonymous memory that is opened through /proc."""
    make_image(IMAGES["small4k"], path)
    disk = os.memfd_create("disk")
    try:
        os.write(disk, path.read_bytes())
        name = Path(f"/proc/{os.getpid()}/fd/{disk}")
        assert fsck(name) == ""
        assert disk_blocks(name, ["lost+found"]) == {"lost+found": 32}
        assert read_geometry(name) == read_geometry(path)
    finally:
        os.close(disk)


def test_missing_e2fsprogs_is_told_with_the_command(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("vm.host_tools._ADMIN", ())
    with pytest.raises(HostToolError, match=r"apt-get install -y .* e2fsprogs"):
        make_image(IMAGES["4k"], path)
