"""RLIMIT_FSIZE (`generic_write_check_limits`, fs/read_write.c)."""

from __future__ import annotations

from model.errors import OpError
from model.file_write import buffered_write
from model.inode import Inode
from model.source import Source

__all__ = ["limited_write"]


def limited_write(inode: Inode, pos: int, source: Source, limit: int) -> int:
    """Write with a file size limit of `limit` bytes: nothing at or past it, less across
    it; returns bytes written. Raises `OpError`."""
    if len(source) and pos >= limit:
        inode.sb.rule("past RLIMIT_FSIZE: generic_write_check_limits")
        raise OpError("EINVAL" if pos < 0 else "EFBIG")
    if pos >= 0 and pos + len(source) > limit:
        inode.sb.rule("cut at RLIMIT_FSIZE: generic_write_check_limits")
        source = source.cut(limit - pos)
    return buffered_write(inode, pos, source)
