"""The reservation tracepoints as they lie in the kernel's ring buffer.

The agent sends pages of `trace_pipe_raw` as they are, without their empty rest, and what
tracefs says of their layout. The other half is `vm/agent/tracing.py`. How a page is made is
told in the kernel's Documentation/trace/ring-buffer-design and in include/linux/ring_buffer.h:
a time stamp, the number of bytes, then events that each begin with four bytes: five bits of
kind or length, and the nanoseconds since the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from struct import Struct, error, unpack_from

import msgspec

from harness.trace import Event, EventKind

__all__ = ["Tracepoints"]

_PAGE = Struct("<QQ")
"""Time stamp of the page; bytes of events, and flags."""
_BYTES, _STORED, _MISSED = (1 << 20) - 1, 1 << 30, 1 << 31
"""Of the page's second number: events' bytes; whether the number of lost ones stands behind
them; whether some were lost."""
_LONGEST, _PADDING, _EXTEND, _STAMP = 28, 29, 30, 31
"""Kinds of events: up to the first it is a length in words, or 0 if that follows."""
_DELTA_BITS, _STAMP_BITS = 27, 59

_ID = re.compile(r"^ID: (\d+)$", re.MULTILINE)
_FIELD = re.compile(r"field:[^;]*?(\w+);\s*offset:(\d+);\s*size:(\d+);\s*signed:([01]);")
_COUNTS = {
    EventKind.RESERVE: "reserve_blocks",
    EventKind.RELEASE: "freed_blocks",
    EventKind.UPDATE: "used_blocks",
}
"""The field that is an event's `count`."""
_INTEGERS = {(1, "0"): "B", (2, "0"): "H", (4, "0"): "I", (8, "0"): "Q"}
_INTEGERS |= {(size, "1"): letter.lower() for (size, _), letter in _INTEGERS.items()}


class _Layout(msgspec.Struct, frozen=True):
    """Of one tracepoint: offset and `struct` letter of inode number, count, reserved blocks and,
    if it has it, quota_claim."""

    kind: EventKind
    fields: tuple[tuple[int, str], ...]

    def event(self, data: memoryview, names: Mapping[int, str]) -> Event:
        number, count, reserved, *claim = (
            unpack_from(letter, data, offset)[0] for offset, letter in self.fields
        )
        name = names.get(number, f"ino {number}")
        return Event(self.kind, name, count, reserved, claim[0] == 1 if claim else None)


class Tracepoints:
    """Reads the pages of one kernel, whose agent has told `formats`: what the file `format` of
    each tracepoint says, by the kind of event.

    Raises `ValueError` if they are not the three that are known, or have other fields.
    """

    def __init__(self, formats: Mapping[str, str]) -> None:
        self._layouts: dict[int, _Layout] = {}
        for kind, count in _COUNTS.items():
            text = formats.get(kind, "")
            number = _ID.search(text)
            found = {
                name: (int(offset), _INTEGERS.get((int(size), signed), ""))
                for name, offset, size, signed in _FIELD.findall(text)
            }
            wanted = ["ino", count, "reserved_data_blocks"]
            wanted += ["quota_claim"] if kind is EventKind.UPDATE else []
            if number is None or not all(found.get(name, (0, ""))[1] for name in wanted):
                raise ValueError(f"ext4_da_{kind}_space has no {', '.join(wanted)}: {text!r}")
            fields = tuple((found[name][0], f"<{found[name][1]}") for name in wanted)
            self._layouts[int(number[1])] = _Layout(kind, fields)

    def events(self, data: bytes, names: Mapping[int, str]) -> tuple[tuple[Event, ...], int | None]:
        """The events in `data`, which is pages, in the order of time; and how many others the
        kernel has lost, None if it does not know how many.

        `names` are those of inodes. Raises `ValueError` if that is no such data.
        """
        found: list[tuple[int, Event]] = []
        lost: int | None = 0
        view, at = memoryview(data), 0
        try:
            while at < len(data):
                stamp, sizes = _PAGE.unpack_from(data, at)
                end = at + _PAGE.size + (sizes & _BYTES)
                found += self._on_page(view[at + _PAGE.size : end], stamp, names)
                at = end
                if sizes & _STORED and lost is not None:
                    lost += unpack_from("<Q", data, at)[0]
                elif sizes & _MISSED:
                    lost = None
                at += 8 * bool(sizes & _STORED)
        except error as reason:
            raise ValueError(f"{len(data)} bytes are no trace: {reason}") from reason
        if at != len(data):
            raise ValueError(f"{len(data)} bytes of a trace, which should be {at}")
        found.sort(key=lambda event: event[0])  # each CPU has pages of its own
        return tuple(event for _, event in found), lost

    def _on_page(
        self, page: memoryview, stamp: int, names: Mapping[int, str]
    ) -> Iterator[tuple[int, Event]]:
        """The events of a page that begins at the time `stamp`, with their times."""
        at = 0
        while at < len(page):
            (head,) = unpack_from("<I", page, at)
            kind, delta = head & 31, head >> 5
            if kind == _PADDING and not delta:
                return  # up to the end of the page
            (word,) = unpack_from("<I", page, at + 4)
            if kind == _STAMP:
                stamp = stamp >> _STAMP_BITS << _STAMP_BITS | word << _DELTA_BITS | delta
            else:
                stamp += delta + (word << _DELTA_BITS if kind == _EXTEND else 0)
            size = 4 if kind > _PADDING else word if kind in (0, _PADDING) else kind * 4
            start, at = at + (8 if kind == 0 else 4), at + 4 + size
            if kind > _LONGEST:
                continue
            if size < 4 or at > len(page):
                raise ValueError(f"an event of {size} bytes")
            data = page[start:at]
            layout = self._layouts.get(unpack_from("<H", data)[0])
            if layout is None:
                raise ValueError(f"an event {unpack_from('<H', data)[0]}, which is not known")
            yield stamp, layout.event(data, names)
