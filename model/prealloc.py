"""Preallocation: how many blocks one allocation request gets (fs/ext4/mballoc.c).

The allocator takes more than it is asked for and keeps the rest for the inode; a later
request is cut at the end of such a preallocation even where the next block on the device
is free. That shows in the reservation events, one for each piece. Space is taken to be
plentiful: where it is not, the placement shows shorter pieces (`Preallocations.cut`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.units import ceil_div, round_down, round_up

if TYPE_CHECKING:
    from model.inode import Inode

__all__ = ["Preallocations"]

STREAM_REQUEST = 16
"""Files up to this many blocks share a locality group's space (s_mb_stream_request)."""
KIB = 1024
MIB = 1024 * 1024


class _Piece:
    """Blocks `[start, end)` of the file that are set aside; `free` of them are unused.

    It has whole clusters, but may begin in the middle of one of the file's: behind the block
    before it, or where another piece ends.
    """

    __slots__ = ("end", "free", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end, self.free = start, end, end - start

    def use(self, start: int, end: int, ratio: int = 1) -> int:
        """Take whole clusters of `ratio` blocks from `start`, up to `end`; returns where they end:
        the last may be there in part only (ext4_mb_use_inode_pa)."""
        taken = round_up(min(end, self.end) - start, ratio)
        self.free -= taken
        return start + taken


class Preallocations:
    """The preallocations of one inode (i_prealloc_node)."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def discard(self) -> None:
        """Give all of it back (ext4_discard_preallocations)."""
        self._pieces.clear()

    def request(self, inode: Inode, lblk: int, count: int, normalize: bool) -> int:
        """How many blocks from `lblk` a request for `count` gets (ext4_mb_new_blocks).

        Without `normalize` (EXT4_GET_BLOCKS_NO_NORMALIZE) nothing is set aside.
        """
        ratio = inode.sb.ratio
        start, end = round_down(lblk, ratio), round_up(lblk + count, ratio)
        for piece in self._pieces:
            if piece.start <= start < piece.end:
                stop = piece.use(start, end, ratio)
                if piece.free <= 0:
                    self._pieces.remove(piece)
                return min(stop - lblk, count)
        if not normalize or not self._is_stream(inode, end):
            return count
        goal_start, goal_end = self._normalize(inode, start, end, lblk)
        if goal_end - goal_start > end - start:
            piece = _Piece(goal_start, goal_end)
            self._pieces.append(piece)
            return min(piece.use(start, end, ratio) - lblk, count)
        return min(start + goal_end - goal_start - lblk, count)

    def cut(self, start: int, asked: int, end: int) -> None:
        """A request for blocks `[start, asked)` got what ends before block `end`: the device has
        no more there, so its piece is no longer either (ext4_mb_new_inode_pa)."""
        for piece in self._pieces:
            if piece.start <= start < piece.end and end < piece.end:
                piece.free -= max(piece.end - asked, 0)
                piece.end = end
                if piece.free <= 0:
                    self._pieces.remove(piece)
                return

    def request_singly(self, inode: Inode, lblk: int, end: int) -> int:
        """How many of the blocks `[lblk, end)` requests for one block after the other get
        without a new preallocation; without bigalloc."""
        for piece in self._pieces:
            if piece.start <= lblk < piece.end:
                stop = piece.use(lblk, min(end, lblk + piece.free))
                if piece.free <= 0:
                    self._pieces.remove(piece)
                return stop - lblk
        if inode.eof_block > STREAM_REQUEST:
            return 0
        return max(min(end, STREAM_REQUEST) - lblk, 0)

    @staticmethod
    def _is_stream(inode: Inode, end: int) -> bool:
        """Whether the inode gets a preallocation of its own (ext4_mb_group_or_file)."""
        eof = inode.eof_block
        if end == eof and not inode.writers:
            return False
        return max(end, eof) > STREAM_REQUEST

    def _normalize(self, inode: Inode, start: int, end: int, lblk: int) -> tuple[int, int]:
        """The blocks that the allocator aims for (ext4_mb_normalize_request)."""
        sb = inode.sb
        low, count = _predicted(max(end * sb.block_size, inode.size), start, end, sb.block_size)
        high = low + count
        group = 8 * sb.block_size * sb.ratio
        low = max(low, round_down(start, group))
        left = inode.es.last_mapped_before(lblk)
        if left >= low:
            low = left + 1
        high = min(high, inode.es.next_mapped(lblk))
        for piece in self._pieces:
            if piece.end <= start:
                low = max(low, piece.end)
            elif piece.start > start:
                high = min(high, piece.start)
        return low, low + round_up(high - low, sb.ratio)


def _predicted(size: int, start: int, end: int, block: int) -> tuple[int, int]:
    """First block and number of blocks of the piece that a file of `size` bytes will
    probably fill: powers of two up to 1 MiB, then aligned windows of 2, 4 or 8 MiB."""
    max_size = 2 * block
    target = 16 * KIB
    while target <= MIB:
        if size <= target:
            return 0, target // block
        target *= 2
    if size <= 4 * MIB or max_size <= 2 * KIB:
        window = 2 * MIB
    elif size <= 8 * MIB or max_size <= 4 * KIB:
        window = 4 * MIB
    elif (end - start) * block <= 8 * MIB or max_size <= 8 * KIB:
        window = 8 * MIB
    else:
        return start, end - start
    return round_down(start * block, window) // block, ceil_div(window, block)
