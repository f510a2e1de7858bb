"""Sizes and states that all of the model shares."""

from __future__ import annotations

__all__ = [
    "DELAYED", "EOF_BLOCK", "HOLE", "INIT_MAX_LEN", "MAX_BLOCKS",
    "MAX_LFS_FILESIZE", "PAGE", "PIPE_BUFFERS", "SECTOR", "UNWRITTEN",
    "UNWRITTEN_MAX_LEN", "WRITTEN", "ceil_div", "mask", "ranges", "round_down", "round_up",
    "touched",
]  # fmt: skip

PAGE = 4096
"""Bytes of a page."""
PIPE_BUFFERS = 16
"""Pages that a pipe holds."""
MAX_LFS_FILESIZE = (1 << 63) - 1
"""The largest offset in a file, in bytes."""
SECTOR = 512
"""Bytes of st_blocks' unit."""

HOLE, DELAYED, UNWRITTEN, WRITTEN = range(4)
"""States of a block (EXTENT_STATUS_*)."""

EOF_BLOCK = 0xFFFFFFFF
"""One past EXT4_MAX_LOGICAL_BLOCK: the end of the longest file, in blocks."""
MAX_BLOCKS = EOF_BLOCK
INIT_MAX_LEN = 32768
"""Blocks of the longest written extent (EXT_INIT_MAX_LEN)."""
UNWRITTEN_MAX_LEN = 32767
"""Blocks of the longest unwritten extent (EXT_UNWRITTEN_MAX_LEN)."""


def ceil_div(value: int, unit: int) -> int:
    """`value / unit`, rounded up."""
    return -(-value // unit)


def round_up(value: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-value // unit) * unit


def round_down(value: int, unit: int) -> int:
    """The multiple of `unit` at or before `value`."""
    return value - value % unit


def touched(start: int, end: int, unit: int) -> int:
    """How many pieces of `unit` the range `[start, end)`, which is not empty, lies in."""
    return -(-end // unit) - start // unit


def mask(first: int, end: int) -> int:
    """Bits `[first, end)`; 0 if there are none."""
    return (1 << end) - (1 << first) if end > first else 0


def ranges(bits: int) -> list[tuple[int, int]]:
    """Runs `(first, end)` of ones in `bits`."""
    found, at = [], 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits >>= skip
        at += skip
        ones = (~bits & (bits + 1)).bit_length() - 1
        found.append((at, at + ones))
        bits >>= ones
        at += ones
    return found
