"""Archives that the kernel unpacks as its initramfs: cpio in the `newc` format.

Format: Documentation/driver-api/early-userspace/buffer-format.rst. Entries are written
sorted, with time 0 and owner root, so that equal input gives equal bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Entry", "device", "directory", "file", "link", "write_cpio"]


@dataclass(frozen=True)
class Entry:
    """A file, directory, symbolic link (`data` is its target) or device of the archive."""

    mode: int
    data: bytes = b""
    major: int = 0
    minor: int = 0


def directory() -> Entry:
    """A directory with mode 0755."""
    return Entry(stat.S_IFDIR | 0o755)


def file(data: bytes, executable: bool = False) -> Entry:
    """A regular file."""
    return Entry(stat.S_IFREG | (0o755 if executable else 0o644), data)


def link(target: str) -> Entry:
    """A symbolic link to `target`."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def device(major: int, minor: int, mode: int = 0o600) -> Entry:
    """A character device."""
    return Entry(stat.S_IFCHR | mode, b"", major, minor)


def _with_parents(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    whole = dict(entries)
    for path in entries:
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            whole.setdefault("/".join(parts[:depth]), directory())
    return whole


def write_cpio(out: BinaryIO, entries: Mapping[str, Entry]) -> None:
    """Write `entries`, by path without leading slash, to `out`; missing parents are added."""
    whole = _with_parents(entries)
    for number, path in enumerate(sorted(whole), start=1):
        _write_entry(out, number, path, whole[path])
    _write_entry(out, 0, "TRAILER!!!", Entry(0))


def _write_entry(out: BinaryIO, inode: int, path: str, entry: Entry) -> None:
    name = path.encode() + b"\0"
    fields = (
        inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0,
        entry.major, entry.minor, len(name), 0,
    )  # fmt: skip
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    out.write(head + bytes(-len(head) % 4))
    out.write(entry.data + bytes(-len(entry.data) % 4))
