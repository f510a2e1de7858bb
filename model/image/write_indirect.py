"""Block maps of files without extents as bytes (fs/ext4/indirect.c)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Protocol

from model.image.volume import Volume
from model.image.write_target import Target

__all__ = ["Pointers", "put_block_map"]

_DIRECT, _LEVELS = 12, 3


class Pointers(Protocol):
    """The inode's pointers or an indirect block's, by position; None leads to data."""

    @property
    def slots(self) -> Mapping[int, Pointers | None]:
        """Those that are not 0."""


def put_block_map(
    volume: Volume,
    root: Pointers,
    physical: Callable[[int], int],
    new_block: Callable[[], int],
    target: Target,
) -> bytes:
    """Write the indirect blocks below `root` to blocks that `new_block` gives.

    `physical` tells where a block of the file is. Returns the inode's 15 pointers.
    """
    per_block = volume.block_size // 4

    def below(block: Pointers, level: int, logical: int) -> int:
        """Write one indirect block; `level` is 1 if its pointers lead to data."""
        span = per_block ** (level - 1)
        words = [0] * per_block
        for place, child in block.slots.items():
            at = logical + place * span
            words[place] = physical(at) if child is None else below(child, level - 1, at)
        number = new_block()
        target.put(number, struct.pack(f"<{per_block}I", *words))
        return number

    words = [0] * (_DIRECT + _LEVELS)
    for place, child in root.slots.items():
        level = place - _DIRECT + 1
        first = _DIRECT + sum(per_block**power for power in range(1, level))
        words[place] = physical(place) if child is None else below(child, level, first)
    return struct.pack("<15I", *words)
