"""Observations: what can be seen of the file system between two operations.

Nothing here writes to the file system or flushes it. The order is: stat of every file,
statfs, sysfs, FIEMAP of every file, raw inodes.
"""

from __future__ import annotations

import os

from .context import errno_name
from .fiemap import fiemap
from .files import Files
from .inode import InodeTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

__all__ = ["file_names", "listed", "observe", "refusal"]


def file_names(root: str) -> list[str]:
    """The names in `root`, in order, but for lost+found."""
    return sorted(name for name in os.listdir(root) if name != "lost+found")


def listed(root: str) -> list[tuple[int, str]] | None:
    """Inode number and name of what is in `root`, but for lost+found; None if the directory is
    unreadable. A file has more than one name if the image that it comes from says so."""
    try:
        entries = os.scandir(root)
    except OSError:
        return None
    with entries:
        return [(entry.inode(), entry.name) for entry in entries if entry.name != "lost+found"]


def refusal(files: Files) -> str | None:
    """The errno's name if the file system refuses to open its first file, as after a shutdown."""
    for name in file_names(files.root)[:1]:
        try:
            os.close(os.open(files.path(name), os.O_RDONLY | os.O_NOATIME))
        except OSError as error:
            return errno_name(error)
    return None


def observe(files: Files, table: InodeTable, delalloc: int, names: list[str] | None = None) -> Row:
    """An `harness.trace.Observation`, but that its files are lists (`vm/seen.py`), which take half
    the time to tell; only `error` if one of its parts can't be had.

    `delalloc` is a descriptor of delayed_allocation_blocks below /sys/fs/ext4; `names` are
    those of the files, in order, unless they are to be read.
    """
    try:
        return _observe(files, table, delalloc, file_names(files.root) if names is None else names)
    except OSError as error:
        return {"error": errno_name(error)}


def _observe(files: Files, table: InodeTable, delalloc: int, names: list[str]) -> Row:
    seen = []
    for name in names:
        fd = files.opened(name)
        seen.append(os.stat(files.path(name)) if fd is None else os.fstat(fd))
    space = os.statvfs(files.root)
    delayed = int(os.pread(delalloc, 64, 0))
    extents = [_extents(files, name) for name in names]
    rows: dict[str, list[Any]] = {}
    for name, status, told in zip(names, seen, extents, strict=True):
        size, blocks = status.st_size, status.st_blocks
        raw = table.read(status.st_ino)
        # ext4_file_getattr adds the reserved clusters, and an inline file's bytes.
        inline = (size + 511) // 512 if raw.inline else 0
        reserved = (blocks - inline - raw.sectors) * 512 // table.cluster_size
        rows[name] = [size, blocks, raw.sectors, raw.size, reserved, *told]
    return {
        "files": rows,
        "delalloc": delayed,
        "bfree": space.f_bfree,
        "bavail": space.f_bavail,
    }


def _extents(files: Files, name: str) -> tuple[str | None, ...]:
    """What FIEMAP says, or nothing and the errno's name."""
    fd = files.opened(name)
    own = fd is None
    if fd is None:
        fd = os.open(files.path(name), os.O_RDONLY | os.O_NOATIME)
    try:
        return (fiemap(fd),)
    except OSError as error:
        return None, errno_name(error)
    finally:
        if own:
            os.close(fd)
