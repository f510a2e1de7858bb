"""RLIMIT_FSIZE (`generic_write_check_limits`, fs/read_write.c)."""

from __future__ import annotations

from model.errors import OpError
from model.file_write import buffered_write, rw_verify_area
from model.inode import Inode
from model.source import Source

__all__ = ["limited_write"]


def limited_write(inode: Inode, pos: int, source: Source, limit: int) -> int:
    """Write with a file size limit of `limit` bytes: nothing at or past it, less across
    it; returns bytes written. Raises `OpError`."""
    rw_verify_area(pos, len(source))
    if len(source) and pos >= limit:
        inode.sb.rule("past RLIMIT_FSIZE: generic_write_check_limits")
        raise OpError("EFBIG")
    if pos + len(source) > limit:
        inode.sb.rule("cut at RLIMIT_FSIZE: generic_write_check_limits")
        source = source.cut(limit - pos)
    return buffered_write(inode, pos, source)
