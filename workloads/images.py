"""The named file systems that workloads run on: size and mke2fs options of each."""

from __future__ import annotations

import functools
import re

import msgspec

__all__ = ["DEVICE_SIZE", "IMAGES", "KEPT", "Geometry", "Image", "kept_name"]

MIB = 1024 * 1024
DEVICE_SIZE = 64 * MIB
"""Bytes of the block device; a file system may be smaller."""
_OPTIONS = re.compile(
    r"(?: -[bCIi] \d{1,9}| -O [a-z0-9_^,]{1,200}| -J size=\d{1,6}| -E quotatype=[a-z:]{1,40})*"
)
"""All that options of an image may be: mke2fs has others that read and write files of the host,
and workloads come from elsewhere, in artifacts, traces and recordings."""
_BLOCKS = frozenset(1024 << shift for shift in range(7))
"""Bytes that a block may have (EXT4_MIN_BLOCK_SIZE to EXT4_MAX_BLOCK_SIZE)."""
KEPT = "from-"
"""What names of images begin with that are in a file; the digest's first digits follow."""


class Image(msgspec.Struct, frozen=True):
    """A file system as mke2fs makes it, or as an image file has it.

    `size` is bytes; `options` are mke2fs options beyond those that every image gets
    (`-m 0`, fixed UUID and hash seed, no lazy initialisation, no discard). `sha256` is the
    digest of the image file that the workload starts from (of its bytes, unpacked), empty
    for what mke2fs makes; `options` then only describe it.
    """

    name: str
    size: int
    options: tuple[str, ...]
    sha256: str = ""

    def __post_init__(self) -> None:
        """Raise `ValueError` for options that are not those of images, or without a block size."""
        words = "".join(f" {word}" for word in self.options)
        if not _OPTIONS.fullmatch(words):
            raise ValueError(f"the image {self.name} has options of mke2fs that none may have")
        if "-b" not in self.options:
            raise ValueError(f"the image {self.name} does not say its block size: -b 4096, say")
        if self.block_size not in _BLOCKS:
            raise ValueError(f"the image {self.name} has blocks of 1k to 64k only: -b 4096, say")
        if self.cluster_size % self.block_size or self.cluster_size < self.block_size:
            raise ValueError(f"the image {self.name} has clusters of whole blocks only")

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return int(self.options[self.options.index("-b") + 1])

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster; the block size without bigalloc."""
        if "-C" not in self.options:
            return self.block_size
        return int(self.options[self.options.index("-C") + 1])

    @property
    def features(self) -> frozenset[str]:
        """What the image adds (`quota`) or removes (`^extents`), as given to `-O`."""
        return _features(self.options)


@functools.cache
def _features(options: tuple[str, ...]) -> frozenset[str]:
    if "-O" not in options:
        return frozenset()
    return frozenset(options[options.index("-O") + 1].split(","))


def kept_name(sha256: str) -> str:
    """How configurations call the image whose file has this digest."""
    return KEPT + sha256[:12]


def _image(name: str, mib: int, options: str) -> Image:
    return Image(name, mib * MIB, tuple(options.split()))


IMAGES: dict[str, Image] = {
    image.name: image
    for image in (
        _image("4k", 64, "-b 4096 -O ^resize_inode"),
        _image("1k", 48, "-b 1024 -O ^resize_inode"),
        _image("2k", 48, "-b 2048 -O ^resize_inode"),
        _image("bigalloc16k", 64, "-b 4096 -O bigalloc,^resize_inode -C 16384"),
        _image("bigalloc64k", 64, "-b 4096 -O bigalloc,^resize_inode -C 65536"),
        _image("1kbigalloc8k", 48, "-b 1024 -O bigalloc,^resize_inode -C 8192"),
        _image("small4k", 16, "-b 4096 -O ^resize_inode -J size=4"),
        _image("nocsum4k", 64, "-b 4096 -O ^metadata_csum,^resize_inode"),
        _image("ext3ish", 64, "-b 4096 -O ^extents,^64bit,^resize_inode"),
        _image("inline", 64, "-b 4096 -O inline_data,^resize_inode"),
        _image("nojournal", 64, "-b 4096 -O ^has_journal,^resize_inode"),
        _image("quota4k", 64, "-b 4096 -O quota,^resize_inode -E quotatype=usrquota"),
        _image(
            "quotabig16k",
            64,
            "-b 4096 -O bigalloc,quota,^resize_inode -C 16384 -E quotatype=usrquota",
        ),
    )
}


class Geometry(msgspec.Struct, frozen=True):
    """What an image's superblock says after mke2fs; the model starts from it.

    `free_blocks` and `blocks` count file system blocks, `reserved_blocks` is the
    superuser's reserve (s_r_blocks_count). `inode_size` is bytes.
    """

    blocks: int
    free_blocks: int
    reserved_blocks: int
    block_size: int
    cluster_size: int
    inode_size: int = 256
