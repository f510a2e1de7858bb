"""Writeback through buffer heads: which dirty buffers need mapping, and what of them makes one
extent (fs/ext4/inode.c, mpage_add_bh_to_extent, mpage_map_one_extent)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

import msgspec

from model.folio import Folio
from model.inode import Inode
from model.units import HOLE, WRITTEN, ranges

__all__ = ["Buffers", "gather", "need_mapping"]

MAX_WRITEPAGES_EXTENT_LEN = 2048
"""Blocks that are gathered into one extent at most."""


class Buffers(msgspec.Struct, frozen=True, gc=False):
    """Adjacent dirty buffers `[start, end)` of one folio that need mapping.

    `delay` tells whether they are marked delayed or unwritten; `folio_end` is one past the
    last block of their folio.
    """

    start: int
    end: int
    delay: bool
    folio_end: int


def need_mapping(inode: Inode, folio: Folio, eof: int) -> Iterator[Buffers]:
    """Dirty buffers below block `eof` that are delayed or unwritten (mpage_add_bh_to_extent), and
    mapped: a store past EOF makes buffers dirty that never were.

    The buffer's own mark counts: truncating inline data takes the delayed extent away under
    a buffer that goes on being marked so, and the block is allocated all the same; and a block
    that was zeroed with its neighbours is looked up once more.
    """
    first = folio.first
    for low, high in ranges(folio.dirty & folio.mapped & ~folio.revived):
        for run in inode.es.pieces(first + low, min(first + high, eof)):
            if run.state != WRITTEN:
                for buffers in _by_flag(folio, first, run.start, run.end):
                    if buffers.delay or run.state != HOLE:
                        yield buffers
            elif folio.unwritten:
                bits = folio.unwritten >> (run.start - first)
                for start, end in ranges(bits & ((1 << (run.end - run.start)) - 1)):
                    yield from _by_flag(folio, first, run.start + start, run.start + end)


def _by_flag(folio: Folio, first: int, start: int, end: int) -> Iterator[Buffers]:
    """Split `[start, end)` where buffers marked delayed meet others."""
    last = first + folio.count
    while start < end:
        rest = folio.delay >> (start - first)
        delay = bool(rest & 1)
        flips = ~rest if delay else rest
        run = (flips & -flips).bit_length() - 1 if flips else end - start
        stop = min(end, start + run)
        yield Buffers(start, stop, delay, last)
        start = stop


def gather(
    needy: list[Buffers], starts: list[int], at: int, within: int | None
) -> tuple[int, int] | None:
    """The next extent from block `at` on, before block `within` if given
    (mpage_add_bh_to_extent)."""
    index = max(bisect_right(starts, at) - 1, 0)
    while index < len(needy) and needy[index].end <= at:
        index += 1
    if index == len(needy) or (within is not None and needy[index].start >= within):
        return None
    first = needy[index]
    low, high = max(first.start, at), first.end
    for following in islice(needy, index + 1, None):
        if following.start != high or following.delay != first.delay:
            break
        if within is not None and following.start >= within:
            break
        high = following.end
        if high - low >= MAX_WRITEPAGES_EXTENT_LEN:
            break
    return low, min(high, low + MAX_WRITEPAGES_EXTENT_LEN)
