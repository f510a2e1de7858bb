"""The image that is written: a copy of the one that mke2fs made, changed in place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from model.image.errors import ImageError
from model.image.source import Source

__all__ = ["Target", "copied"]

_PIECE = 1 << 16  # bytes; a piece of zeros becomes a hole


class Target:
    """A file that holds an image with blocks of `block_size` bytes."""

    def __init__(self, fd: int, block_size: int) -> None:
        self._fd, self.block_size = fd, block_size

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at byte `offset`."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            view, offset = view[done:], offset + done

    def put(self, block: int, data: bytes) -> None:
        """Put whole blocks from `block` on."""
        self.write(block * self.block_size, data)


@contextlib.contextmanager
def copied(source: Source, path: Path, block_size: int) -> Iterator[Target]:
    """The regular file `path` with the bytes of `source`, to be changed.

    Written beside `path` and moved there at the end, so that nobody finds half an image.
    Raises `ImageError` if it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ImageError(str(path), "file", f"cannot be written: {error.strerror}") from error
    try:
        _copy(source, fd)
        yield Target(fd, block_size)
        beside.replace(path)
    except OSError as error:
        raise ImageError(str(path), "file", f"cannot be written: {error.strerror}") from error
    finally:
        os.close(fd)
        beside.unlink(missing_ok=True)


def _copy(source: Source, fd: int) -> None:
    zero = bytes(_PIECE)
    for at in range(0, source.size, _PIECE):
        piece = source.read(at, _PIECE)
        if piece != zero[: len(piece)]:
            os.pwrite(fd, piece, at)
    os.ftruncate(fd, source.size)
