"""Contents of files, told to the host as they are read: it makes the checksums, for which an
emulated guest would take longer than for all else.

Pieces that are all zero are not told, so most of a file is not.
"""

from __future__ import annotations

import errno
import os

from .data import data_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Row = dict[str, Any]
    Run = tuple[str, int, int]

__all__ = ["read_contents", "read_file"]

PIECE = 4096
LOOK = 1 << 15
"""Bytes of which it is asked at once whether they are all zero. Each question takes an emulated
guest as long as to tell some thousand bytes more, of which the host leaves out what is zero."""
CHUNK = 1 << 17
"""Bytes that are read at once, and told at once: as many as the kernel reads ahead, or it has only
small folios in the page cache, which take it longer to make and to free."""
WHOLE_FILE_LIMIT = 256 << 20
"""Bytes up to which a file is read as a whole; of larger ones only the data ranges are."""

_ZEROES = bytes(CHUNK)
_BUFFER = memoryview(bytearray(CHUNK))
"""The only one: fresh memory would cost the guest a page fault for every 4096 bytes."""


def read_contents(
    root: str, names: list[str], tell: Callable[[list[Run], Sequence[memoryview]], None]
) -> dict[str, Row]:
    """Read the files `names` below `root`; `tell` lists of runs, and their bytes.

    A run is a file's name, an offset and a length in bytes; see `read_file`. The bytes are gone
    when `tell` has returned. Returns each file's `size` in bytes and whether it was read as a
    `whole`.
    """
    result: dict[str, Row] = {}
    for name in names:
        fd = os.open(f"{root}/{name}", os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            result[name] = {"size": size, "whole": size <= WHOLE_FILE_LIMIT}
            for found in read_file(fd, size):
                runs = [(name, at, len(data)) for at, data in found]
                tell(runs, [data for _, data in found])
        finally:
            os.close(fd)
    return result


def read_file(
    fd: int, size: int, limit: int = WHOLE_FILE_LIMIT
) -> Iterator[list[tuple[int, memoryview]]]:
    """Offsets and bytes of what is not zero in the file `fd` of `size` bytes, in order: pieces
    of 32 KiB, adjacent ones as one; the last may end at EOF. They come in lists, of
    `CHUNK` bytes at most, and are good until the next list is asked for.

    All of the file is read, or, if it is longer than `limit` bytes, its data ranges (SEEK_DATA).
    """
    if size <= limit:
        yield from _runs(fd, 0, size)
        return
    done = 0  # with small blocks the next range may begin in the piece that the last one ended in
    for start, end in data_ranges(fd):
        stop = min(-(-end // PIECE) * PIECE, size)
        yield from _runs(fd, max(start & -PIECE, done), stop)
        done = stop


def _runs(fd: int, start: int, end: int) -> Iterator[list[tuple[int, memoryview]]]:
    preadv, zero, read, into = os.preadv, _ZEROES.startswith, _BUFFER, [_BUFFER]
    for at in range(start, end, CHUNK):
        if end - at < CHUNK:
            read = _BUFFER[: end - at]
            into = [read]
        if preadv(fd, into, at) != len(read):
            raise OSError(errno.EIO, "short read")
        if not zero(read):  # compares without a copy
            yield [(at + first, read[first:last]) for first, last in _not_zero(read)]


def _not_zero(data: memoryview) -> Iterator[tuple[int, int]]:
    """Where adjacent pieces begin and end of which none is all zero."""
    first = -1
    for at in range(0, len(data), LOOK):
        if _ZEROES.startswith(data[at : at + LOOK]):
            if first >= 0:
                yield first, at
            first = -1
        elif first < 0:
            first = at
    if first >= 0:
        yield first, len(data)
