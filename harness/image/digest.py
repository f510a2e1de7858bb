"""A digest of a file's content whose cost grows with what is written, not with the size."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

__all__ = ["PIECE", "digest"]

PIECE = 1024
"""Bytes: the smallest block, so that the digest is the same for every block size."""

_ZEROS = bytes(PIECE)


def digest(chunks: Iterable[tuple[int, bytes]], size: int) -> str:
    """SHA-256 over the pieces that are not all zero, and over where they lie.

    `chunks` are (byte offset, bytes) in the file's order, each offset a multiple of
    `PIECE`; what they leave out reads as zeros, what is past `size` bytes does not count.
    Two files have the same digest if they read the same: holes, unwritten extents and
    written zeros do not differ.
    """
    data, runs = hashlib.sha256(), hashlib.sha256(struct.pack("<Q", size))
    start = end = 0
    for offset, chunk in chunks:
        if offset >= size:
            break
        chunk = chunk[: size - offset]  # noqa: PLW2901
        for first, last in _nonzero(chunk):
            if offset + first != end:
                runs.update(struct.pack("<QQ", start, end))
                start = offset + first
            end = offset + last
            data.update(chunk[first:last])
    runs.update(struct.pack("<QQ", start, end))
    runs.update(data.digest())
    return runs.hexdigest()


def _nonzero(chunk: bytes) -> list[tuple[int, int]]:
    """Runs of pieces that are not all zero: (first byte, end)."""
    if len(chunk) % PIECE == 0 and _ZEROS not in chunk:
        return [(0, len(chunk))]
    found: list[tuple[int, int]] = []
    for at in range(0, len(chunk), PIECE):
        end = min(at + PIECE, len(chunk))
        if chunk[at:end] == _ZEROS[: end - at]:
            continue
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], end)
        else:
            found.append((at, end))
    return found
