"""What a file holds: written blocks, inline data, targets of symbolic links."""

from __future__ import annotations

from collections.abc import Iterator

from model.image.inode import Inode
from model.image.mapping import Mapping
from model.image.volume import Volume
from model.image.xattr import INLINE_NAME, Xattr

__all__ = ["inline_content", "inline_tail", "tail", "written"]

_PIECE = 1 << 20  # bytes read at a time


def written(volume: Volume, mapping: Mapping, structure: str) -> Iterator[tuple[int, bytes]]:
    """(byte offset, whole blocks) of each written extent, at most 1 MiB at a time."""
    size = volume.block_size
    step = max(1, _PIECE // size)
    for extent in mapping.extents:
        if not extent.written:
            continue
        for done in range(0, extent.length, step):
            count = min(step, extent.length - done)
            data = volume.read(extent.physical + done, structure, count)
            yield (extent.logical + done) * size, data


def tail(volume: Volume, inode: Inode, mapping: Mapping) -> bytes:
    """The bytes of the last block past the end of the file; empty if it is not written."""
    block, used = divmod(inode.size, volume.block_size)
    if not used:
        return b""
    for extent in reversed(mapping.extents):
        if extent.logical <= block < extent.end and extent.written:
            physical = extent.physical + block - extent.logical
            return volume.read(physical, f"last block of inode {inode.number}")[used:]
    return b""


def inline_content(volume: Volume, inode: Inode, xattrs: list[Xattr]) -> bytes:
    """The bytes of an inode with inline data, no more than its size (ext4_read_inline_data).

    The rest that does not fit the block numbers' 60 bytes lies in `system.data`. A file
    may be longer than both (truncated up); it then goes on with zeros.
    """
    rest = [xattr.value for xattr in xattrs if xattr.name == INLINE_NAME]
    if not rest:
        raise volume.error(inode.structure, "inline data without system.data")
    whole = inode.record.block + rest[0]
    if inode.size > len(whole) and not inode.is_regular:
        reason = f"{inode.size} bytes, but room for {len(whole)} inline"
        raise volume.error(inode.structure, reason)
    return whole[: inode.size]


def inline_tail(inode: Inode, xattrs: list[Xattr]) -> bytes:
    """The bytes of an inode with inline data past the end of the file."""
    rest = [xattr.value for xattr in xattrs if xattr.name == INLINE_NAME]
    return b"".join([inode.record.block, *rest])[inode.size :]
