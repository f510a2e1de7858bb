"""What a write puts into a file: bytes that depend on the write's tag and the file offset."""

from __future__ import annotations

import functools

__all__ = ["pattern", "pattern_view"]

_PERIOD = 131072  # i*13 + i//512 repeats modulo 256 after lcm(256, 512*256) bytes


_TAG_0 = bytes((i * 13 + i // 512) & 255 for i in range(_PERIOD))


@functools.lru_cache(maxsize=256)
def _base(tag: int) -> bytes:
    shift = tag * 167
    return _TAG_0.translate(bytes((value + shift) & 255 for value in range(256)))


def pattern(tag: int, off: int, length: int) -> bytes:
    """Content of a write with `tag` to the bytes `[off, off + length)` of a file.

    The byte at file offset `i` is `(tag*167 + i*13 + i//512) & 255`, so that every
    operation and every place in a file reads differently.
    """
    base = _base(tag & 255)
    skip = off % _PERIOD
    need = skip + length
    whole = base * (need // _PERIOD + 1) if need > _PERIOD else base
    return whole[skip:need]


def pattern_view(tag: int, off: int, length: int) -> memoryview:
    """The same as `pattern`, mostly without a copy of it."""
    skip = off % _PERIOD
    if skip + length <= _PERIOD:
        return memoryview(_base(tag & 255))[skip : skip + length]
    return memoryview(pattern(tag, off, length))
