"""What the agent saw of the file system, as an observation.

The other half is `vm/agent/observe.py`.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any

import msgspec

from harness.trace import Extent, FileObservation, Observation, State

__all__ = ["extent_of", "extents_of", "observation_of"]

_EXTENT = Struct("=QQQQQLLLL")
"""struct fiemap_extent (include/uapi/linux/fiemap.h): logical and physical byte, length, flags."""
_DELALLOC, _INLINE, _UNWRITTEN = 4, 0x200, 0x800


class _File(msgspec.Struct, array_like=True):
    """A file as the agent tells it; `extents_error` only comes without `fiemap`."""

    size: int
    blocks: int
    disk_blocks: int
    disksize: int
    reserved: int
    fiemap: str | None
    extents_error: str | None = None


def observation_of(told: Any) -> Observation:
    """The observation that the agent told: one as `harness.trace` encodes it, but that its files
    are lists (see `_File`), in which the extents are as FIEMAP gave them, in hex.

    Raises `ValueError` or `TypeError` if it is no such.
    """
    listed = msgspec.convert(told, dict[str, Any]).get("files", {})
    files = {
        name: _file(msgspec.convert(file, _File))
        if isinstance(file, list)
        else msgspec.convert(file, FileObservation)
        for name, file in msgspec.convert(listed, dict[str, Any]).items()
    }
    found = msgspec.convert({**told, "files": {}}, Observation)
    return msgspec.structs.replace(found, files=files)


def _file(told: _File) -> FileObservation:
    return FileObservation(
        told.size, told.blocks, told.disk_blocks, told.disksize, told.reserved,
        None if told.fiemap is None else extents_of(told.fiemap), told.extents_error,
    )  # fmt: skip


@lru_cache(256)  # most files are as they were after the operation before
def extents_of(told: str) -> tuple[Extent, ...]:
    """The extents in structs fiemap_extent, which are `told` in hex."""
    data = bytes.fromhex(told)
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
