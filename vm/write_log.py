"""Where the guest has written to its disk, as QEMU tells it: one line of its trace for each write
to a drive, into memory.

So a disk can be made equal to an image again without a look at all of it. A QEMU that traces
otherwise, or calls the event otherwise, tells nothing, which is told apart from a guest that has
written nothing: there is none, since each mount writes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re

__all__ = ["EVENT", "WriteLog"]

EVENT = "blk_co_pwritev"
"""QEMU's trace event of each write to a drive, of zeros too (block/block-backend.c)."""
_LINE = re.compile(rb"blk_co_pwritev blk \S+ bs \S+ offset (\d+) bytes (\d+) flags")
_PUNCH = 3
"""FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class WriteLog:
    """The file, in memory, that QEMU writes its trace to; `close` closes it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ext4diff-writes", os.MFD_CLOEXEC)
        self._taken = 0

    @property
    def arguments(self) -> list[str]:
        """Those of QEMU, which inherits the descriptor."""
        return ["-D", f"/proc/self/fd/{self.fd}", "-trace", f"enable={EVENT}"]

    def take(self) -> list[tuple[int, int]] | None:
        """Offset and length in bytes of each write since the last call; None if that is not known.

        The guest must not be writing meanwhile.
        """
        size = os.fstat(self.fd).st_size
        text = os.pread(self.fd, size - self._taken, self._taken)
        if text:  # the memory is free again, the file's end stays where QEMU goes on
            start = self._taken & -mmap.PAGESIZE  # the last time's last page
            _libc.fallocate(self.fd, _PUNCH, start, size - start)
        self._taken = size
        found = _LINE.findall(text)
        if not found or len(found) != text.count(b"\n") or not text.endswith(b"\n"):
            return None
        return [(int(offset), int(length)) for offset, length in found]

    def close(self) -> None:
        """Free the memory once QEMU has ended."""
        os.close(self.fd)
