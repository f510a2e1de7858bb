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
        view = memoryview(chunk)
        for first, last in _nonzero(chunk, min(len(chunk), size - offset)):
            if offset + first != end:
                runs.update(struct.pack("<QQ", start, end))
                start = offset + first
            end = offset + last
            data.update(view[first:last])
    runs.update(struct.pack("<QQ", start, end))
    runs.update(data.digest())
    return runs.hexdigest()


def _nonzero(chunk: bytes, length: int) -> list[tuple[int, int]]:
    """Runs of pieces of `chunk[:length]` that are not all zero: (first byte, end).

    Only pieces whose first byte is zero are looked at: in most files those are few.
    """
    found, start = [], 0
    heads = chunk[:length:PIECE]
    number = heads.find(0)
    while number >= 0:
        first, end = number * PIECE, min((number + 1) * PIECE, length)
        if chunk[first:end] == _ZEROS[: end - first]:
            if start < first:
                found.append((start, first))
            start = end
        number = heads.find(0, number + 1)
    if start < length:
        found.append((start, length))
    return found
