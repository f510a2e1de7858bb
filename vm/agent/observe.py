"""Observations: what can be seen of the file system between two operations.

Nothing here writes to the file system or flushes it. The order is: stat of every file,
statfs, sysfs, FIEMAP of every file, raw inodes. What the kernel says goes to the host as it is,
which makes sense of it (`vm/seen.py`): it is quicker at that.
"""

from __future__ import annotations

import os
from struct import Struct

from .context import errno_name
from .fiemap import fiemap
from .files import Files
from .inode import InodeTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

__all__ = ["file_names", "listed", "observe", "refusal"]

_WHOLE = Struct("<IIIIQQ")
"""Number of files, bytes of a block and a cluster, delayed_allocation_blocks, f_bfree, f_bavail."""
_FILE = Struct("<HHIQQq")
"""Bytes of the name, whether FIEMAP failed, bytes of what it said; inode number, st_size and
st_blocks. Then come the raw inode, the name, and what FIEMAP said, or the errno's name."""


def file_names(root: str) -> list[str]:
    """The names in `root`, in order, but for lost+found."""
    return sorted(name for name in os.listdir(root) if name != "lost+found")


def listed(root: str) -> list[tuple[int, str]]:
    """Inode number and name of what is in `root`, but for lost+found; nothing if the directory is
    unreadable. A file has more than one name if the image that it comes from says so."""
    try:
        entries = os.scandir(root)
    except OSError:
        return []
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


def observe(files: Files, table: InodeTable, delalloc: int) -> Row:
    """What can be seen, as `raw` (see `_WHOLE` and `_FILE`), or `observation` with the `error` if
    one of its parts can't be had.

    `delalloc` is a descriptor of delayed_allocation_blocks below /sys/fs/ext4.
    """
    try:
        return {"raw": _observe(files, table, delalloc)}
    except OSError as error:
        return {"observation": {"error": errno_name(error)}}


def _observe(files: Files, table: InodeTable, delalloc: int) -> list[bytes]:
    seen = []
    for name in file_names(files.root):
        fd = files.opened(name)
        seen.append((name, fd, os.stat(files.path(name)) if fd is None else os.fstat(fd)))
    space = os.statvfs(files.root)
    delayed = int(os.pread(delalloc, 64, 0))
    extents = [_extents(files, name, fd) for name, fd, _ in seen]
    sizes = table.block_size, table.cluster_size
    told = [_WHOLE.pack(len(seen), *sizes, delayed, space.f_bfree, space.f_bavail)]
    for (name, _, status), (failed, said) in zip(seen, extents, strict=True):
        coded, number = os.fsencode(name), status.st_ino
        told.append(
            _FILE.pack(len(coded), failed, len(said), number, status.st_size, status.st_blocks)
        )
        told += table.read(number), coded, said
    return told


def _extents(files: Files, name: str, fd: int | None) -> tuple[bool, bytes]:
    """What FIEMAP says, or that it failed, and the errno's name."""
    own = fd is None
    if fd is None:
        fd = os.open(files.path(name), os.O_RDONLY | os.O_NOATIME)
    try:
        return False, fiemap(fd)
    except OSError as error:
        return True, errno_name(error).encode()
    finally:
        if own:
            os.close(fd)
