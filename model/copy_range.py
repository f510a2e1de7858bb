"""copy_file_range(2): ordinary reads and writes in pipe-sized pieces
(`splice_copy_file_range`, fs/splice.c)."""

from __future__ import annotations

from model.errors import OpError
from model.inode import Inode
from model.splice import splice_pieces

__all__ = ["copy_file_range"]


def copy_file_range(source: Inode, off: int, target: Inode, dst: int, count: int) -> int:
    """Copy `count` bytes; returns bytes copied (generic_copy_file_checks). Raises `OpError`."""
    if off < 0 or dst < 0 or count < 0:
        raise OpError("EINVAL")
    count = max(min(count, source.size - off), 0)
    if not count:
        return 0
    longest = target.sb.maxbytes
    if dst >= longest:
        raise OpError("EFBIG")
    count = min(count, longest - dst)
    if source is target and off < dst + count and dst < off + count:
        raise OpError("EINVAL")
    return splice_pieces(source, off, target, dst, count)
