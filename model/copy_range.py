"""copy_file_range(2): ordinary reads and writes in pipe-sized pieces
(`splice_copy_file_range`, fs/splice.c)."""

from __future__ import annotations

from model.errors import OpError
from model.file_write import buffered_write
from model.inode import Inode
from model.source import Source
from model.units import PAGE

__all__ = ["copy_file_range"]

PIPE_BUFFERS = 16
"""Pages that the internal pipe holds."""


def copy_file_range(source: Inode, off: int, target: Inode, dst: int, count: int) -> int:
    """Copy `count` bytes; returns bytes copied. Raises `OpError`."""
    if off < 0 or dst < 0 or count < 0:
        raise OpError("EINVAL")
    count = max(min(count, source.size - off), 0)
    if source is target and off < dst + count and dst < off + count:
        raise OpError("EINVAL")
    done = 0
    while done < count:
        step = min(count - done, PIPE_BUFFERS * PAGE - (off + done) % PAGE)
        source.cache.read(off + done, off + done + step)
        data = source.content.read(off + done, step)
        try:
            wrote = buffered_write(target, dst + done, Source(data))
        except OpError:
            if done:
                return done
            raise
        done += wrote
        if wrote < step:
            break
    return done
