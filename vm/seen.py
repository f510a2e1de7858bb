"""What the agent saw of the file system, as an observation.

The other half is `vm/agent/observe.py`, which tells what the kernel said.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error
from typing import Any, NamedTuple

import msgspec

from harness.trace import Extent, FileObservation, Observation, State

__all__ = ["HUGE_FILE_FL", "Seen", "extent_of", "extents_of", "on_disk", "seen_of"]

_WHOLE = Struct("<IIIIQQ")
"""Number of files, bytes of a block and a cluster, delayed_allocation_blocks, f_bfree, f_bavail."""
_FILE = Struct("<HHIQQq")
"""Bytes of the name, whether FIEMAP failed, bytes of what it said; inode number, st_size and
st_blocks. Then come the raw inode, the name, and what FIEMAP said, or the errno's name."""
_INODE = Struct("<4xI20xII72xI4xH10x")
"""struct ext4_inode (fs/ext4/ext4.h): i_size_lo, i_blocks_lo, i_flags, i_size_high,
i_blocks_high."""
HUGE_FILE_FL, _INLINE_DATA_FL = 0x40000, 0x10000000
_EXTENT = Struct("=QQQQQLLLL")
"""struct fiemap_extent (include/uapi/linux/fiemap.h): logical and physical byte, length, flags."""
_DELALLOC, _INLINE, _UNWRITTEN = 4, 0x200, 0x800


class Seen(NamedTuple):
    """An observation, and the name of each inode; of several names the directory's last."""

    observation: Observation
    names: dict[int, str]


def seen_of(row: dict[str, Any], data: bytes) -> Seen:
    """What the agent told in `row`, or else in `data`.

    Raises `ValueError` or `TypeError` if it is no such.
    """
    if "observation" in row:
        names = msgspec.convert(row.get("names", []), list[tuple[int, str]])
        return Seen(msgspec.convert(row["observation"], Observation), dict(names))
    try:
        return _seen(data)
    except error as reason:
        raise ValueError(f"{len(data)} bytes are no observation: {reason}") from reason


def _seen(data: bytes) -> Seen:
    count, block, cluster, delayed, free, available = _WHOLE.unpack_from(data)
    files, names, at = {}, {}, _WHOLE.size
    for _ in range(count):
        length, failed, size, number, *numbers = _FILE.unpack_from(data, at)
        inode = at + _FILE.size
        start = inode + _INODE.size
        told = start + length
        at = told + size
        if at > len(data):
            raise ValueError(f"{len(data)} bytes, which should be {at} or more")
        name, said = data[start:told].decode("utf-8", "surrogateescape"), data[told:at]
        names[number] = name
        file_size, blocks = numbers
        disk = on_disk(data[inode:start], blocks, block, cluster, size=file_size)
        extents = None if failed else extents_of(said)
        reason = said.decode() if failed else None
        files[name] = FileObservation(file_size, blocks, *disk, extents, reason)
    if at != len(data):
        raise ValueError(f"{len(data)} bytes, which should be {at}")
    return Seen(Observation(dict(sorted(files.items())), delayed, free, available), names)


def on_disk(
    inode: bytes, blocks: int, block: int, cluster: int, *, size: int
) -> tuple[int, int, int]:
    """Sectors of 512 bytes, bytes and reserved clusters of a file, by the old part of its raw
    `inode`, st_blocks (`blocks`) and st_size (`size`), in a file system with blocks and clusters
    of `block` and `cluster` bytes."""
    low, sectors, flags, high, sectors_high = _INODE.unpack(inode)
    disksize = low | high << 32
    sectors |= sectors_high << 32
    # ext4_file_getattr adds the reserved clusters, and an inline file's bytes.
    inline = (size + 511) // 512 if flags & _INLINE_DATA_FL else 0
    unit = block // 512 if flags & HUGE_FILE_FL else 1
    sectors *= unit
    reserved = blocks - inline - sectors
    if flags & HUGE_FILE_FL:  # what i_blocks has above 48 bits is cut off
        reserved %= unit << 48
    return sectors, disksize, reserved * 512 // cluster


@lru_cache(256)  # most files are as they were after the operation before
def extents_of(data: bytes) -> tuple[Extent, ...]:
    """The extents that are told in `data`, structs fiemap_extent."""
    if len(data) % _EXTENT.size:
        raise ValueError(f"{len(data)} bytes are no extents")
    return tuple(
        extent_of(logical, physical, length, flags)
        for logical, physical, length, _, _, flags, *_ in _EXTENT.iter_unpack(data)
    )


def extent_of(logical: int, physical: int, length: int, flags: int) -> Extent:
    """The extent that FIEMAP tells so, in bytes; `flags` are its FIEMAP_EXTENT_*."""
    if flags & _DELALLOC:
        return Extent(logical, length, State.DELAYED)
    if flags & _INLINE:
        return Extent(logical, length, State.INLINE)
    state = State.UNWRITTEN if flags & _UNWRITTEN else State.WRITTEN
    return Extent(logical, length, state, physical)
