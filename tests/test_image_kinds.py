"""File systems of less usual kinds, and those that a kernel wrote."""

from __future__ import annotations

import lzma
import re
import tempfile
from pathlib import Path

import pytest
from image_maker import tool
from second_opinion import debugfs_says, ours
from small_image import COMMANDS, FEATURES, SIZE, build, form, opened, problems_of

from harness.image.canonical import canonical
from harness.image.check import problems
from harness.image.survey import Survey
from harness.trace import Extent, State
from model.image import Filesystem
from model.image.hashes import name_hash

FIXTURES = Path(__file__).parent / "data" / "images"
SEED = bytes.fromhex("12345678123412341234123456789abc")


@pytest.mark.parametrize(
    "change",
    [
        "^sparse_super", "meta_bg", "sparse_super2", "uninit_bg", "flex_bg",
        "metadata_csum,metadata_csum_seed", "mmp", "^dir_index", "large_dir", "^filetype",
        "resize_inode,^64bit", "orphan_file,metadata_csum", "quota,project", "ea_inode",
    ],
)  # fmt: skip
def test_features_one_by_one(change):
    removed = [word[1:] for word in change.split(",") if word.startswith("^")]
    kept = [word for word in FEATURES.split(",") if word not in removed]
    added = [word for word in change.split(",") if not word.startswith("^")]
    commands = () if change == "mmp" else COMMANDS  # e2fsprogs waits before it writes there
    if change == "mmp":
        data = made(",".join([*kept, *added]), "-g", "1024")
    else:
        data = build(",".join([*kept, *added]), "-g", "1024", commands=commands)
    assert problems_of(data) == []
    names = set(form(data).whole.features)
    assert set(added) <= names
    assert not names & set(removed)


def made(features: str, *options: str) -> bytes:
    """An image as mke2fs leaves it."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(SIZE)
        done = tool("mke2fs", "-q", "-F", "-O", features, "-b", "1024", *options, file.name)
        assert done.returncode == 0, done.stderr
        return Path(file.name).read_bytes()


def test_blocks_of_64_kib(tmp_path):
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    done = tool("mke2fs", "-q", "-F", "-O", "none,extent,filetype,metadata_csum,64bit",
                "-b", "65536", str(path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    tool("debugfs", "-w", "-f", "-", str(path), stdin=f"write {source} file\nmkdir folder\n")
    tool("e2fsck", "-fy", str(path))
    with Filesystem.open(path) as fs:
        survey = Survey(fs)
        assert problems(survey) == []
        whole = canonical(fs)
    assert whole.files["/file"].extents == (Extent(0, 131072, State.WRITTEN),)
    assert "/folder" in whole.files


@pytest.mark.parametrize(
    ("name", "file", "size", "sectors", "extents"),
    [
        ("full-disk-1k", "/a", 8192, 16, [(0, 8192, "written")]),
        ("shared-cluster-bigalloc16k", "/a", 139264, 64, None),
        ("punched-page-1k", "/a", 16384, 26, None),
    ],
)
def test_images_that_a_kernel_wrote(tmp_path, name, file, size, sectors, extents):
    path = tmp_path / "image"
    path.write_bytes(lzma.decompress((FIXTURES / f"{name}.xz").read_bytes()))
    with Filesystem.open(path) as fs:
        survey = Survey(fs)
        assert problems(survey) == []
        entry = canonical(fs).files[file]
        assert (entry.size, entry.blocks) == (size, sectors)
        if extents is not None:
            assert [(each.start, each.length, each.state) for each in entry.extents] == extents
        theirs = debugfs_says(path, survey, tmp_path)
        for number, found in survey.files.items():
            assert theirs[number] == ours(survey, number, found)
    assert tool("e2fsck", "-fn", str(path)).returncode == 0


@pytest.mark.parametrize(("version", "name"), [(0, "legacy"), (1, "half_md4"), (2, "tea")])
@pytest.mark.parametrize("word", ["a", "lost+found", "n" * 31, "n" * 32, "x" * 255, "ä-ö-ü" * 9])
def test_hashes_of_names_agree_with_debugfs(tmp_path, version, name, word):
    command = f"dx_hash -h {name} -s 12345678-1234-1234-1234-123456789abc {word}"
    said = tool("debugfs", "-R", command).stdout
    expected = int(re.search(r"is 0x([0-9a-f]+)", said)[1], 16)
    # debugfs hashes with the host's char, which is signed on x86.
    assert name_hash(word.encode(), version, SEED, unsigned=False) == expected


def test_opening_reads_no_more_than_the_superblock():
    data = build()
    reads = []

    class Counting:
        name, size = "counted", len(data)

        def read(self, offset: int, length: int) -> bytes:
            reads.append((offset, length))
            return data[offset : offset + length]

        def close(self) -> None:
            pass

    fs = Filesystem(Counting())
    assert reads == [(1024, 1024)]
    fs.inode(2)
    assert len(reads) == 3  # the descriptors and one block of the inode table
    assert opened(data).inode(2) == fs.inode(2)
