"""The extents of a file by FIEMAP, without FIEMAP_FLAG_SYNC (which would write it back)."""

from __future__ import annotations

import fcntl
from functools import lru_cache
from struct import Struct

__all__ = ["fiemap", "parse_extents"]

FS_IOC_FIEMAP = 0xC020660B
LAST, DELALLOC, INLINE, UNWRITTEN = 1, 4, 0x200, 0x800
_HEADER = Struct("=QQLLLL")
_EXTENT = Struct("=QQQQQLLLL")
_COUNT = 256

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = dict[str, int | str | None]


def fiemap(fd: int) -> list[Row]:
    """The extents of `fd` as `harness.trace.Extent` encodes them, in file order."""
    rows: list[Row] = []
    start = 0
    while True:
        buffer = bytearray(_HEADER.size + _COUNT * _EXTENT.size)
        _HEADER.pack_into(buffer, 0, start, (1 << 64) - 1 - start, 0, 0, _COUNT, 0)
        fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer)
        size = _HEADER.size + _HEADER.unpack_from(buffer)[3] * _EXTENT.size
        more, last = parse_extents(bytes(memoryview(buffer)[:size]))
        rows += more
        if last or not more:
            return rows
        end = more[-1]
        start = int(end["start"] or 0) + int(end["length"] or 0)


@lru_cache(128)  # most files are as they were after the operation before
def parse_extents(buffer: bytes) -> tuple[list[Row], bool]:
    """The extents in a `struct fiemap`, and whether the last of the file is among them.

    Who asks for the same once more gets the same rows.
    """
    mapped = _HEADER.unpack_from(buffer)[3]
    rows: list[Row] = []
    last = False
    for index in range(mapped):
        fields = _EXTENT.unpack_from(buffer, _HEADER.size + index * _EXTENT.size)
        logical, physical, length, flags = fields[0], fields[1], fields[2], fields[5]
        row: Row = {"start": logical, "length": length, "state": "written", "physical": physical}
        if flags & DELALLOC:
            row["state"], row["physical"] = "delayed", None
        elif flags & INLINE:
            row["state"], row["physical"] = "inline", None
        elif flags & UNWRITTEN:
            row["state"] = "unwritten"
        rows.append(row)
        last = bool(flags & LAST)
    return rows, last
