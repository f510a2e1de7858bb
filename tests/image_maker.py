"""ext4 images of varied features for tests, made by mke2fs, filled by debugfs."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import msgspec

from vm.host_tools import find_program

MIB = 1 << 20
BLOCK_SIZES = (1024, 1024, 2048, 4096, 4096)
SECONDS = 60
ENVIRONMENT = {
    **os.environ, "LC_ALL": "C.UTF-8", "MKE2FS_CONFIG": "/dev/null",
    "E2FSPROGS_FAKE_TIME": "1700000000",
}  # fmt: skip


class Recipe(msgspec.Struct, frozen=True):
    """How an image is made: everything follows from the seed."""

    seed: int
    size: int
    options: tuple[str, ...]
    htree: bool


def tool(program: str, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One of e2fsprogs' programs; its output is text, odd bytes escaped."""
    return subprocess.run(
        [find_program(program), *args], input=stdin, env=ENVIRONMENT, capture_output=True,
        encoding="utf-8", errors="backslashreplace", timeout=SECONDS, check=False,
    )  # fmt: skip


def recipe(seed: int) -> Recipe:
    """Sizes and features, chosen at random but so that mke2fs accepts them together."""
    chance = random.Random(seed)
    block = chance.choice(BLOCK_SIZES)
    on = {"has_journal", "ext_attr", "dir_index", "filetype", "large_file", "sparse_super"}
    for name, likely in (
        ("extent", 0.8), ("flex_bg", 0.6), ("64bit", 0.6), ("huge_file", 0.7),
        ("dir_nlink", 0.5), ("extra_isize", 0.6), ("metadata_csum", 0.6), ("uninit_bg", 0.3),
        ("resize_inode", 0.4), ("meta_bg", 0.2), ("inline_data", 0.25), ("ea_inode", 0.3),
        ("large_dir", 0.2), ("quota", 0.2), ("project", 0.15),
        ("sparse_super2", 0.15), ("metadata_csum_seed", 0.2), ("orphan_file", 0.2),
        ("bigalloc", 0.2),
    ):  # fmt: skip
        if chance.random() < likely:
            on.add(name)
    for name in ("has_journal", "filetype", "dir_index"):
        if chance.random() < 0.12:
            on.discard(name)
    _reconcile(on)
    inode = chance.choice((128, 256, 256, 512) if "inline_data" not in on else (256, 512))
    if "project" in on or "extra_isize" in on:
        inode = max(inode, 256)
    names = ",".join(sorted(on))
    options = ["-b", str(block), "-I", str(inode), "-O", f"none,{names}", "-m", str(seed % 6)]
    if "bigalloc" in on:
        options += ["-C", str(block * chance.choice((2, 4, 16)))]
    elif chance.random() < 0.5:
        options += ["-g", str(8 * block // chance.choice((1, 2, 4)))]
    if "flex_bg" in on:
        options += ["-G", str(chance.choice((2, 4, 16)))]
    if "has_journal" in on:
        options += ["-J", f"size={block // 1024}"]
    hashing = chance.choice(("half_md4", "tea", "legacy"))
    extended = f"hash_seed=12345678-1234-1234-1234-1234567890{seed % 100:02d}"
    extended += f",lazy_itable_init={chance.randrange(2)},nodiscard,root_owner=0:0"
    options += ["-E", extended]
    size = 16 if block == 4096 else chance.choice((8, 12, 16))
    return Recipe(seed, size * MIB, (*options, "-T", hashing), chance.random() < 0.5)


def _reconcile(on: set[str]) -> None:
    """What mke2fs insists on, and what excludes each other."""
    if "metadata_csum" in on:
        on.discard("uninit_bg")
    else:
        on.discard("metadata_csum_seed")
    if "bigalloc" in on:
        on |= {"extent"}
        on -= {"resize_inode", "meta_bg"}
    if "meta_bg" in on or "sparse_super2" in on:
        on.discard("resize_inode")
    if "64bit" in on:
        on.add("extent")
    if "orphan_file" in on:
        on.add("has_journal")
    if "project" in on:
        on |= {"quota", "extra_isize"}


def make(path: Path, made: Recipe) -> bool:
    """Make and fill the image `path`; false if mke2fs does not accept the recipe."""
    options = list(made.options)
    hashing = options.pop()
    options.pop()
    with path.open("wb") as file:
        file.truncate(made.size)
    done = tool("mke2fs", "-q", "-F", "-t", "ext4", "-U", "12345678-1234-1234-1234-123456789abc",
                *options, str(path))  # fmt: skip
    if done.returncode:
        return False
    commands = [f"set_super_value def_hash_version {hashing}", *filling(made, path.parent)]
    tool("debugfs", "-w", "-f", "-", str(path), stdin="\n".join(commands) + "\n")
    # e2fsck -D makes hash trees, which debugfs cannot; quota is written in a second run.
    tool("e2fsck", "-fyD" if made.htree else "-fy", str(path))
    if any("quota" in option for option in options):
        tool("e2fsck", "-fy", str(path))
    return True


def filling(made: Recipe, folder: Path) -> list[str]:
    """debugfs commands that fill an image: files, holes, names, attributes, links, devices."""
    chance = random.Random(made.seed)
    commands: list[str] = []
    sizes = (0, 1, 59, 60, 61, 100, 150, 1023, 1024, 1025, 5000, 40_000, 300_000)
    for number in range(chance.randrange(3, 9)):
        source = folder / f"source{made.seed}-{number}"
        content(source, chance, chance.choice(sizes))
        commands.append(f"write {source} file{number}")
        if chance.random() < 0.4:
            commands.append(f"ea_set file{number} user.short {'v' * chance.randrange(40)}")
        if chance.random() < 0.4:
            commands.append(f"ea_set file{number} user.long {'w' * chance.randrange(200, 900)}")
        if chance.random() < 0.3:
            value = folder / f"value{made.seed}-{number}"
            value.write_bytes(chance.randbytes(9000))  # of which debugfs takes a block
            commands.append(f"ea_set -f {value} file{number} user.huge")
        if chance.random() < 0.2:
            commands.append(f"ea_set file{number} user.blocks {'b' * 6000}")
        if chance.random() < 0.5:
            first = chance.randrange(200)
            commands.append(f"fallocate file{number} {first} {first + chance.randrange(60)}")
        if chance.random() < 0.4:
            first = chance.randrange(100)
            commands.append(f"punch file{number} {first} {first + chance.randrange(20)}")
    for at in range(0, 400, 2):  # many extents: a tree with nodes outside the inode
        commands.append(f"fallocate file0 {at} {at}")
    commands += ["mkdir folder", "mkdir folder/inner", "symlink folder/fast target"]
    commands += [f"symlink folder/slow {'t' * chance.choice((60, 100, 500, 1000))}"]
    commands += ["cd folder", "mknod pipe p", "mknod char c 5 1", "mknod block b 300 70000", "cd /"]
    commands += ["mkdir many"]
    commands += ["cd many"]
    source = folder / f"empty{made.seed}"
    source.write_bytes(b"")
    for number in range(chance.choice((10, 60, 150))):
        commands.append(f"write {source} name-{number}-{'n' * chance.randrange(1, 60)}")
    commands += ["cd /", "ln file1 second-name", "ln file1 folder/third-name"]
    return [*commands, f"write {source} removed", "rm removed"]


def content(path: Path, chance: random.Random, size: int) -> None:
    """A file with zeros and holes in it."""
    with path.open("wb") as file:
        file.truncate(size)
        at = 0
        while at < size:
            length = min(size - at, chance.choice((1, 500, 4096, 20_000)))
            file.seek(at)
            if chance.random() < 0.6:
                file.write(chance.randbytes(length))
            at += length
