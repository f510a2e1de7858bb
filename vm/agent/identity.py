"""What the running kernel says of itself: its build id and its configuration's hash."""

from __future__ import annotations

import struct

from .digest import Sha256

__all__ = ["build_id", "config", "config_sha256"]

NOTES = "/sys/kernel/notes"
CONFIG = "/proc/config.gz"
NT_GNU_BUILD_ID = 3


def build_id(path: str = NOTES) -> str:
    """The GNU build id of the vmlinux, in hex; empty if it was linked without one.

    The file has the ELF notes of the kernel: sizes of name and content, type, both padded
    to 4 bytes (`kernel/ksysfs.c`).
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return ""
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        name = data[at + 12 : at + 12 + name_size]
        at += 12 + (name_size + 3) // 4 * 4
        if kind == NT_GNU_BUILD_ID and name == b"GNU\0":
            return data[at : at + size].hex()
        at += (size + 3) // 4 * 4
    return ""


def config(path: str = CONFIG) -> bytes | None:
    """The .config that the kernel was built with; None if it does not keep it."""
    try:
        with open(path, "rb") as file:
            packed = file.read()
    except FileNotFoundError:
        return None
    import zlib  # noqa: PLC0415 - few kernels have the file

    return zlib.decompress(packed, wbits=31)


def config_sha256(path: str = CONFIG) -> str:
    """The SHA-256 of `config`, in hex; empty if there is none."""
    text = config(path)
    return "" if text is None else str(Sha256(text).hexdigest())
