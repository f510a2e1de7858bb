"""The guest's disk: raw, in anonymous memory, reset between workloads without a reboot.

Nothing is left behind by a killed process, because the disk has no name. QEMU and e2fsck
open it by `path`.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from vm.errors import MachineryError
from workloads.images import DEVICE_SIZE

__all__ = ["Disk"]

PIECE = 1 << 16
"""Small enough that the C library keeps the memory of the copies that are compared; with pieces of
1 MiB fresh pages for them took most of the time."""


FEW = 64
"""Different pieces of an image that is kept in memory. Those that mke2fs makes have a dozen: all
free blocks are filled with the same."""


class Disk:
    """A disk of `size` bytes, zero at first. `close` frees the memory."""

    def __init__(self, size: int = DEVICE_SIZE) -> None:
        self.size = size
        self._images: dict[tuple[Path, int, int], list[bytes]] = {}
        try:
            self.fd = os.memfd_create("ext4diff-disk", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, size)
            self._map = mmap.mmap(self.fd, size)
        except OSError as error:
            raise MachineryError(f"no memory for a disk of {size} bytes: {error}") from error

    @property
    def path(self) -> str:
        """A name under which this process and its children can open the disk."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def reset(self, base: Path) -> int:
        """Make the disk equal to the image `base`; the number of bytes that were rewritten.

        What lies behind the image is zero. Only pieces of 64 KiB that differ are written.
        The guest must not have the disk mounted, nor any of it cached.
        """
        written = 0
        pieces = self._pieces(base)
        zero = bytes(PIECE)
        with memoryview(self._map) as disk:
            for at in range(0, self.size, PIECE):
                end = min(at + PIECE, self.size)
                index = at // PIECE
                wanted = pieces[index] if index < len(pieces) else zero[: end - at]
                with disk[at:end] as piece:
                    if not wanted.startswith(piece):  # compares without a copy
                        piece[:] = wanted
                        written += end - at
        return written

    def _pieces(self, base: Path) -> list[bytes]:
        """The pieces of the image `base`, the last with zeroes behind it."""
        status = base.stat()
        length = status.st_size
        if length > self.size:
            raise MachineryError(f"the image {base} is larger than the disk: {length} bytes")
        key = (base, length, status.st_mtime_ns)
        if key in self._images:
            return self._images[key]
        seen: dict[bytes, bytes] = {}
        pieces: list[bytes] = []
        with base.open("rb") as file:
            for at in range(0, length, PIECE):
                end = min(at + PIECE, self.size)
                piece = file.read(PIECE).ljust(end - at, b"\0")
                pieces.append(seen.setdefault(piece, piece))
        if len(seen) <= FEW:
            self._images[key] = pieces
        return pieces

    def copy_to(self, target: Path) -> None:
        """Write the disk to the file `target`, leaving out what is zero."""
        zero = bytes(PIECE)
        with target.open("wb") as file:
            for at in range(0, self.size, PIECE):
                piece = self._map[at : at + PIECE]
                if piece == zero[: len(piece)]:
                    file.seek(len(piece), os.SEEK_CUR)
                else:
                    file.write(piece)
            file.truncate(self.size)

    def close(self) -> None:
        """Free the memory once QEMU has closed it too."""
        if not self._map.closed:
            self._map.close()
            os.close(self.fd)
