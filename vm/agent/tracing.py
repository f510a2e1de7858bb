"""The reservation tracepoints, taken from a tracefs instance of our own.

They go to the host as they lie in the kernel's ring buffer: to print them takes the kernel, and
to read that the agent, many times as long. The other half is `vm/tracepoints.py`.
"""

from __future__ import annotations

import os
import re
from struct import Struct

from . import libc
from .kernel_files import write_file

__all__ = ["EVENTS", "Tracer", "folio_orders", "parse_orders"]

TRACING = "/sys/kernel/tracing"
EVENTS = {
    "reserve": "ext4_da_reserve_space",
    "release": "ext4_da_release_space",
    "update_reserve": "ext4_da_update_reserve_space",
}
"""By `harness.trace.EventKind`."""
_SIZES = Struct("<Q")
_BYTES, _STORED = (1 << 20) - 1, 1 << 30
"""Of a page: the bytes of events; whether the number of lost ones stands behind them."""
BUFFER_KIB = 8192
"""Room for the 49152 reservations that filling the largest image takes in one step."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def folio_orders(act: Callable[[], object], ino: int, tracing: str = TRACING) -> set[int]:
    """The orders of the folios that `act` puts into the page cache of inode `ino`.

    Empty if the kernel's mm_filemap_add_to_page_cache does not tell them. Raises `OSError`
    if there is no such tracepoint.
    """
    base = f"{tracing}/instances/ext4diff-folios"
    os.makedirs(base, exist_ok=True)
    switch = f"{base}/events/filemap/mm_filemap_add_to_page_cache/enable"
    try:
        write_file(switch, "1")
        act()
        write_file(switch, "0")
        with open(f"{base}/trace") as file:
            return parse_orders(file.read(), ino)
    finally:
        os.rmdir(base)


def parse_orders(text: str, ino: int) -> set[int]:
    """The orders that mm_filemap_add_to_page_cache printed for inode `ino`."""
    return {int(order) for order in re.findall(rf"ino {ino:x} .*order=(\d+)", text)}


class Tracer:
    """Collects the reservation tracepoints; raises `OSError` if tracefs lacks them.

    `formats` has what the file `format` of each says of where its fields are.
    """

    def __init__(self, tracing: str = TRACING) -> None:
        base = f"{tracing}/instances/ext4diff"
        os.makedirs(base, exist_ok=True)
        write_file(f"{base}/buffer_size_kb", str(BUFFER_KIB))
        self.formats = {}
        for kind, name in EVENTS.items():
            write_file(f"{base}/events/ext4/{name}/enable", "1")
            with open(f"{base}/events/ext4/{name}/format") as file:
                self.formats[kind] = file.read()
        self._rings = [
            os.open(
                f"{base}/per_cpu/{cpu}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            for cpu in sorted(os.listdir(f"{base}/per_cpu"))
        ]
        self._switch = os.open(f"{base}/tracing_on", os.O_WRONLY | os.O_CLOEXEC)

    def pause(self) -> None:
        """Collect nothing until `resume`."""
        os.pwrite(self._switch, b"0", 0)

    def resume(self) -> None:
        """Collect again."""
        os.pwrite(self._switch, b"1", 0)

    def drain(self) -> bytes:
        """The pages of events since the last call, each without its empty rest."""
        pages = b""
        for ring in self._rings:
            while page := libc.read_some(ring, 65536):
                (sizes,) = _SIZES.unpack_from(page, 8)
                used = 16 + (sizes & _BYTES) + (8 if sizes & _STORED else 0)
                pages += page[:used]
        return pages
