"""Image files that workloads start from: copies in the cache, by the digest of their bytes.

A copy is what `workloads.images.Image.sha256` means: whoever has a trace and the image's
file can repeat the run, and the guest and the model read the very same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vm import cache
from vm.errors import ImageError
from workloads.host_files import open_regular
from workloads.images import DEVICE_SIZE, Image

__all__ = ["kept_file", "pack", "take"]

_KIND = "starts"
_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"


def take(path: Path, check: Callable[[Path], None]) -> tuple[str, Path]:
    """Copy the image `path`, raw or compressed by gzip, into the cache.

    `check` gets the unpacked copy before it is kept, and raises what is wrong with it.
    Returns the digest (sha256) of its bytes and where the copy is, which is never to be
    written to. Raises `ImageError` for devices and whatever else is no regular file, for
    what is larger than the guest's device, and for a damaged gzip file.
    """
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()

    def fill(into: Path) -> None:
        _write_sparse(into / "image", data)
        check(into / "image")

    found = cache.entry(_KIND, digest, fill) / "image"
    cache.prune(_KIND, keep=3, days=7)
    return digest, found


def kept_file(image: Image) -> Path:
    """The copy of `image`, which is in a file. Raises `ImageError` if it is not here."""
    entry = cache.cache_root() / _KIND / image.sha256
    if not (entry / "image").is_file():
        raise ImageError(
            f"the image {image.name} (sha256 {image.sha256}) is not here: give its file with --from"
        )
    cache.touch(entry)
    return entry / "image"


def pack(image: Image, target: Path) -> None:
    """Write the copy of `image` to `target`, compressed. Raises `OSError`."""
    with kept_file(image).open("rb") as file, gzip.open(target, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(file, packed, _PIECE)


def _read(path: Path) -> bytes:
    """All bytes of the image, unpacked."""
    try:
        with open_regular(path) as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            return _unpacked(path, file) if packed else _bounded(path, file)
    except OSError as error:
        raise ImageError(f"the image {path} cannot be read: {error.strerror}") from error


def _bounded(path: Path, file: BinaryIO | gzip.GzipFile) -> bytes:
    """What `file` holds, if that is no more than the guest's device."""
    whole = io.BytesIO()
    while piece := file.read(_PIECE):
        if whole.tell() + len(piece) > DEVICE_SIZE:
            raise ImageError(
                f"the image {path} is larger than the guest's device of {DEVICE_SIZE} bytes"
            )
        whole.write(piece)
    return whole.getvalue()


def _unpacked(path: Path, file: BinaryIO) -> bytes:
    try:
        with gzip.open(file) as unpacked:
            return _bounded(path, unpacked)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ImageError(f"the image {path} is a damaged gzip file: {error}") from error


def _write_sparse(target: Path, data: bytes) -> None:
    """Write `data`, leaving out what is zero."""
    zero = bytes(_PIECE)
    with target.open("wb") as file:
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            if piece == zero[: len(piece)]:
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        file.truncate(len(data))
