"""What the agent saw of the file system, as an observation.

The other half is `vm/agent/observe.py`.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any

import msgspec

from harness.trace import Extent, Observation, State

__all__ = ["extents_of", "observation_of"]

_EXTENT = Struct("=QQQQQLLLL")
"""struct fiemap_extent (include/uapi/linux/fiemap.h): logical and physical byte, length, flags."""
_DELALLOC, _INLINE, _UNWRITTEN = 4, 0x200, 0x800


def observation_of(told: Any) -> Observation:
    """The observation that the agent told: one as `harness.trace` encodes it, but for extents,
    which are in hex as FIEMAP gave them, as `fiemap` of their file.

    Raises `ValueError` or `TypeError` if it is no such.
    """
    found = msgspec.convert(told, Observation, str_keys=True)
    files = {
        name: msgspec.structs.replace(file, extents=extents_of(told["files"][name]["fiemap"]))
        if "fiemap" in told["files"][name]
        else file
        for name, file in found.files.items()
    }
    return msgspec.structs.replace(found, files=files)


@lru_cache(256)  # most files are as they were after the operation before
def extents_of(told: str) -> tuple[Extent, ...]:
    """The extents in structs fiemap_extent, which are `told` in hex."""
    data = bytes.fromhex(told)
    if len(data) % _EXTENT.size:
        raise ValueError(f"{len(data)} bytes are no extents")
    return tuple(
        _extent(logical, physical, length, flags)
        for logical, physical, length, _, _, flags, *_ in _EXTENT.iter_unpack(data)
    )


def _extent(logical: int, physical: int, length: int, flags: int) -> Extent:
    if flags & _DELALLOC:
        return Extent(logical, length, State.DELAYED)
    if flags & _INLINE:
        return Extent(logical, length, State.INLINE)
    state = State.UNWRITTEN if flags & _UNWRITTEN else State.WRITTEN
    return Extent(logical, length, state, physical)
