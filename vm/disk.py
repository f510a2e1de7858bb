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


class Disk:
    """A disk of `size` bytes, zero at first. `close` frees the memory."""

    def __init__(self, size: int = DEVICE_SIZE) -> None:
        self.size = size
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
        with base.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length > self.size:
                raise MachineryError(f"the image {base} is larger than the disk: {length} bytes")
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ) as image:
                written = sum(self._reset_piece(image, at) for at in range(0, length, PIECE))
        zero = bytes(PIECE)
        for at in range(length, self.size, PIECE):
            end = min(at + PIECE, self.size)
            if self._map[at:end] != zero[: end - at]:
                self._map[at:end] = zero[: end - at]
                written += end - at
        return written

    def _reset_piece(self, image: mmap.mmap, at: int) -> int:
        wanted = image[at : at + PIECE]
        end = at + len(wanted)
        if self._map[at:end] == wanted:
            return 0
        self._map[at:end] = wanted
        return len(wanted)

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
