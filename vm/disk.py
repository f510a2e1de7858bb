"""The guest's disk: raw, in anonymous memory, reset between workloads without a reboot.

Nothing is left behind by a killed process, because the disk has no name. QEMU and e2fsck
open it by `path`.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterable
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


CHECK = 100
"""After so many resets of which it was told where the guest wrote, all is looked at once."""


class Disk:
    """A disk of `size` bytes, zero at first. `close` frees the memory."""

    def __init__(self, size: int = DEVICE_SIZE) -> None:
        self.size = size
        self._images: dict[tuple[Path, int, int], list[bytes]] = {}
        self._distinct: dict[bytes, bytes] = {}
        """The pieces of those images, each once, so that the same ones are one object."""
        self._equal: list[bytes] | None = None
        """The pieces that the disk was made equal to, if their image is kept in memory."""
        self._unchecked = 0
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

    def reset(self, base: Path, written: Iterable[tuple[int, int]] | None = None) -> int:
        """Make the disk equal to the image `base`; the number of bytes that were rewritten.

        What lies behind the image is zero. Only pieces of 64 KiB that differ are written. The
        guest must not have the disk mounted, nor any of it cached. `written` are offset and
        length of all that was written since the last reset, if that is known: nothing else is
        looked at then, but in each `CHECK`th reset. Raises `MachineryError` if it shows that more
        was written.
        """
        before, self._equal = self._equal, None  # until it is equal to something again
        pieces = self._pieces(base)
        told = None
        if written is not None and before is not None:
            told = _to_look_at(before, pieces, written)
        self._unchecked = 0 if told is None else self._unchecked + 1
        check = self._unchecked >= CHECK
        done = 0
        zero = bytes(PIECE)
        with memoryview(self._map) as disk:
            count = -(-self.size // PIECE)
            for index in range(count) if told is None or check else sorted(told):
                at, end = index * PIECE, min((index + 1) * PIECE, self.size)
                wanted = pieces[index] if index < len(pieces) else zero[: end - at]
                with disk[at:end] as piece:
                    if wanted.startswith(piece):  # compares without a copy
                        continue
                    if told is not None and index not in told:
                        raise MachineryError(f"QEMU did not tell of a write to the disk at {at}")
                    piece[:] = wanted
                    done += end - at
        if check:
            self._unchecked = 0
        self._equal = pieces if len(set(map(id, pieces))) <= FEW else None
        return done

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
            pieces = [self._distinct.setdefault(piece, piece) for piece in pieces]
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


def _to_look_at(
    before: list[bytes], wanted: list[bytes], written: Iterable[tuple[int, int]]
) -> set[int]:
    """Which pieces may differ from those that are `wanted`, on a disk that had those of `before`
    until the guest wrote."""
    pairs = itertools.zip_longest(before, wanted)
    look = {index for index, (old, new) in enumerate(pairs) if old is not new}
    for at, length in written:
        look.update(range(at // PIECE, -(-(at + length) // PIECE)))
    return look
