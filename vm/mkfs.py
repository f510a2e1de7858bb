"""File systems in image files: made, measured and checked by e2fsprogs on the host.

The kernel under test never judges itself: e2fsck and debugfs are other programs.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from vm import cache
from vm.errors import FileSystemToolError, ImageError
from vm.host_tools import find_program
from vm.kept_images import kept_file
from vm.seen import HUGE_FILE_FL
from workloads.host_files import refuse_irregular
from workloads.images import DEVICE_SIZE, Geometry, Image

__all__ = [
    "POISON", "disk_blocks", "fsck", "geometry_of", "image_file", "make_image", "mke2fs_options",
    "read_geometry", "recover",
]  # fmt: skip

POISON = 0xA5
"""Every byte of the device that mke2fs does not write: stale disk shows as this.

(mke2fs also zeroes the last 64 KiB of a file system, against labels of other systems.)
"""

_UUID = "12345678-1234-1234-1234-123456789abc"
_EXTENDED = (
    "lazy_itable_init=0", "lazy_journal_init=0", f"hash_seed={_UUID}", "nodiscard",
    "root_owner=0:0",
)  # fmt: skip
_CONFIGURATION = Path(__file__).parent / "mke2fs.conf"
_SECONDS = 120
_TIME = "1700000000"  # libext2fs' clock, so that equal options give an equal image

_SUPERBLOCK = 1024  # fs/ext4/ext4.h: struct ext4_super_block
_MAGIC = 0xEF53
_COMPAT_HAS_JOURNAL = 0x4
_INCOMPAT_64BIT = 0x80
_RO_COMPAT_BIGALLOC = 0x200


def mke2fs_options(image: Image) -> list[str]:
    """The options that mke2fs gets for `image`; its `-E` are joined, as only the last counts."""
    extended = list(_EXTENDED)
    others: list[str] = []
    options = iter(image.options)
    for option in options:
        if option == "-E":
            extended.append(next(options, ""))
        else:
            others.append(option)
    return ["-q", "-F", "-m", "0", "-t", "ext4", "-U", _UUID, "-E", ",".join(extended), *others]


def _run(
    program: str, args: Sequence[str], stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    command = [find_program(program), *args]
    whole = {**os.environ, "LC_ALL": "C.UTF-8", **env}
    try:
        return subprocess.run(
            command, input=stdin, env=whole, check=False, capture_output=True,
            encoding="utf-8", errors="backslashreplace", timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise FileSystemToolError(
            f"{program} did not finish within {_SECONDS} s on {args[-1]}"
        ) from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line in which an e2fsprogs program says why it failed."""
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines()]
    lines = [line for line in lines if line and not re.match(r"\w+ \d+\.\d+.* \(", line)]
    return lines[0] if lines else f"exit status {done.returncode}"


def make_image(image: Image, path: Path) -> None:
    """Make `image` in the regular file `path`, on a device filled with `POISON`.

    Raises `ImageError` with mke2fs's reason if it can't be made so, `CacheError` if the
    disk is full. Devices, and paths below /dev but /dev/shm, are refused.
    """
    try:
        refuse_irregular(path)
    except OSError as error:
        raise ImageError(f"the image {path} cannot be made: {error.strerror}") from error
    if not 0 < image.size <= DEVICE_SIZE:
        raise ImageError(
            f"image {image.name}: {image.size} bytes do not fit the device of {DEVICE_SIZE} bytes"
        )
    try:
        with cache.disk_errors(path.parent), path.open("wb") as file:
            _fill(file)
        # A size keeps mke2fs from taking the whole file; K as the smallest block is 1 KiB.
        args = [*mke2fs_options(image), str(path), f"{image.size // 1024}K"]
        done = _run("mke2fs", args, MKE2FS_CONFIG=str(_CONFIGURATION), E2FSPROGS_FAKE_TIME=_TIME)
        if done.returncode != 0:
            reason = _reason(done).removeprefix(f"{path}: ")
            raise ImageError(f"image {image.name}: {reason}")
        if not _has_journal(path) and not any("^has_journal" in word for word in image.options):
            # mke2fs leaves it out without a word and reports success.
            raise ImageError(f"image {image.name}: {image.size} bytes are too small for a journal")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _has_journal(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(_SUPERBLOCK + 0x5C)
        return bool(struct.unpack("<I", file.read(4))[0] & _COMPAT_HAS_JOURNAL)


def _fill(file: BinaryIO) -> None:
    piece = bytes([POISON]) * (1 << 20)
    for _ in range(DEVICE_SIZE // len(piece)):
        file.write(piece)


def image_file(image: Image) -> Path:
    """The image file of `image`, from the cache; never to be written to.

    Made if need be, unless it is a copy of one that was given: then `ImageError` says if it
    is not there any more.
    """
    if image.sha256:
        return kept_file(image)
    key = cache.key_of(
        _version(find_program("mke2fs")), str(image.size), str(DEVICE_SIZE), str(POISON),
        *mke2fs_options(image), _CONFIGURATION.read_bytes(),
    )  # fmt: skip

    def fill(into: Path) -> None:
        cache.prune("images", keep=3, days=1)
        make_image(image, into / "image")

    return cache.entry("images", key, fill) / "image"


@functools.cache
def _version(program: str) -> str:
    """What `program`, an mke2fs, says of itself."""
    return _run(program, ["-V"]).stderr


@functools.cache
def geometry_of(image: Image) -> Geometry:
    """What the superblock of `image` says. Raises what `image_file` does."""
    return read_geometry(image_file(image))


def read_geometry(path: Path) -> Geometry:
    """What the superblock of the image `path` says (fs/ext4/ext4.h: ext4_super_block).

    Raises `ImageError` if the file holds no ext4.
    """
    try:
        with path.open("rb") as file:
            file.seek(_SUPERBLOCK)
            raw = file.read(1024)
    except OSError as error:
        raise ImageError(f"cannot read the image {path}: {error.strerror}") from error
    if len(raw) < 1024 or struct.unpack_from("<H", raw, 56)[0] != _MAGIC:
        raise ImageError(f"{path} holds no ext4 file system")
    blocks, reserved, free = struct.unpack_from("<III", raw, 4)
    incompat, ro_compat = struct.unpack_from("<II", raw, 0x60)
    if incompat & _INCOMPAT_64BIT:
        high = struct.unpack_from("<III", raw, 0x150)
        blocks, reserved, free = (
            low | upper << 32 for low, upper in zip((blocks, reserved, free), high, strict=True)
        )
    log_block, log_cluster = struct.unpack_from("<II", raw, 24)
    (inode_size,) = struct.unpack_from("<H", raw, 88)
    return Geometry(
        blocks=blocks,
        free_blocks=free,
        reserved_blocks=reserved,
        block_size=1024 << log_block,
        cluster_size=1024 << (log_cluster if ro_compat & _RO_COMPAT_BIGALLOC else log_block),
        inode_size=inode_size,
    )


_NO_FINDING = re.compile(
    r"Pass |Superblock last (mount|write) time is in the future\.|\(by less than a day, "
)
"""What e2fsck says beside its findings: a guest's clock may be a little ahead of the host's."""


def fsck(path: Path) -> str:
    """What `e2fsck -fn` finds wrong with the image `path`; '' if nothing.

    Raises `FileSystemToolError` if e2fsck could not do its work.
    """
    done = _run("e2fsck", ["-fn", str(path)])
    if done.returncode == 0:
        return ""
    if done.returncode & ~7:  # 8 operational error, 16 usage, 32 cancelled, 128 library
        raise FileSystemToolError(f"e2fsck failed on {path}: {_reason(done)}")
    lines = (line.strip() for line in done.stdout.splitlines())
    return "\n".join(line for line in lines if line and not _NO_FINDING.match(line))


def recover(path: Path) -> str:
    """What `e2fsck -fp` can't repair by itself of the image `path`, which it changes; "" if all.

    That is what a boot after a power failure does. Raises `FileSystemToolError` as `fsck` does.
    """
    done = _run("e2fsck", ["-fp", str(path)])
    if done.returncode & ~7:
        raise FileSystemToolError(f"e2fsck failed on {path}: {_reason(done)}")
    return done.stdout.strip() if done.returncode & 4 else fsck(path)


def disk_blocks(path: Path, names: Sequence[str]) -> dict[str, int]:
    """i_blocks (512-byte sectors) of the files `names` in the image's root directory.

    Names that do not exist are left out. One call of debugfs answers for all.
    """
    plain = [name for name in names if re.fullmatch(r"[^\s\"/]+", name)]
    if len(plain) != len(names):
        raise FileSystemToolError(f"names for debugfs need to be plain: {sorted(names)}")
    if not names:
        return {}
    commands = "".join(f"stat /{name}\n" for name in plain)
    done = _run("debugfs", ["-f", "-", str(path)], commands)
    parts = re.split(r"^debugfs: stat /(\S+)\n", done.stdout, flags=re.M)[1:]
    found: dict[str, int] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        match = re.search(r"Flags: 0x([0-9a-f]+)\n.*Blockcount: (\d+)", text, re.S)
        if match is not None:
            huge = int(match[1], 16) & HUGE_FILE_FL  # then it counts file system blocks
            found[name] = int(match[2]) * (read_geometry(path).block_size // 512 if huge else 1)
        elif f"/{name}: File not found" not in done.stderr:
            # debugfs exits with 0 even if it could not open the file system.
            raise FileSystemToolError(f"debugfs failed on {path}: {_reason(done)}")
    return found
