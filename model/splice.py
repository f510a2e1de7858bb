"""Copying between files through a pipe: sendfile(2), splice(2), and what
copy_file_range(2) does without reflinks (fs/splice.c)."""

from __future__ import annotations

from model.access import IMMUTABLE
from model.errors import OpError
from model.file_write import buffered_write, max_size, rw_verify_area
from model.inode import Inode
from model.readahead import splice_pages
from model.source import Source
from model.units import MAX_LFS_FILESIZE, PAGE, PIPE_BUFFERS

__all__ = ["sendfile", "splice", "splice_pieces"]


def sendfile(source: Inode, off: int, target: Inode, dst: int, count: int) -> int:
    """Copy `count` bytes from byte `off` of `source` to byte `dst` of `target`, to which
    lseek(2) goes first; returns bytes copied (ext4_llseek, do_sendfile). Raises `OpError`."""
    if not 0 <= dst <= max_size(target) or count < 0:
        raise OpError("EINVAL")
    rw_verify_area(off, count)
    longest = source.sb.maxbytes
    if off + count > longest:
        if off >= longest:
            raise OpError("EOVERFLOW")
        count = longest - off
    return splice_pieces(source, off, target, dst, count)


def splice(source: Inode, off: int, target: Inode, dst: int, count: int) -> int:
    """The same by splice(2) into a pipe and out of it, in calls for as much as it holds
    (do_splice). Raises `OpError`."""
    if count > 0:
        rw_verify_area(off, min(count, PIPE_BUFFERS * PAGE))
    return splice_pieces(source, off, target, dst, count, calls=True)


def splice_pieces(
    source: Inode, off: int, target: Inode, dst: int, count: int, *, calls: bool = False
) -> int:
    """Fill the pipe, write it out, until `count` bytes or the end of `source` is reached;
    returns bytes copied (splice_direct_to_actor).

    The pipe holds pages, so that a piece that starts inside a page is shorter. If each piece is
    written by `calls` of its own, one that was ended by an error has said how much it wrote, and
    the next one meets the error again. Raises `OpError` if nothing was copied.
    """
    done = 0
    while done < count:
        at = off + done
        step = min(count - done, PIPE_BUFFERS * PAGE - at % PAGE, source.size - at)
        if step <= 0:
            break
        try:
            step = splice_pages(source, at, min(count - done, PIPE_BUFFERS * PAGE), at + step) - at
        except OpError:
            if done:
                break
            raise
        data, defined = source.content.read(at, step), source.content.knows(at, at + step)
        if source is target and 0 < abs(dst - off) < step:
            data, exact = _onto_itself(source, at, dst + done, step)
            defined = defined and exact
        last, error = _write_out(target, dst + done, data)
        wrote = last
        while calls and last and error is not None:
            last, error = _write_out(target, dst + done + wrote, data[wrote:])
            wrote += last
        if not defined:
            target.content.lose(dst + done, dst + done + wrote)
        done += wrote
        if error is not None:
            if done:
                break
            raise error
    return done


def _onto_itself(inode: Inode, at: int, pos: int, count: int) -> tuple[bytes, bool]:
    """What arrives at byte `pos` when the pipe holds the pages of `count` bytes from `at` of
    the same file: each page is copied as earlier ones have left it.

    False with it where a page is copied onto itself, shifted: that is memcpy() with operands
    that overlap, whose result depends on the processor.
    """
    low = min(at, pos)
    window = bytearray(inode.content.read(low, abs(pos - at) + count))
    done = 0
    while done < count:
        step = min(count - done, PAGE - (at + done) % PAGE)
        source, target = at + done - low, pos + done - low
        window[target : target + step] = window[source : source + step]
        done += step
    return bytes(window[pos - low : pos - low + count]), abs(pos - at) >= PAGE


def _write_out(target: Inode, pos: int, data: bytes) -> tuple[int, OpError | None]:
    """Write what the pipe holds, unless the file is immutable; after a short write the rest is
    tried again, and the error that ends it is told beside the bytes written
    (iter_file_splice_write)."""
    if target.flags & IMMUTABLE and pos + len(data) <= MAX_LFS_FILESIZE:
        target.sb.rule("protected file: IS_APPEND, IS_IMMUTABLE")
        return 0, OpError("EPERM")
    done = 0
    while done < len(data):
        try:
            wrote = buffered_write(target, pos + done, Source(data[done:]))
        except OpError as error:
            return done, error
        if not wrote:
            break
        done += wrote
    return done, None
