"""Where an image's bytes come from: a regular file, or memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from model.image.errors import ImageError

__all__ = ["FileSource", "MemorySource", "Source"]


class Source(Protocol):
    """Bytes of an image; `name` is how messages call it, `size` its length in bytes."""

    @property
    def name(self) -> str:
        """How messages call the image."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from byte `offset`; fewer at the end."""

    def close(self) -> None:
        """Let go of the file."""


class MemorySource:
    """An image held in memory."""

    def __init__(self, data: bytes, name: str = "image") -> None:
        self.name, self.size = name, len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from byte `offset`."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Nothing to let go of."""


class FileSource:
    """An image in a regular file, read by pread: it may shrink meanwhile without harm.

    Raises `ImageError` for devices, for paths below /dev but the memory file system
    /dev/shm, and for whatever else is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        _refuse_devices(path)
        try:
            # Not blocking: a FIFO would wait for a writer before it can be refused.
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(self.name, "file", f"cannot be opened: {reason}") from error
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise ImageError(self.name, "file", "is no regular file; images are regular files")
        self.size = found.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from byte `offset`."""
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            reason = f"cannot be read at byte {offset}: {error.strerror}"
            raise ImageError(self.name, "file", reason) from error

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _refuse_devices(path: Path) -> None:
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise ImageError(str(path), "file", f"cannot be opened: {error}") from error
    if resolved.is_relative_to("/dev") and not resolved.is_relative_to("/dev/shm"):
        raise ImageError(str(path), "file", "is below /dev; images are regular files")
    if path.exists() and not path.is_file():
        raise ImageError(str(path), "file", "is no regular file; images are regular files")
