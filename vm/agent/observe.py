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
    """An `harness.trace.Observation`, but that a file's extents are its `fiemap`; only `error` if
    one of its parts can't be had.

    `delalloc` is a descriptor of delayed_allocation_blocks below /sys/fs/ext4; `names` are
    those of the files, in order, unless they are to be read.
    """
    try:
        return _observe(files, table, delalloc, file_names(files.root) if names is None else names)
    except OSError as error:
        return {"error": errno_name(error)}


def _observe(files: Files, table: InodeTable, delalloc: int, names: list[str]) -> Row:
    rows: dict[str, Row] = {}
    inodes: dict[str, int] = {}
    for name in names:
        fd = files.opened(name)
        status = os.stat(files.path(name)) if fd is None else os.fstat(fd)
        rows[name] = {"size": status.st_size, "blocks": status.st_blocks}
        inodes[name] = status.st_ino
    space = os.statvfs(files.root)
    delayed = int(os.pread(delalloc, 64, 0))
    for name, row in rows.items():
        _add_extents(files, name, row)
    for name, row in rows.items():
        raw = table.read(inodes[name])
        row["disk_blocks"] = raw.sectors
        row["disksize"] = raw.size
        # ext4_file_getattr adds the reserved clusters, and an inline file's bytes.
        inline = (row["size"] + 511) // 512 if raw.inline else 0
        row["reserved"] = (row["blocks"] - inline - raw.sectors) * 512 // table.cluster_size
    return {
        "files": rows,
        "delalloc": delayed,
        "bfree": space.f_bfree,
        "bavail": space.f_bavail,
    }


def _add_extents(files: Files, name: str, row: Row) -> None:
    fd = files.opened(name)
    own = fd is None
    if fd is None:
        fd = os.open(files.path(name), os.O_RDONLY | os.O_NOATIME)
    try:
        row["fiemap"] = fiemap(fd)
    except OSError as error:
        row["extents_error"] = errno_name(error)
    finally:
        if own:
            os.close(fd)
