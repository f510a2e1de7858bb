"""Content of a file: bytes by position, holes read as zeros.

One store stands for page cache and disk: after a clean writeback they agree, and the
model's `page_cache` says which blocks are dirty. Bytes past i_size are kept zero.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterator

from model.units import PAGE, round_down, round_up
from workloads.content import sha256_of_zeros

__all__ = ["Content"]

_ZEROS = bytes(65536)
NO_END = 1 << 63
"""Past the last byte of any file."""


class Content:
    """Sparse bytes: pieces as they were written, by position. What is between is zero."""

    __slots__ = ("_checksums", "_digest", "_pieces", "_starts", "lost")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[memoryview] = []
        self.lost: list[tuple[int, int]] = []
        self._digest: tuple[int, str] | None = None
        self._checksums: tuple[int, dict[int, int]] | None = None

    def copy(self) -> Content:
        """The same bytes, to be changed by themselves."""
        twin = Content()
        twin._starts, twin._pieces = self._starts.copy(), self._pieces.copy()
        twin.lost = self.lost.copy()
        return twin

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
        """Put `data` at byte `pos`; it may not change afterwards."""
        if data:
            at = self._make_room(pos, pos + len(data))
            self._starts.insert(at, pos)
            self._pieces.insert(at, memoryview(data))

    def zero(self, start: int, end: int = NO_END) -> None:
        """Make bytes `[start, end)` zero; without `end` all from `start` on."""
        if start < end:
            self._make_room(start, end)

    def _make_room(self, start: int, end: int) -> int:
        """Take bytes `[start, end)` out; returns the index of a piece to put there instead."""
        self._digest = self._checksums = None
        if self.lost:
            self._regain(start, end)
        starts, pieces = self._starts, self._pieces
        low, high = bisect_left(starts, start), bisect_left(starts, end)
        if low == high and (not low or starts[low - 1] + len(pieces[low - 1]) <= start):
            return low
        kept: list[tuple[int, memoryview]] = []
        if low and starts[low - 1] + len(pieces[low - 1]) > start:
            low -= 1
            kept.append((starts[low], pieces[low][: start - starts[low]]))
        at = low + len(kept)
        if low < high and starts[high - 1] + len(pieces[high - 1]) > end:
            kept.append((end, pieces[high - 1][end - starts[high - 1] :]))
        starts[low:high] = [pos for pos, _ in kept]
        pieces[low:high] = [piece for _, piece in kept]
        return at

    def _overlapping(self, start: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """What was written in bytes `[start, end)`, cut to it, with its position."""
        low, high = bisect_left(self._starts, start), bisect_left(self._starts, end)
        for index in range(max(low - 1, 0), high):
            pos = self._starts[index]
            skip = max(start - pos, 0)
            piece = self._pieces[index][skip : end - pos]
            if piece:
                yield pos + skip, piece

    def _buffers(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """All of bytes `[start, end)` in order, zeros included."""
        for pos, piece in self._overlapping(start, end):
            if pos > start:
                yield from _zeros(pos - start)
            yield piece
            start = pos + len(piece)
        yield from _zeros(end - start)

    def read(self, pos: int, count: int) -> bytes:
        """`count` bytes from `pos`."""
        return b"".join(self._buffers(pos, pos + count))

    def take(self, other: Content, start: int, end: int) -> None:
        """Make bytes `[start, end)` those of `other`, not known where they are not there."""
        self.write(start, other.read(start, end - start))
        for low, high in other.lost:
            self.lose(max(low, start), min(high, end))

    def move(self, start: int, target: int, size: int) -> None:
        """Shift bytes `[start, size)` to begin at `target` (collapse and insert range)."""
        delta = target - start
        moved = list(self._overlapping(start, size))
        lost = [(max(low, start) + delta, high + delta) for low, high in self.lost if high > start]
        self.zero(min(start, target))
        self._starts += [pos + delta for pos, _ in moved]
        self._pieces += [piece for _, piece in moved]
        for low, high in lost:
            self.lose(low, high)

    def sha256(self, size: int) -> str:
        """Digest of the first `size` bytes; asked twice, it is computed once."""
        if self._digest is None or self._digest[0] != size:
            start = min(self._starts[0], size) if self._starts else size
            digest = sha256_of_zeros(start)
            for buffer in self._buffers(start, size):
                digest.update(buffer)
            self._digest = size, digest.hexdigest()
        return self._digest[1]

    def checksums(self, size: int) -> dict[int, int]:
        """crc32 of each 4 KiB piece of the first `size` bytes that is not all zero; asked
        twice, it is computed once."""
        if self._checksums is None or self._checksums[0] != size:
            self._checksums = size, dict(self._page_checksums(size))
        return self._checksums[1]

    def _page_checksums(self, size: int) -> Iterator[tuple[int, int]]:
        """Number and crc32 of the pages that are not all zero."""
        done = 0
        for pos, piece in self._overlapping(0, size):
            start = max(round_down(pos, PAGE), done)
            done = round_up(pos + len(piece), PAGE)
            data = self.read(start, min(done, size) - start)
            for off in range(0, len(data), PAGE):
                page = data[off : off + PAGE]
                if page != _ZEROS[: len(page)]:
                    yield (start + off) // PAGE, zlib.crc32(page)


def _zeros(count: int) -> Iterator[bytes]:
    """`count` bytes of zeros."""
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)
