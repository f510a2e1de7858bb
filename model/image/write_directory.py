"""Names for the root directory (fs/ext4/namei.c: ext4_add_entry, add_dirent_to_buf)."""

from __future__ import annotations

import struct

from harness.errors import NotModelledError
from model.image import features
from model.image.directory import leaf_checksum
from model.image.errors import ImageError
from model.image.layout import DIR_TAIL
from model.image.volume import Volume

__all__ = ["with_entries"]

_ENTRY = struct.Struct("<IHBB")
_TAIL = 12
_FILE = 1


def with_entries(volume: Volume, block: bytes, names: dict[bytes, int], seed: int | None) -> bytes:
    """The linear directory `block` with a regular file for each of `names` (inode numbers).

    `seed` is what the checksums of the directory's blocks start from, None for a piece
    that has none (inline data). Raises `NotModelledError` if there is no room.
    """
    checked = seed is not None and volume.ro_compat(features.METADATA_CSUM)
    end = len(block) - _TAIL if checked else len(block)
    room = bytearray(block[:end])
    kind = _FILE if volume.incompat(features.FILETYPE) else 0
    for name, number in names.items():
        _add(volume, room, name, number, kind)
    if not checked or seed is None:
        return bytes(room)
    tail = DIR_TAIL + bytes(4)
    checksum = leaf_checksum(seed, bytes(room) + tail)
    return bytes(room) + DIR_TAIL + struct.pack("<I", checksum)


def _needed(length: int) -> int:
    """Bytes of an entry with a name of `length` bytes (ext4_dir_rec_len)."""
    return (_ENTRY.size + length + 3) // 4 * 4


def _add(volume: Volume, room: bytearray, name: bytes, number: int, kind: int) -> None:
    at = 0
    while at < len(room):
        inode, length, used, old_kind = _ENTRY.unpack_from(room, at)
        if length < _ENTRY.size or at + length > len(room):
            raise ImageError(volume.name, "root directory", f"entry of {length} bytes")
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
