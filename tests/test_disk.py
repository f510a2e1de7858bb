"""The disk: reset to an image, copied, and gone when closed."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from vm.disk import PIECE, Disk
from vm.errors import MachineryError

SIZE = 4 * PIECE


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _image(path: Path, size: int, seed: int) -> Path:
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def _content(disk: Disk) -> bytes:
    return Path(disk.path).read_bytes()


def test_first_reset_copies_the_whole_image(tmp_path: Path) -> None:
    image = _image(tmp_path / "image", SIZE, 1)
    with closing(Disk(SIZE)) as disk:
        assert disk.reset(image) == SIZE
        assert _content(disk) == image.read_bytes()


def test_reset_rewrites_only_what_differs(tmp_path: Path) -> None:
    image = _image(tmp_path / "image", SIZE, 1)
    with closing(Disk(SIZE)) as disk:
        disk.reset(image)
        assert disk.reset(image) == 0
        with Path(disk.path).open("r+b") as file:
            file.seek(PIECE + 17)
            file.write(b"changed by the guest")
        assert disk.reset(image) == PIECE
        assert _content(disk) == image.read_bytes()


def test_reset_switches_to_another_image_and_clears_what_lies_behind(tmp_path: Path) -> None:
    large = _image(tmp_path / "large", SIZE, 1)
    small = _image(tmp_path / "small", PIECE + 4096, 2)
    with closing(Disk(SIZE)) as disk:
        disk.reset(large)
        disk.reset(small)
        whole = _content(disk)
        assert whole[: PIECE + 4096] == small.read_bytes()
        assert not any(whole[PIECE + 4096 :])
        disk.reset(large)
        assert _content(disk) == large.read_bytes()


@pytest.mark.parametrize("few", [0, 64])
def test_an_image_that_is_written_anew_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whether its pieces are kept in memory or not."""
    monkeypatch.setattr("vm.disk.FEW", few)
    image = _image(tmp_path / "image", SIZE, 1)
    with closing(Disk(SIZE)) as disk:
        disk.reset(image)
        _image(image, SIZE, 2)
        assert disk.reset(image) == SIZE
        assert disk.reset(image) == 0
        assert _content(disk) == image.read_bytes()


def test_an_image_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    image = _image(tmp_path / "image", SIZE + 1, 1)
    with closing(Disk(SIZE)) as disk, pytest.raises(MachineryError, match="larger than the disk"):
        disk.reset(image)


def test_copy_equals_the_disk(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(PIECE) + b"x" * PIECE + bytes(2 * PIECE))
    with closing(Disk(SIZE)) as disk:
        disk.reset(image)
        disk.copy_to(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == image.read_bytes()


def test_nothing_is_left_after_close() -> None:
    before = _descriptors()
    disk = Disk(SIZE)
    path = disk.path
    disk.close()
    disk.close()
    assert not Path(path).exists()
    assert _descriptors() == before
