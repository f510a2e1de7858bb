"""The little of ELF that is needed: a file's sections, notes and libraries."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

__all__ = ["build_id", "has_note", "is_elf", "modinfo", "needed", "notes", "section"]

_DT_NEEDED = 1
_SHT_NOBITS = 8

Data = bytes | mmap.mmap
"""A file's content; a large one is mapped."""


def is_elf(data: Data) -> bool:
    """Whether `data` starts like a 64-bit little-endian ELF file."""
    return data[:6] == b"\x7fELF\x02\x01"


def _headers(data: Data) -> Iterator[tuple[str, int, int, int]]:
    """Name, type, offset and size of each section; nothing if `data` is not ELF."""
    if not is_elf(data) or len(data) < 64:
        return
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    if not table or size < 64 or table + size * count > len(data) or names_index >= count:
        return
    headers = [struct.unpack_from("<IIQQQQ", data, table + size * i) for i in range(count)]
    _, _, _, _, offset, length = headers[names_index]
    names = data[offset : offset + length]
    for name, kind, _, _, offset, length in headers:
        yield _string(names, name), kind, offset, length


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.find(b"\0", offset)].decode("utf-8", "replace")


def section(data: Data, name: str) -> bytes:
    """The content of section `name`; empty if there is none or `data` is not ELF."""
    for found, kind, offset, length in _headers(data):
        if found == name and kind != _SHT_NOBITS:
            return data[offset : offset + length]
    return b""


def needed(data: Data) -> list[str]:
    """Names of the shared libraries (DT_NEEDED) that an ELF file is linked with."""
    dynamic, strings = section(data, ".dynamic"), section(data, ".dynstr")
    pairs = struct.iter_unpack("<qQ", dynamic[: len(dynamic) // 16 * 16])
    return [_string(strings, value) for tag, value in pairs if tag == _DT_NEEDED]


def modinfo(data: Data) -> dict[str, list[str]]:
    """A kernel module's `.modinfo`: the values of each key (`depends`, `name`, ...)."""
    fields: dict[str, list[str]] = {}
    for part in section(data, ".modinfo").split(b"\0"):
        key, mark, value = part.decode("utf-8", "replace").partition("=")
        if mark:
            fields.setdefault(key, []).append(value)
    return fields


def notes(data: Data) -> Iterator[tuple[bytes, int, bytes]]:
    """Owner, type and content of each note of section `.notes`, where a vmlinux has them."""
    found = section(data, ".notes")
    offset = 0
    while offset + 12 <= len(found):
        name_size, size, kind = struct.unpack_from("<III", found, offset)
        owner = found[offset + 12 : offset + 12 + name_size].rstrip(b"\0")
        start = offset + 12 + (name_size + 3) // 4 * 4
        yield owner, kind, found[start : start + size]
        offset = start + (size + 3) // 4 * 4


def has_note(data: Data, owner: bytes, kind: int) -> bool:
    """Whether section `.notes` has a note of this owner and type."""
    return any((found, number) == (owner, kind) for found, number, _ in notes(data))


def build_id(data: Data) -> str:
    """The GNU build id of a vmlinux in hex (NT_GNU_BUILD_ID), or ""."""
    ids = (text for owner, kind, text in notes(data) if (owner, kind) == (b"GNU", 3))
    return next(ids, b"").hex()
