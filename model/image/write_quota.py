"""A file with the quota of users, in the format vfsv1 (fs/quota/quota_tree.c, quota_v2.c).

Blocks of 1 KiB: a header, then a tree by the four bytes of the number, whose leaves are
blocks of entries.
"""

from __future__ import annotations

import struct

import msgspec

__all__ = ["QuotaEntry", "quota_file"]

_BLOCK = 1024
_MAGIC, _VERSION = 0xD9C01F11, 1
_GRACE = 7 * 24 * 3600
_HEADER = struct.Struct("<8I")
_LEVELS = (24, 16, 8, 0)
_ROOT = 1
_HEAD = struct.Struct("<IIHHI")  # of a block of entries
_ENTRY = struct.Struct("<II8Q")
_PER_BLOCK = (_BLOCK - _HEAD.size) // _ENTRY.size


class QuotaEntry(msgspec.Struct, frozen=True):
    """What a user has: inodes, bytes, and the hard limit in KiB (0 for none)."""

    inodes: int
    space: int
    limit: int


class _File:
    """The blocks of the file; `entries` is the block of entries that has room, if any."""

    def __init__(self) -> None:
        self.blocks = [bytearray(_BLOCK), bytearray(_BLOCK)]
        self.entries = 0

    def new(self) -> int:
        self.blocks.append(bytearray(_BLOCK))
        return len(self.blocks) - 1

    def add(self, uid: int, entry: QuotaEntry) -> None:
        """Put in one entry, and what of the tree leads to it (do_insert_tree)."""
        at = _ROOT
        for shift in _LEVELS:
            offset = (uid >> shift & 0xFF) * 4
            (below,) = struct.unpack_from("<I", self.blocks[at], offset)
            if not below:
                below = self._leaf() if shift == 0 else self.new()
                struct.pack_into("<I", self.blocks[at], offset, below)
            at = below
        self._put(uid, entry)

    def _leaf(self) -> int:
        """The block of entries that has room (find_free_dqentry)."""
        if not self.entries:
            self.entries = self.new()
        return self.entries

    def _put(self, uid: int, entry: QuotaEntry) -> None:
        block = self.blocks[self.entries]
        *links, count, pad, more = _HEAD.unpack_from(block)
        values = (0, 0, entry.inodes, entry.limit, 0, entry.space, 0, 0)
        _ENTRY.pack_into(block, _HEAD.size + count * _ENTRY.size, uid, 0, *values)
        _HEAD.pack_into(block, 0, *links, count + 1, pad, more)
        if count + 1 == _PER_BLOCK:
            self.entries = 0

    def packed(self) -> bytes:
        numbers = (_GRACE, _GRACE, 0, len(self.blocks), 0, self.entries)
        _HEADER.pack_into(self.blocks[0], 0, _MAGIC, _VERSION, *numbers)
        return b"".join(self.blocks)


def quota_file(entries: dict[int, QuotaEntry]) -> bytes:
    """The content of the file with `entries` by user."""
    file = _File()
    for uid, entry in entries.items():
        file.add(uid, entry)
    return file.packed()
