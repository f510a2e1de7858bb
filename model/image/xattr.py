"""Extended attributes: in the inode, in a block, values in inodes (fs/ext4/xattr.c)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

import msgspec

from model.image.checksum import ONES, chain
from model.image.inode import Inode
from model.image.layout import XATTR_ENTRY, XATTR_HEADER, XattrEntry, XattrHeader
from model.image.volume import Volume

__all__ = [
    "INLINE_NAME", "XATTR_MAGIC", "Xattr", "entry_hash", "read_block_xattrs", "read_inode_xattrs",
    "xattr_block_checksum",
]  # fmt: skip

XATTR_MAGIC = 0xEA020000
INLINE_NAME = b"system.data"
"""The attribute that carries inline data beyond the first 60 bytes."""

_PREFIXES = {
    1: b"user.", 2: b"system.posix_acl_access", 3: b"system.posix_acl_default", 4: b"trusted.",
    5: b"lustre.", 6: b"security.", 7: b"system.", 8: b"system.richacl", 9: b"encryption.",
    10: b"gnu.",
}  # fmt: skip
_OLD_SIZE = 128
_LARGEST = 1 << 16  # XATTR_SIZE_MAX, the most that a system call can set
_CHECKSUM_AT = 16

ReadValue = Callable[[int, int], bytes]
"""Reads a value of so many bytes from the inode of that number."""


class Xattr(msgspec.Struct, frozen=True):
    """An attribute; `inode` is the one that holds the value, 0 if none does."""

    name: bytes
    value: bytes
    inode: int = 0


def xattr_block_checksum(seed: int, number: int, block: bytes) -> int:
    """What the header of attribute block `number` should carry; `seed` is the volume's."""
    after = block[_CHECKSUM_AT + 4 :]
    return chain(seed, struct.pack("<Q", number) + block[:_CHECKSUM_AT] + b"\0\0\0\0" + after)


def entry_hash(name: bytes, value: bytes, *, signed: bool = False) -> int:
    """e_hash of an attribute, `name` without its prefix (ext4_xattr_hash_entry).

    For a value in an inode of its own, `value` is that one's hash in four bytes. `signed`
    is the variant of kernels that took names' bytes as signed characters.
    """
    hashed = 0
    for byte in name:
        number = byte - 256 if signed and byte > 127 else byte
        hashed = (hashed << 5 ^ hashed >> 27 ^ number) & ONES
    padded = value + bytes(-len(value) % 4)
    for (word,) in struct.iter_unpack("<I", padded):
        hashed = (hashed << 16 ^ hashed >> 16 ^ word) & ONES
    return hashed


class _Area:
    """An area with entries growing up from its start and values down from its end."""

    def __init__(
        self,
        volume: Volume,
        bad: Callable[[str], Exception],
        data: bytes,
        start: int,
        base: int,
    ) -> None:
        self.volume, self.bad, self.data = volume, bad, data
        self.start, self.base = start, base  # of the entries; of the values' offsets

    def read(self, read_value: ReadValue) -> list[Xattr]:
        found: list[Xattr] = []
        for entry, name, end in self._entries():
            if entry.value_inum:
                if entry.value_size > _LARGEST:
                    raise self.bad(f"{name!r}: a value of {entry.value_size} bytes")
                value = read_value(entry.value_inum, entry.value_size)
                hashed = struct.pack("<I", chain(self.volume.seed, value))
            else:
                value = hashed = self._value(entry, name, end)
            self._check_hash(entry, name, hashed)
            found.append(Xattr(name, value, entry.value_inum))
        return found

    def _check_hash(self, entry: XattrEntry, name: bytes, value: bytes) -> None:
        """Zero means that whoever wrote the attribute did not hash it."""
        suffix = name[len(name) - entry.name_len :]
        if not entry.hash or not self.volume.verify_hashes:
            return
        if entry.hash not in (
            entry_hash(suffix, value),
            entry_hash(suffix, value, signed=True),
        ):
            raise self.bad(f"{name!r}: wrong hash")

    def _entries(self) -> list[tuple[XattrEntry, bytes, int]]:
        """Entries with their names; `end` is where the last entry's terminator ends."""
        data, at = self.data, self.start
        found: list[tuple[XattrEntry, bytes]] = []
        while True:
            if at + 4 > len(data):
                raise self.bad("entries run past the end")
            if data[at : at + 4] == b"\0\0\0\0":
                break
            if at + XATTR_ENTRY.size > len(data):
                raise self.bad("entries run past the end")
            entry = XattrEntry._make(XATTR_ENTRY.unpack_from(data, at))
            at += XATTR_ENTRY.size
            found.append((entry, self._name(entry, data[at : at + entry.name_len])))
            at += -(-entry.name_len // 4) * 4
        if len({name for _, name in found}) != len(found):
            raise self.bad("a name occurs twice")
        return [(entry, name, at + 4) for entry, name in found]

    def _name(self, entry: XattrEntry, suffix: bytes) -> bytes:
        prefix = _PREFIXES.get(entry.name_index)
        if prefix is None and entry.name_index == 0:
            prefix = b""
        if prefix is None or len(suffix) != entry.name_len or b"\0" in suffix:
            raise self.bad(f"name {suffix!r} with prefix {entry.name_index} cannot be")
        return prefix + suffix

    def _value(self, entry: XattrEntry, name: bytes, end: int) -> bytes:
        start = self.base + entry.value_offs
        if entry.value_size == 0:
            return b""
        if start < end or start + entry.value_size > len(self.data):
            raise self.bad(f"{name!r}: value of {entry.value_size} bytes at {entry.value_offs}")
        return self.data[start : start + entry.value_size]


def read_inode_xattrs(volume: Volume, inode: Inode, read_value: ReadValue) -> list[Xattr]:
    """Attributes in the inode itself, `system.data` among them (ext4_xattr_ibody_get)."""
    start = _OLD_SIZE + inode.extra.extra_isize
    if not inode.extra.extra_isize or start + 8 > len(inode.raw):
        return []
    if struct.unpack_from("<I", inode.raw, start)[0] != XATTR_MAGIC:
        return []
    structure = f"extended attributes in inode {inode.number}"
    bad = partial(volume.error, structure)
    return _Area(volume, bad, inode.raw, start + 4, start + 4).read(read_value)


def read_block_xattrs(volume: Volume, inode: Inode, read_value: ReadValue) -> list[Xattr]:
    """Attributes in the inode's attribute block, its checksum verified."""
    block = inode.xattr_block
    if not block:
        return []
    structure = f"extended attributes of inode {inode.number}"
    data = volume.read(block, structure)
    header = XattrHeader._make(XATTR_HEADER.unpack_from(data))
    if header.magic != XATTR_MAGIC or header.blocks != 1:
        raise volume.error(structure, "wrong magic", block)
    if volume.verify:
        good = xattr_block_checksum(volume.seed, block, data) == header.checksum
        volume.check(good, structure, block)
    bad = partial(volume.error, structure, block=block)
    return _Area(volume, bad, data, XATTR_HEADER.size, 0).read(read_value)
