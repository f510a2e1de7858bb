"""The little of ELF that is needed: a file's sections, and the libraries it wants."""

from __future__ import annotations

import struct

__all__ = ["is_elf", "modinfo", "needed", "sections"]

_DT_NEEDED = 1
_SHT_NOBITS = 8


def is_elf(data: bytes) -> bool:
    """Whether `data` starts like a 64-bit little-endian ELF file."""
    return data[:6] == b"\x7fELF\x02\x01"


def sections(data: bytes) -> dict[str, bytes]:
    """Contents of the sections by name; {} if `data` is not ELF or has none."""
    if not is_elf(data) or len(data) < 64:
        return {}
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    if not table or size < 64 or table + size * count > len(data) or names_index >= count:
        return {}
    headers = [struct.unpack_from("<IIQQQQ", data, table + size * i) for i in range(count)]

    def content(header: tuple[int, ...]) -> bytes:
        _, kind, _, _, offset, length = header
        return b"" if kind == _SHT_NOBITS else data[offset : offset + length]

    names = content(headers[names_index])
    return {_string(names, header[0]): content(header) for header in headers}


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.find(b"\0", offset)].decode("utf-8", "replace")


def needed(data: bytes) -> list[str]:
    """Names of the shared libraries (DT_NEEDED) that an ELF file is linked with."""
    parts = sections(data)
    dynamic, strings = parts.get(".dynamic", b""), parts.get(".dynstr", b"")
    pairs = struct.iter_unpack("<qQ", dynamic[: len(dynamic) // 16 * 16])
    return [_string(strings, value) for tag, value in pairs if tag == _DT_NEEDED]


def modinfo(data: bytes) -> dict[str, list[str]]:
    """A kernel module's `.modinfo`: the values of each key (`depends`, `name`, ...)."""
    fields: dict[str, list[str]] = {}
    for part in sections(data).get(".modinfo", b"").split(b"\0"):
        key, mark, value = part.decode("utf-8", "replace").partition("=")
        if mark:
            fields.setdefault(key, []).append(value)
    return fields
