"""A file with the quota of users, in the format vfsv1 (fs/quota/quota_tree.c, quota_v2.c)."""

from __future__ import annotations

import struct

import msgspec

from model.image.volume import Volume

__all__ = ["QUOTA_BLOCK", "Limits", "read_quota"]

QUOTA_BLOCK = 1024
"""Bytes of a block of the file."""
_MAGIC, _VERSION = 0xD9C01F11, 1
_HEADER = struct.Struct("<8I")
_HEAD = struct.Struct("<IIHHI")  # of a block of entries
_ENTRY = struct.Struct("<II8Q")
_LEVELS = (24, 16, 8, 0)
_ROOT = 1
_WORDS = struct.Struct("<256I")


class Limits(msgspec.Struct, frozen=True):
    """A user's entry: inodes and bytes in use; limits on inodes, and on space in KiB (0: none)."""

    inodes: int
    space: int
    hard: int
    soft: int
    inodes_hard: int
    inodes_soft: int


class _File:
    """One quota file while it is walked; no block is entered twice, so that it ends."""

    def __init__(self, volume: Volume, data: bytes) -> None:
        self.volume, self.data = volume, data
        self.found: dict[int, Limits] = {}
        self._seen: set[int] = set()

    def bad(self, reason: str) -> Exception:
        return self.volume.error("quota file", reason)

    def block(self, number: int) -> bytes:
        block = self.data[number * QUOTA_BLOCK : (number + 1) * QUOTA_BLOCK]
        if len(block) < QUOTA_BLOCK:
            raise self.bad(f"its block {number} lies past its end")
        return block

    def walk(self, number: int, level: int, uid: int) -> None:
        """The entries below block `number` of the tree, whose users begin with `uid`."""
        if number in self._seen:
            raise self.bad(f"its block {number} is reached twice")
        self._seen.add(number)
        for byte, below in enumerate(_WORDS.unpack(self.block(number))):
            if not below:
                continue
            user = uid | byte << _LEVELS[level]
            if level + 1 < len(_LEVELS):
                self.walk(below, level + 1, user)
            else:
                self.found[user] = self.entry(below, user)

    def entry(self, number: int, uid: int) -> Limits:
        """The entry of `uid` in block `number` of entries (find_block_dqentry)."""
        block = self.block(number)
        for at in range(_HEAD.size, QUOTA_BLOCK - _ENTRY.size + 1, _ENTRY.size):
            user, _, *values = _ENTRY.unpack_from(block, at)
            if user == uid and any(values):
                inodes_hard, inodes_soft, inodes, hard, soft, space, _, _ = values
                return Limits(inodes, space, hard, soft, inodes_hard, inodes_soft)
        raise self.bad(f"its block {number} has no entry for user {uid}")


def read_quota(volume: Volume, data: bytes) -> dict[int, Limits]:
    """What the quota file `data` has of each user; `ImageError` if it is damaged."""
    file = _File(volume, data)
    magic, version, *_ = _HEADER.unpack_from(file.block(0))
    if (magic, version) != (_MAGIC, _VERSION):
        raise file.bad(f"magic {magic:#x}, version {version}")
    file.walk(_ROOT, 0, 0)
    return file.found
