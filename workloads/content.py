"""What a write puts into a file: bytes that depend on the write's tag and the file offset."""

from __future__ import annotations

import hashlib

__all__ = ["pattern", "pattern_view", "sha256_of_zeros"]

_PERIOD = 131072  # i*13 + i//512 repeats modulo 256 after lcm(256, 512*256) bytes
_ROW = bytes(i * 13 & 255 for i in range(512))
_COUNTED = bytes(range(256)) * 2
_ONCE = b"".join(_ROW.translate(_COUNTED[more : more + 256]) for more in range(256))
_TWICE = _ONCE * 2


def pattern(tag: int, off: int, length: int) -> bytes:
    """Content of a write with `tag` to the bytes `[off, off + length)` of a file.

    The byte at file offset `i` is `(tag*167 + i*13 + i//512) & 255`, so that every
    operation and every place in a file reads differently.
    """
    return bytes(pattern_view(tag, off, length))


def pattern_view(tag: int, off: int, length: int) -> memoryview:
    """The same as `pattern`, mostly without a copy of it: each 512 bytes further in the file
    everything is one more, so a tag is worth 167 times that."""
    skip = (off + tag * 167 * 512) % _PERIOD
    return memoryview(_table(skip + length))[skip : skip + length]


_KEPT = 1 << 21
"""Bytes up to which a longer table is kept for the next one: to make it takes as long as to use
it, and where it is made each time an emulated guest gets fresh pages for it."""
_longest = [_TWICE]


def _table(size: int) -> bytes:
    """Contents of at least `size` bytes, from file offset 0 on with tag 0."""
    if size <= len(_longest[0]):
        return _longest[0]
    table = _ONCE * -(-size // _PERIOD)
    if len(table) <= _KEPT:
        _longest[0] = table
    return table


_STEP = 16384
_ZEROS = bytes(_STEP)
_AFTER_ZEROS = [hashlib.sha256()]
"""Digests of so many times `_STEP` zero bytes, with which files begin that begin with a hole."""


def sha256_of_zeros(count: int) -> hashlib._Hash:
    """A digest that has taken `count` zero bytes, and can take more."""
    whole, rest = divmod(count, _STEP)
    while len(_AFTER_ZEROS) <= whole:
        more = _AFTER_ZEROS[-1].copy()
        more.update(_ZEROS)
        _AFTER_ZEROS.append(more)
    digest = _AFTER_ZEROS[whole].copy()
    digest.update(_ZEROS[:rest])
    return digest
