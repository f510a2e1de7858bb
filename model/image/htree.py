"""Hash trees of directories (fs/ext4/namei.c: dx_probe, get_dx_countlimit, ext4_dx_csum)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import msgspec

from model.image import features
from model.image.checksum import chain
from model.image.inode import Inode
from model.image.volume import Volume

__all__ = ["HashTree", "index_checksum", "read_tree"]

_ROOT_INFO = struct.Struct("<IBBBB")
_ROOT_AT, _NODE_AT = 32, 8  # where the entries of a root and of a node start
_ENTRY_SIZE = 8
_TAIL_SIZE = 8
_END = 1 << 32


class HashTree(msgspec.Struct, frozen=True):
    """A directory's hash tree.

    `nodes` are its index blocks (of the directory, 0 is the root). `leaves` gives each
    leaf the range of hashes that it may hold, `(first, last)`; `version` is the root's.
    """

    version: int
    levels: int
    nodes: frozenset[int]
    leaves: dict[int, tuple[int, int]]


def index_checksum(seed: int, block: bytes, start: int, limit: int, count: int) -> int:
    """What an index block's tail should carry; entries start at byte `start` (ext4_dx_csum)."""
    tail = start + limit * _ENTRY_SIZE
    return chain(seed, block[: start + count * _ENTRY_SIZE] + block[tail : tail + 4] + b"\0\0\0\0")


class _Walk:
    def __init__(
        self, volume: Volume, inode: Inode, block: Callable[[int], bytes], physical: Sequence[int]
    ) -> None:
        self.volume, self.inode, self.block, self.physical = volume, inode, block, physical
        self.nodes: set[int] = {0}
        self.leaves: dict[int, tuple[int, int]] = {}

    def bad(self, reason: str, number: int) -> Exception:
        structure = f"hash tree of directory, inode {self.inode.number}"
        return self.volume.error(structure, reason, self.physical[number])

    def root(self) -> tuple[int, int]:
        """Hash version and levels below the root."""
        data = self.block(0)
        first, second = (int.from_bytes(data[at : at + 2], "little") for at in (4, 16))
        expected = len(data) - 12
        zero, version, length, levels, _ = _ROOT_INFO.unpack_from(data, 24)
        if (
            first != 12
            or second not in (expected, expected | expected >> 16)
            or zero
            or length != 8
        ):
            raise self.bad("the root is malformed", 0)
        if levels > (2 if self.volume.incompat(features.LARGE_DIR) else 1):
            raise self.bad(f"{levels} levels cannot be", 0)
        return version, levels

    def entries(self, number: int, start: int) -> list[tuple[int, int]]:
        """(hash, block) of an index block, its checksum verified."""
        data = self.block(number)
        limit, count = struct.unpack_from("<HH", data, start)
        tail = _TAIL_SIZE if self.volume.ro_compat(features.METADATA_CSUM) else 0
        if limit != (len(data) - start - tail) // _ENTRY_SIZE or not 0 < count <= limit:
            raise self.bad(f"{count} entries in room for {limit}", number)
        if tail:
            stored = struct.unpack_from("<I", data, start + limit * _ENTRY_SIZE + 4)[0]
            good = index_checksum(self.inode.seed, data, start, limit, count) == stored
            if not good and self.volume.verify:
                raise self.bad("wrong checksum", number)
        pairs = list(struct.iter_unpack("<II", data[start : start + count * _ENTRY_SIZE]))
        return [(0, pairs[0][1]), *pairs[1:]]  # the first one's hash is count and limit

    def walk(self, number: int, start: int, level: int, low: int, high: int) -> None:
        entries = self.entries(number, start)
        firsts = [low] + [value for value, _ in entries[1:]]
        lasts = [*firsts[1:], high]
        for (_, child), first, last in zip(entries, firsts, lasts, strict=True):
            child &= 0x0FFFFFFF  # noqa: PLW2901 (the upper bits are not part of it)
            if first > last or not low <= first <= high:
                raise self.bad("hashes are out of order", number)
            if child in self.nodes or child in self.leaves:
                raise self.bad(f"block {child} of the directory is reached twice", number)
            if child >= len(self.physical):
                raise self.bad(f"block {child} is past the directory's end", number)
            if level:
                self.nodes.add(child)
                self.walk(child, _NODE_AT, level - 1, first, last)
            else:
                self.leaves[child] = (first, last)


def read_tree(
    volume: Volume, inode: Inode, block: Callable[[int], bytes], physical: Sequence[int]
) -> HashTree:
    """The hash tree of a directory; `block` reads its blocks, `physical` places them."""
    walk = _Walk(volume, inode, block, physical)
    version, levels = walk.root()
    walk.walk(0, _ROOT_AT, levels, 0, _END)
    return HashTree(version, levels, frozenset(walk.nodes), walk.leaves)
