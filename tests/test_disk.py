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


def write(disk: Disk, at: int, data: bytes) -> None:
    with Path(disk.path).open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_where_the_guest_wrote_is_looked_at_if_that_is_known(tmp_path: Path) -> None:
    image, other = _image(tmp_path / "image", SIZE, 1), tmp_path / "other"
    data = bytearray(image.read_bytes())
    data[2 * PIECE] ^= 1
    other.write_bytes(data[: 3 * PIECE])
    with closing(Disk(SIZE)) as disk:
        assert disk.reset(image, []) == SIZE  # nothing is known of it before
        write(disk, 2 * PIECE - 1, b"two pieces")
        assert disk.reset(image, [(5, 0), (2 * PIECE - 1, 10)]) == 2 * PIECE
        assert _content(disk) == image.read_bytes()
        write(disk, 17, b"one")
        assert disk.reset(other, [(17, 3)]) == 3 * PIECE
        assert _content(disk) == other.read_bytes() + bytes(PIECE)
        assert disk.reset(image, []) == 2 * PIECE
        write(disk, 17, b"not told, where nobody can tell")
        assert disk.reset(image, None) == PIECE
        assert _content(disk) == image.read_bytes()


def test_after_a_reset_that_failed_all_is_looked_at(tmp_path: Path) -> None:
    image, large = (_image(tmp_path / str(size), size, 1) for size in (SIZE, SIZE + 1))
    with closing(Disk(SIZE)) as disk:
        disk.reset(image)
        write(disk, 17, b"told, but to the one that fails")
        with pytest.raises(MachineryError):
            disk.reset(large, [(17, 40)])
        assert disk.reset(image, []) == PIECE


def test_an_image_that_is_not_kept_is_looked_at_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vm.disk.FEW", 0)
    image = _image(tmp_path / "image", SIZE, 1)
    with closing(Disk(SIZE)) as disk:
        disk.reset(image)
        write(disk, 17, b"not told")
        assert disk.reset(image, []) == PIECE


def test_a_write_of_which_qemu_did_not_tell_shows_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vm.disk.CHECK", 3)
    image = _image(tmp_path / "image", SIZE, 1)
    with closing(Disk(SIZE)) as disk:
        disk.reset(image)
        for _ in range(5):
            assert disk.reset(image, []) == 0
        write(disk, PIECE + 17, b"not told")
        with pytest.raises(MachineryError, match=f"a write to the disk at {PIECE}"):
            disk.reset(image, [])
        assert disk.reset(image, []) == PIECE
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
