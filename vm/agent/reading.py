"""Contents of files, told to the host as they are read: it makes the checksums, for which an
emulated guest would take longer than for all else.

Pieces that are all zero are not told, so most of a file is not.
"""

from __future__ import annotations

import errno
import os
from binascii import b2a_base64

from .data import data_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Row = dict[str, Any]
    Run = tuple[str, int, int]

__all__ = ["read_contents", "read_file"]

PIECE = 4096
CHUNK = 1 << 18
"""Bytes that are read at once, and told at once."""
WHOLE_FILE_LIMIT = 256 << 20
"""Bytes up to which a file is read as a whole; of larger ones only the data ranges are."""

_ZEROES = bytes(CHUNK)


def read_contents(
    root: str, names: list[str], tell: Callable[[list[Run], bytes], None]
) -> dict[str, Row]:
    """Read the files `names` below `root`; `tell` lists of runs, and their bytes in base64.

    A run is a file's name, an offset and a length in bytes; see `read_file`. Returns each
    file's `size` in bytes and whether it was read as a `whole`.
    """
    result: dict[str, Row] = {}
    runs: list[Run] = []
    held = bytearray()
    for name in names:
        fd = os.open(f"{root}/{name}", os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            result[name] = {"size": size, "whole": size <= WHOLE_FILE_LIMIT}
            for at, data in read_file(fd, size):
                if len(held) + len(data) > CHUNK:
                    tell(runs, b2a_base64(held, newline=False))
                    runs, held = [], bytearray()
                runs.append((name, at, len(data)))
                held += data
        finally:
            os.close(fd)
    if runs:
        tell(runs, b2a_base64(held, newline=False))
    return result


def read_file(
    fd: int, size: int, limit: int = WHOLE_FILE_LIMIT
) -> Iterator[tuple[int, bytes | bytearray]]:
    """Offsets and bytes of what is not zero in the file `fd` of `size` bytes, in order: pieces
    of 4096 bytes, adjacent ones as one, of `CHUNK` bytes at most; the last may end at EOF.

    All of the file is read, or, if it is longer than `limit` bytes, its data ranges (SEEK_DATA).
    """
    buffer = bytearray(CHUNK)
    if size <= limit:
        yield from _runs(fd, 0, size, buffer)
        return
    for start, end in data_ranges(fd):
        yield from _runs(fd, start & -PIECE, min(-(-end // PIECE) * PIECE, size), buffer)


def _runs(
    fd: int, start: int, end: int, buffer: bytearray
) -> Iterator[tuple[int, bytes | bytearray]]:
    view = memoryview(buffer)
    while start < end:
        length = min(CHUNK, end - start)
        if os.preadv(fd, [view[:length]], start) != length:
            raise OSError(errno.EIO, "short read")
        read = buffer if length == CHUNK else buffer[:length]
        if read != _ZEROES[:length]:
            for first, last in _not_zero(read):
                yield start + first, read[first:last]
        start += length


def _not_zero(data: bytearray) -> Iterator[tuple[int, int]]:
    """Where adjacent pieces begin and end of which none is all zero."""
    first = -1
    for at in range(0, len(data), PIECE):
        piece = data[at : at + PIECE]
        if piece == _ZEROES[: len(piece)]:
            if first >= 0:
                yield first, at
            first = -1
        elif first < 0:
            first = at
    if first >= 0:
        yield first, len(data)
