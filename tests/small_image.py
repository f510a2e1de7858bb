"""A small sound image in memory that tests damage, and helpers to patch it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from image_maker import tool

from harness.image.canonical import canonical
from harness.image.check import check
from harness.image.form import Canonical
from harness.image.survey import File, Survey
from model.image import Filesystem, MemorySource

SIZE = 4 << 20
OPTIONS = (
    "-b", "1024", "-I", "256", "-N", "128", "-m", "0", "-J", "size=1",
    "-U", "12345678-1234-1234-1234-123456789abc",
    "-E", "hash_seed=12345678-1234-1234-1234-123456789abc,nodiscard,root_owner=0:0",
)  # fmt: skip
FEATURES = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,sparse_super,huge_file"
COMMANDS = (
    "write {folder}/data file", "write {folder}/data other", "mkdir folder",
    "mkdir folder/inner", "symlink link target", "symlink slow " + "t" * 100,
    "ea_set file user.one 1", "ea_set other user.many " + "m" * 500,
    *(f"fallocate other {at} {at}" for at in range(20, 60, 2)),
    "set_inode_field other size 40960",
    "cd folder", *(f"write {{folder}}/empty name-{n}-{'n' * 40}" for n in range(60)),
)  # fmt: skip


@functools.cache
def build(features: str = FEATURES, *options: str, commands: tuple[str, ...] = COMMANDS) -> bytes:
    """The bytes of an image with files, folders, links, attributes and a hash tree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").write_bytes(bytes(range(1, 251)) * 10)
        (folder / "empty").write_bytes(b"")
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(SIZE)
        done = tool("mke2fs", "-q", "-F", "-O", features, *OPTIONS, *options, str(image))
        assert done.returncode == 0, done.stderr
        script = "\n".join(commands).replace("{folder}", name) + "\n"
        tool("debugfs", "-w", "-f", "-", str(image), stdin=script)
        tool("e2fsck", "-fyD", str(image))
        assert tool("e2fsck", "-fn", str(image)).returncode == 0
        return image.read_bytes()


def patched(data: bytes, *patches: tuple[int, bytes]) -> bytes:
    """`data` with bytes replaced: (offset, bytes)."""
    found = bytearray(data)
    for at, patch in patches:
        found[at : at + len(patch)] = patch
    return bytes(found)


def opened(data: bytes, *, verify: bool = True) -> Filesystem:
    return Filesystem(MemorySource(data), verify=verify)


def surveyed(data: bytes) -> Survey:
    return Survey(opened(data))


def form(data: bytes) -> Canonical:
    return canonical(opened(data))


def problems_of(data: bytes) -> list[str]:
    return [str(problem) for problem in check(opened(data))]


def file_at(data: bytes, path: str) -> File:
    survey = surveyed(data)
    return next(file for file in survey.files.values() if path in file.paths)


def inode_offset(data: bytes, number: int) -> int:
    """The byte where inode `number`'s record starts."""
    fs = opened(data)
    group, index = divmod(number - 1, fs.volume.sb.inodes_per_group)
    return fs.groups[group].inode_table * fs.volume.block_size + index * fs.volume.inode_size
