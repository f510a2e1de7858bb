"""What an agent tells, made by hand: tracepoints as they lie in the kernel's ring buffer."""

from __future__ import annotations

import struct

from harness.trace import EventKind

__all__ = ["FORMATS", "IDS", "event", "page"]

IDS = {EventKind.RESERVE: 700, EventKind.RELEASE: 701, EventKind.UPDATE: 702}
_COUNTS = {
    EventKind.RESERVE: "int reserve_blocks",
    EventKind.RELEASE: "int freed_blocks",
    EventKind.UPDATE: "int used_blocks",
}


def _format(kind: EventKind) -> str:
    fields = [("unsigned short common_type", 0, 2, 0), ("dev_t dev", 8, 4, 0)]
    fields += [("u64 ino", 16, 8, 0), ("u64 i_blocks", 24, 8, 0), (_COUNTS[kind], 32, 4, 1)]
    fields += [("int reserved_data_blocks", 36, 4, 1)]
    fields += [("int quota_claim", 40, 4, 1)] if kind is EventKind.UPDATE else []
    lines = [
        f"\tfield:{name};\toffset:{offset};\tsize:{size};\tsigned:{signed};"
        for name, offset, size, signed in fields
    ]
    return f"name: ext4_da_{kind}_space\nID: {IDS[kind]}\nformat:\n" + "\n".join(lines) + "\n"


FORMATS = {str(kind): _format(kind) for kind in EventKind}
"""The files `format` of a kernel, by the kind of event."""


def event(
    kind: EventKind, ino: int, count: int, reserved: int, claim: int | None = None, delta: int = 1
) -> bytes:
    """An event `delta` nanoseconds after the one before, with its length in the first word."""
    data = struct.pack("<H6xI4xQQii", IDS[kind], 1, ino, 0, count, reserved)
    data += b"" if claim is None else struct.pack("<i", claim)
    return struct.pack("<I", len(data) // 4 | delta << 5) + data


def page(*events: bytes, stamp: int = 1000, lost: int | None = 0) -> bytes:
    """A page that begins at the time `stamp`; before it `lost` events were lost, None if nobody
    knows how many."""
    data = b"".join(events)
    flags = (0 if lost == 0 else 1 << 31) | (1 << 30 if lost else 0)
    behind = struct.pack("<Q", lost) if lost else b""
    return struct.pack("<QQ", stamp, len(data) | flags) + data + behind
