"""The image that is written: one that mke2fs made, and what changes; in a file or in memory."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from model.image.errors import ImageError
from model.image.source import Source
from workloads.host_files import refuse_irregular

__all__ = ["Overlay", "Target", "copied"]

_PIECE = 1 << 16  # bytes; a piece of zeros becomes a hole


class Target(ABC):
    """An image that can be changed, with blocks of `block_size` bytes."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at byte `offset`."""

    def put(self, block: int, data: bytes) -> None:
        """Put whole blocks from `block` on."""
        self.write(block * self.block_size, data)


class _File(Target):
    """An image in a file."""

    def __init__(self, fd: int, block_size: int) -> None:
        super().__init__(block_size)
        self._fd = fd

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at byte `offset`."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            view, offset = view[done:], offset + done


class Overlay(Target):
    """An image in memory that costs what is changed: `base` shows where nothing was written.

    It is a `Source` too. Nothing may be written past the end of `base`.
    """

    def __init__(self, base: Source, block_size: int) -> None:
        super().__init__(block_size)
        self.name, self.size = f"what is written on {base.name}", base.size
        self._base = base
        self._pieces: dict[int, bytearray] = {}

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at byte `offset`."""
        done = 0
        while done < len(data):
            number, at = divmod(offset + done, _PIECE)
            count = min(_PIECE - at, len(data) - done)
            piece = self._pieces.get(number)
            if piece is None:
                piece = bytearray(self._base.read(number * _PIECE, _PIECE))
                self._pieces[number] = piece
            piece[at : at + count] = data[done : done + count]
            done += count

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from byte `offset`; fewer at the end."""
        parts = []
        end = min(offset + length, self.size)
        while offset < end:
            number, at = divmod(offset, _PIECE)
            count = min(_PIECE - at, end - offset)
            piece = self._pieces.get(number)
            parts.append(
                self._base.read(offset, count) if piece is None else piece[at : at + count]
            )
            offset += count
        return b"".join(parts)

    def close(self) -> None:
        """The base is for others to close."""


@contextlib.contextmanager
def copied(source: Source, path: Path, block_size: int) -> Iterator[Target]:
    """The regular file `path` with the bytes of `source`, to be changed.

    Written beside `path` and moved there at the end, so that nobody finds half an image.
    Raises `ImageError` if it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        refuse_irregular(path)
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ImageError(str(path), "file", f"cannot be written: {error.strerror}") from error
    try:
        _copy(source, fd)
        yield _File(fd, block_size)
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
