"""Content of a file: bytes by position, holes read as zeros.

One store stands for page cache and disk: after a clean writeback they agree, and the
model's `page_cache` says which blocks are dirty. Bytes past i_size are kept zero.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from model.units import PAGE

__all__ = ["Content"]

CHUNK = 65536
_ZEROS = bytes(CHUNK)


class Content:
    """Sparse bytes in chunks of 64 KiB."""

    __slots__ = ("_checksums", "_digest", "chunks", "lost")

    def __init__(self) -> None:
        self.chunks: dict[int, bytearray] = {}
        self.lost: list[tuple[int, int]] = []
        self._digest: tuple[int, str] | None = None
        self._checksums: tuple[int, dict[int, int]] | None = None

    def lose(self, start: int, end: int) -> None:
        """Bytes `[start, end)` can't be known from here on."""
        if start < end:
            touching = [part for part in self.lost if part[0] <= end and start <= part[1]]
            apart = [part for part in self.lost if part not in touching]
            ends = [edge for part in (*touching, (start, end)) for edge in part]
            self.lost = [*apart, (min(ends), max(ends))]

    def _regain(self, start: int, end: int) -> None:
        """Bytes `[start, end)` are known again."""
        kept = [
            part
            for low, high in self.lost
            for part in ((low, min(high, start)), (max(low, end), high))
        ]
        self.lost = [(low, high) for low, high in kept if low < high]

    def knows(self, start: int, end: int) -> bool:
        """Whether all bytes `[start, end)` can be known."""
        return not any(low < end and start < high for low, high in self.lost)

    def undefined(self, size: int) -> tuple[tuple[int, int], ...]:
        """What can't be known of the first `size` bytes, as `(start, length)`."""
        return tuple((low, min(high, size) - low) for low, high in sorted(self.lost) if low < size)

    def write(self, pos: int, data: bytes | memoryview) -> None:
        """Put `data` at byte `pos`."""
        at, view = 0, memoryview(data)
        self._digest = self._checksums = None
        if self.lost:
            self._regain(pos, pos + len(view))
        while at < len(view):
            index, off = divmod(pos + at, CHUNK)
            count = min(CHUNK - off, len(view) - at)
            chunk = self.chunks.get(index)
            if chunk is None:
                chunk = self.chunks[index] = bytearray(CHUNK)
            chunk[off : off + count] = view[at : at + count]
            at += count

    def zero(self, start: int, end: int | None = None) -> None:
        """Make bytes `[start, end)` zero; without `end` all from `start` on."""
        self._digest = self._checksums = None
        if self.lost:
            self._regain(start, (1 << 63) if end is None else end)
        last = CHUNK * (max(self.chunks, default=-1) + 1)
        end = last if end is None else min(end, last)
        if end <= start:
            return
        first, final = start // CHUNK, (end - 1) // CHUNK
        if final - first > len(self.chunks):
            touched = [index for index in self.chunks if first <= index <= final]
        else:
            touched = [index for index in range(first, final + 1) if index in self.chunks]
        for index in touched:
            low, high = max(start - index * CHUNK, 0), min(end - index * CHUNK, CHUNK)
            if high - low == CHUNK:
                del self.chunks[index]
            else:
                self.chunks[index][low:high] = _ZEROS[: high - low]

    def read(self, pos: int, count: int) -> bytes:
        """`count` bytes from `pos`."""
        parts = []
        while count > 0:
            index, off = divmod(pos, CHUNK)
            step = min(CHUNK - off, count)
            chunk = self.chunks.get(index)
            parts.append(_ZEROS[:step] if chunk is None else bytes(chunk[off : off + step]))
            pos += step
            count -= step
        return b"".join(parts)

    def move(self, start: int, target: int, size: int) -> None:
        """Shift bytes `[start, size)` to begin at `target` (collapse and insert range)."""
        delta = target - start
        tail = [
            (max(index * CHUNK, start), min((index + 1) * CHUNK, size))
            for index in self.chunks
            if index * CHUNK < size and (index + 1) * CHUNK > start
        ]
        moved = [(low + delta, self.read(low, high - low)) for low, high in tail]
        lost = [(max(low, start) + delta, high + delta) for low, high in self.lost if high > start]
        self.zero(min(start, target))
        for low, data in moved:
            self.write(low, data)
        for low, high in lost:
            self.lose(low, high)

    def sha256(self, size: int) -> str:
        """Digest of the first `size` bytes; asked twice, it is computed once."""
        if self._digest is not None and self._digest[0] == size:
            return self._digest[1]
        digest = hashlib.sha256()
        for index in range(-(-size // CHUNK)):
            count = min(CHUNK, size - index * CHUNK)
            digest.update(memoryview(self.chunks.get(index, _ZEROS))[:count])
        self._digest = size, digest.hexdigest()
        return self._digest[1]

    def checksums(self, size: int) -> dict[int, int]:
        """crc32 of each 4 KiB piece of the first `size` bytes that is not all zero; asked
        twice, it is computed once."""
        if self._checksums is None or self._checksums[0] != size:
            self._checksums = size, {}
            for index in sorted(self.chunks):
                self._checksums[1].update(self._pieces(index, size))
        return self._checksums[1]

    def _pieces(self, index: int, size: int) -> Iterator[tuple[int, int]]:
        """Number and crc32 of the pieces of chunk `index` that are not all zero."""
        start = index * CHUNK
        chunk = bytes(self.chunks[index][: max(size - start, 0)])
        for off in range(0, len(chunk), PAGE):
            piece = chunk[off : off + PAGE]
            if piece != _ZEROS[: len(piece)]:
                yield (start + off) // PAGE, zlib.crc32(piece)
