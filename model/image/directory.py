"""Directories: the entries of leaf blocks (fs/ext4/dir.c: __ext4_check_dir_entry).

The blocks of a hash tree look like empty leaves to readers that do not know it; they are
read by `htree`.
"""

from __future__ import annotations

import stat
import struct

import msgspec

from model.image import features
from model.image.checksum import chain
from model.image.htree import HashTree, read_tree
from model.image.inode import INDEX_FL, Inode
from model.image.layout import DIR_TAIL
from model.image.mapping import Mapping
from model.image.volume import Volume

__all__ = [
    "FILE_TYPES", "Directory", "Entry", "leaf_checksum", "read_directory", "read_entries",
]  # fmt: skip

FILE_TYPES = {
    stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6, stat.S_IFLNK: 7,
}  # fmt: skip
"""The type that an entry carries with the feature filetype, by the inode's mode."""

_ENTRY = struct.Struct("<IHBB")
_TAIL_SIZE = 12


class Entry(msgspec.Struct, frozen=True):
    """A name, its inode, the type byte (0 without filetype), the directory's block."""

    name: bytes
    inode: int
    type: int
    block: int


class Directory(msgspec.Struct, frozen=True):
    """The entries of a directory without `.` and `..`, and its parent's inode."""

    parent: int
    entries: tuple[Entry, ...]
    tree: HashTree | None = None


def leaf_checksum(seed: int, block: bytes) -> int:
    """What the last word of a leaf should be (ext4_dirblock_csum); `seed` as `Inode.seed`."""
    return chain(seed, block[:-_TAIL_SIZE])


def _record_length(word: int, room: int) -> int:
    """ext4_rec_len_from_disk: 64 KiB do not fit 16 bits."""
    if room < 1 << 16:
        return word
    if word in (0, 0xFFFF):
        return room
    return (word & 0xFFFC) | (word & 3) << 16


def read_entries(
    volume: Volume, data: bytes, number: int, structure: str, block: int | None
) -> list[Entry]:
    """Entries in `data`, block `number` of a directory; unused ones left out."""
    found: list[Entry] = []
    end = len(data)
    typed = volume.incompat(features.FILETYPE)
    offset = 0
    while offset < end:
        if offset + _ENTRY.size > end:
            raise volume.error(structure, f"byte {offset}: no room for an entry", block)
        inode, word, name_length, kind = _ENTRY.unpack_from(data, offset)
        length = _record_length(word, volume.block_size)
        if not typed:
            name_length |= kind << 8  # the name's length had 16 bits
            kind = 0
        if length % 4 or length < _ENTRY.size + name_length or offset + length > end:
            reason = f"byte {offset}: entry of {length} bytes, name of {name_length}"
            raise volume.error(structure, reason, block)
        if inode:
            start = offset + _ENTRY.size
            name = data[start : start + name_length]
            _check_entry(volume, name, inode, structure, block)
            found.append(Entry(name, inode, kind, number))
        offset += length
    return found


def _check_entry(
    volume: Volume, name: bytes, inode: int, structure: str, block: int | None
) -> None:
    if inode > volume.sb.inodes_count:
        raise volume.error(structure, f"entry {name!r} has inode {inode}", block)
    if not name or len(name) > 255 or b"/" in name or b"\0" in name:
        raise volume.error(structure, f"entry's name {name!r} cannot be", block)


class _Reader:
    """Reads one directory in blocks."""

    def __init__(self, volume: Volume, inode: Inode, mapping: Mapping) -> None:
        self.volume, self.inode = volume, inode
        self.structure = f"directory, inode {inode.number}"
        self.physical = self._blocks(mapping)

    def _blocks(self, mapping: Mapping) -> list[int]:
        size = self.volume.block_size
        mapped = sum(extent.length for extent in mapping.extents)
        if self.inode.size % size or mapped * size != self.inode.size or not mapped:
            reason = f"{self.inode.size} bytes, but {mapped} blocks are mapped"
            raise self.volume.error(self.structure, reason)
        found: list[int] = []
        for extent in mapping.extents:
            if not extent.written or extent.logical != len(found):
                raise self.volume.error(self.structure, "a hole or an unwritten block")
            found += range(extent.physical, extent.physical + extent.length)
        return found

    def block(self, number: int) -> bytes:
        """Block `number` of the directory, which has it."""
        return self.volume.read(self.physical[number], self.structure)

    def leaf(self, number: int) -> list[Entry]:
        """The entries of leaf `number`, its checksum verified."""
        volume, block = self.volume, self.physical[number]
        data = self.block(number)
        end = len(data)
        if volume.ro_compat(features.METADATA_CSUM):
            end -= _TAIL_SIZE
            good = data[end : end + len(DIR_TAIL)] == DIR_TAIL
            stored = int.from_bytes(data[-4:], "little")
            good = good and leaf_checksum(self.inode.seed, data) == stored
            volume.check(good, self.structure, block)
        return read_entries(volume, data[:end], number, self.structure, block)

    def root(self) -> list[Entry]:
        """`.` and `..` of a hash tree's root."""
        head = self.block(0)[:24]
        entries = []
        for number, offset in enumerate((0, 12)):
            inode, _, length, kind = _ENTRY.unpack_from(head, offset)
            if length != number + 1:
                raise self.volume.error(self.structure, "no . and ..", self.physical[0])
            start = offset + _ENTRY.size
            entries.append(Entry(head[start : start + length], inode, kind, 0))
        return entries


def read_directory(volume: Volume, inode: Inode, mapping: Mapping) -> Directory:
    """The entries of a directory in blocks; `ImageError` if it is damaged."""
    reader = _Reader(volume, inode, mapping)
    tree = None
    if inode.flags & INDEX_FL:
        tree = read_tree(volume, inode, reader.block, reader.physical)
    entries: list[Entry] = []
    for number in range(len(reader.physical)):
        if tree is None or number in tree.leaves:
            entries += reader.leaf(number)
        elif number == 0:
            entries += reader.root()
        elif number not in tree.nodes:
            reason = "is not reached by the hash tree"
            raise volume.error(reader.structure, reason, reader.physical[number])
    return _without_dots(volume, inode, entries, tree, reader)


def _without_dots(
    volume: Volume, inode: Inode, entries: list[Entry], tree: HashTree | None, reader: _Reader
) -> Directory:
    dots = entries[:2]
    if [entry.name for entry in dots] != [b".", b".."] or dots[0].inode != inode.number:
        raise volume.error(reader.structure, "does not start with . and ..", reader.physical[0])
    names = {entry.name for entry in entries}
    if len(names) != len(entries):
        raise volume.error(reader.structure, "a name occurs twice")
    return Directory(dots[1].inode, tuple(entries[2:]), tree)
