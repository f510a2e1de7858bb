"""The reservation tracepoints, read from a tracefs instance of our own.

Fields are those of `include/trace/events/ext4.h`. The printed text of
`ext4_da_reserve_space` lacks a space between two fields, so fields are searched by name.
"""

from __future__ import annotations

import os
import re

from . import libc

__all__ = ["Tracer", "folio_orders", "parse_events", "parse_orders"]

TRACING = "/sys/kernel/tracing"
NAMES = {
    "ext4_da_reserve_space": "reserve",
    "ext4_da_release_space": "release",
    "ext4_da_update_reserve_space": "update_reserve",
}
BUFFER_KIB = 8192
"""Room for the 49152 reservations that filling the largest image takes in one step."""

_EVENT = re.compile(
    r"^(ext4_da_\w+): dev \S+ ino (\d+) .*?"
    r"(?:reserve_blocks|freed_blocks|used_blocks) (\d+) ?"
    r"reserved_data_blocks (\d+)(?: quota_claim (\d+))?"
)
_LOST = re.compile(r"\[LOST (\d+) EVENTS\]")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Row = dict[str, int | str | bool | None]


def parse_events(text: str) -> tuple[list[Row], int]:
    """Events as `harness.trace.Event` encodes them, with `ino` for `file`; and how many were lost.

    Raises `ValueError` for a line that is neither an event nor a note of lost events.
    """
    rows: list[Row] = []
    lost = 0
    for line in text.splitlines():
        match = _EVENT.match(line)
        if match:
            name, ino, count, reserved, claim = match.groups()
            row: Row = {"kind": NAMES[name], "ino": int(ino), "count": int(count)}
            row["reserved"] = int(reserved)
            row["claim"] = None if claim is None else claim == "1"
            rows.append(row)
            continue
        missing = _LOST.search(line)
        if not missing:
            raise ValueError(f"not a trace line: {line!r}")
        lost += int(missing.group(1))
    return rows, lost


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def folio_orders(act: Callable[[], object], ino: int, tracing: str = TRACING) -> set[int]:
    """The orders of the folios that `act` puts into the page cache of inode `ino`.

    Empty if the kernel's mm_filemap_add_to_page_cache does not tell them. Raises `OSError`
    if there is no such tracepoint.
    """
    base = f"{tracing}/instances/ext4diff-folios"
    os.makedirs(base, exist_ok=True)
    switch = f"{base}/events/filemap/mm_filemap_add_to_page_cache/enable"
    try:
        _write(switch, "1")
        act()
        _write(switch, "0")
        with open(f"{base}/trace") as file:
            return parse_orders(file.read(), ino)
    finally:
        os.rmdir(base)


def parse_orders(text: str, ino: int) -> set[int]:
    """The orders that mm_filemap_add_to_page_cache printed for inode `ino`."""
    return {int(order) for order in re.findall(rf"ino {ino:x} .*order=(\d+)", text)}


class Tracer:
    """Collects the reservation tracepoints; raises `OSError` if tracefs lacks them."""

    def __init__(self, tracing: str = TRACING) -> None:
        base = f"{tracing}/instances/ext4diff"
        os.makedirs(base, exist_ok=True)
        _write(f"{base}/buffer_size_kb", str(BUFFER_KIB))
        _write(f"{base}/options/context-info", "0")
        for name in NAMES:
            _write(f"{base}/events/ext4/{name}/enable", "1")
        self._pipe = os.open(f"{base}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._switch = os.open(f"{base}/tracing_on", os.O_WRONLY | os.O_CLOEXEC)

    def pause(self) -> None:
        """Collect nothing until `resume`."""
        os.pwrite(self._switch, b"0", 0)

    def resume(self) -> None:
        """Collect again."""
        os.pwrite(self._switch, b"1", 0)

    def drain(self) -> tuple[list[Row], int]:
        """The events since the last call, and how many of them the kernel dropped."""
        parts = []
        while part := libc.read_some(self._pipe, 65536):
            parts.append(part)
        return parse_events(b"".join(parts).decode()) if parts else ([], 0)
