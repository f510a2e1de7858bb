"""Fixed-size records: a NamedTuple whose annotations say how each field lies on disk.

A reader does `Record._make(LAYOUT.unpack_from(block, offset))`, a writer
`LAYOUT.pack(*record)`; names and formats cannot come apart.
"""

import struct
from typing import Annotated, Any, get_type_hints

__all__ = ["B4", "B12", "B16", "B32", "B60", "B64", "U8", "U16", "U32", "U64", "layout"]

U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
U64 = Annotated[int, "Q"]
B4 = Annotated[bytes, "4s"]
B12 = Annotated[bytes, "12s"]
B16 = Annotated[bytes, "16s"]
B32 = Annotated[bytes, "32s"]
B60 = Annotated[bytes, "60s"]
B64 = Annotated[bytes, "64s"]


def layout(record: type[Any], order: str = "<", tail: str = "") -> struct.Struct:
    """How `record` (a NamedTuple) is packed: little-endian, `>` for the journal's records.

    `tail` is padding after the last field, in `struct`'s letters.
    """
    hints = get_type_hints(record, include_extras=True)
    letters = "".join(hints[name].__metadata__[0] for name in record._fields)
    return struct.Struct(order + letters + tail)
