"""Names for the root directory (fs/ext4/namei.c: ext4_add_entry, add_dirent_to_buf)."""

from __future__ import annotations

import struct

from harness.errors import NotModelledError
from model.image import features
from model.image.directory import leaf_checksum
from model.image.errors import ImageError
from model.image.layout import DIR_TAIL
from model.image.volume import Volume

__all__ = ["with_entries", "without_entries"]

_ENTRY = struct.Struct("<IHBB")
_TAIL = 12
_FILE = 1


def with_entries(volume: Volume, block: bytes, names: dict[bytes, int], seed: int | None) -> bytes:
    """The linear directory `block` with a regular file for each of `names` (inode numbers).

    `seed` is what the checksums of the directory's blocks start from, None for a piece
    that has none (inline data). Raises `NotModelledError` if there is no room.
    """
    room = _entries_of(volume, block, seed)
    kind = _FILE if volume.incompat(features.FILETYPE) else 0
    for name, number in names.items():
        _add(volume, room, name, number, kind)
    return _sealed(volume, room, seed)


def without_entries(volume: Volume, block: bytes, gone: set[int], seed: int | None) -> bytes:
    """The linear directory `block` without the entries of the inodes `gone`; `seed` as above.

    What an entry took goes to the one before it (ext4_generic_delete_entry).
    """
    room = _entries_of(volume, block, seed)
    at, before = 0, -1
    while at < len(room):
        inode, length, used, kind = _entry_at(volume, room, at)
        if inode in gone and before >= 0:
            kept = _entry_at(volume, room, before)
            _ENTRY.pack_into(room, before, kept[0], kept[1] + length, *kept[2:])
            room[at : at + _ENTRY.size + used] = bytes(_ENTRY.size + used)
        else:
            if inode in gone:
                _ENTRY.pack_into(room, at, 0, length, used, kind)
            before = at
        at += length
    return _sealed(volume, room, seed)


def _entries_of(volume: Volume, block: bytes, seed: int | None) -> bytearray:
    """`block` without the tail that holds its checksum, if it has one."""
    checked = seed is not None and volume.ro_compat(features.METADATA_CSUM)
    return bytearray(block[:-_TAIL] if checked else block)


def _sealed(volume: Volume, room: bytearray, seed: int | None) -> bytes:
    """`room` with the tail that `_entries_of` took."""
    if seed is None or not volume.ro_compat(features.METADATA_CSUM):
        return bytes(room)
    tail = DIR_TAIL + bytes(4)
    checksum = leaf_checksum(seed, bytes(room) + tail)
    return bytes(room) + DIR_TAIL + struct.pack("<I", checksum)


def _needed(length: int) -> int:
    """Bytes of an entry with a name of `length` bytes (ext4_dir_rec_len)."""
    return (_ENTRY.size + length + 3) // 4 * 4


def _entry_at(volume: Volume, room: bytearray, at: int) -> tuple[int, int, int, int]:
    """Inode, length in bytes, length of the name and type of the entry at byte `at`."""
    inode, length, used, kind = _ENTRY.unpack_from(room, at)
    if length < _ENTRY.size or at + length > len(room):
        raise ImageError(volume.name, "root directory", f"entry of {length} bytes")
    return inode, length, used, kind


def _add(volume: Volume, room: bytearray, name: bytes, number: int, kind: int) -> None:
    at = 0
    while at < len(room):
        inode, length, used, old_kind = _entry_at(volume, room, at)
        own = _needed(used) if inode else 0
        if length - own >= _needed(len(name)):
            if own:
                _ENTRY.pack_into(room, at, inode, own, used, old_kind)
            _ENTRY.pack_into(room, at + own, number, length - own, len(name), kind)
            start = at + own + _ENTRY.size
            room[start : start + len(name)] = name
            return
        at += length
    raise NotModelledError("the image's root directory would need another block")
