"""Where an image's bytes come from: a regular file, or memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from model.image.errors import ImageError
from workloads.host_files import open_regular

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
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise ImageError(self.name, "file", f"cannot be opened: {error.strerror}") from error
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from byte `offset`."""
        try:
            return os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            reason = f"cannot be read at byte {offset}: {error.strerror}"
            raise ImageError(self.name, "file", reason) from error

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()
