"""write(2): checks that both paths share (fs/ext4/file.c `ext4_buffered_write_iter`)."""

from __future__ import annotations

from model.buffer_head import generic_perform_write
from model.errors import OpError
from model.inline_write import inline_write
from model.inode import Inode
from model.iomap_write import iomap_buffered_write
from model.source import Source
from model.truncate import block_zero_eof
from model.units import MAX_LFS_FILESIZE

__all__ = ["buffered_write", "generic_write_checks", "max_size", "rw_verify_area"]


def max_size(inode: Inode) -> int:
    """Bytes to which this file can grow (s_maxbytes; s_bitmap_maxbytes)."""
    if not inode.extents or inode.inline:
        return inode.sb.bitmap_maxbytes
    return inode.sb.maxbytes


def rw_verify_area(pos: int, length: int) -> None:
    """Offsets are less than 2^63, also that behind the last byte (fs/read_write.c). Raises
    `OpError`."""
    if pos < 0 or pos + length > MAX_LFS_FILESIZE:
        raise OpError("EINVAL")


def generic_write_checks(inode: Inode, pos: int, length: int) -> int:
    """How many of `length` bytes may be written at byte `pos` (ext4_generic_write_checks):
    no file grows past `max_size`. Raises `OpError`."""
    rw_verify_area(pos, length)
    if not length:
        return 0
    limit = max_size(inode)
    if pos >= limit:
        raise OpError("EFBIG")
    return min(length, limit - pos)


def buffered_write(inode: Inode, pos: int, source: Source) -> int:
    """Write `source` at byte `pos`; returns bytes written. Raises `OpError`
    (ext4_write_checks, ext4_buffered_write_iter)."""
    length = generic_write_checks(inode, pos, len(source))
    if not length:
        return 0
    if length < len(source):
        source = source.cut(length)
    inode.file_modified()
    inode.check_behind_size()
    if pos > inode.size:
        block_zero_eof(inode, inode.size, pos)
    if inode.iomap:
        return iomap_buffered_write(inode, pos, source)
    if inode.may_inline or inode.inline:
        written = inline_write(inode, pos, source)
        if written is not None:
            return written
    return generic_perform_write(inode, pos, source)
