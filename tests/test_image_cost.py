"""What reading an image costs: it grows with what is used, not with the image."""

from __future__ import annotations

import random
import time

import pytest
from image_maker import tool

from harness.image.canonical import canonical
from model.image import FileSource, Filesystem

MIB = 1 << 20
FEATURES = "none,has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,filetype,extra_isize"


class Counting(FileSource):
    """Counts the bytes that are read."""

    total = 0

    def read(self, offset: int, length: int) -> bytes:
        found = super().read(offset, length)
        self.total += len(found)
        return found


def image(folder, size: int, files: int, length: int = 20_000):
    """An image with so many files of `length` bytes."""
    path, chance = folder / f"image{size}", random.Random(1)
    with path.open("wb") as file:
        file.truncate(size)
    done = tool("mke2fs", "-q", "-F", "-O", FEATURES, "-b", "4096", "-J", "size=4", str(path))
    assert done.returncode == 0, done.stderr
    commands = []
    for number in range(files):
        source = folder / f"source{number}"
        source.write_bytes(chance.randbytes(length))
        commands.append(f"write {source} file{number}")
    tool("debugfs", "-w", "-f", "-", str(path), stdin="\n".join(commands))
    return path


def quickest(path, limit: float) -> float:
    """Milliseconds of processor time that the canonical form takes: the first that is below
    `limit`, else the best of many. What others do on the processor makes it slower at times.

    It is the wall time too where nothing else wants the processor.
    """
    found = []
    for _ in range(60):
        start = time.process_time()
        with Filesystem.open(path) as fs:
            canonical(fs)
        found.append((time.process_time() - start) * 1000)
        if found[-1] < limit:
            break
    return min(found)


@pytest.mark.parametrize(
    ("files", "length", "limit"),
    [(5, 20_000, 5), (100, 20_000, 50), (100, 400_000, 50)],
    ids=["five files", "a hundred", "a full image"],
)
def test_the_canonical_form_takes_milliseconds(tmp_path, files, length, limit):
    path = image(tmp_path, 64 * MIB, files, length)
    assert quickest(path, limit) < limit


def test_a_large_image_costs_little_more_than_a_small_one(tmp_path):
    read = []
    for size in (64 * MIB, 1024 * MIB):
        path = image(tmp_path, size, 10)
        source = Counting(path)
        fs = Filesystem(source)
        assert source.total == 1024  # opening reads the superblock
        canonical(fs)
        fs.close()
        read.append(source.total)
    assert read[1] - read[0] < 64 * 1024
    assert quickest(path, 50) < 50
