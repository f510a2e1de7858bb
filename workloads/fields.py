"""The fields of operations in the text form: how each kind of value is read and written.

Nothing here knows a single operation: a field's kind follows from its type and name, so
that a new operation in `workloads.ops` has a text form by itself.
"""

from __future__ import annotations

import functools
import re
from typing import Any, get_type_hints

import msgspec

from workloads.ops import Op

__all__ = ["BadValue", "Field", "fields_of", "format_number", "parse_number", "usage"]

LARGEST_BUFFER = 128 * 1024 * 1024
"""Bytes that one call may move through a buffer; more does not fit into a small guest."""

INT64 = range(-(2**63), 2**63)
_BYTES = {"off", "len", "size", "dst", "fault", "limit"}
_NAMED = {"fault", "tag", "uid", "limit", "hard", "p"}
_SIGNED_OFFSETS = {
    "falloc", "falloc_keep", "fpunch", "fzero", "fzero_keep", "fcollapse", "finsert",
    "write_zeroes", "sync_range", "truncate",
}  # fmt: skip
_NO_BUFFER = {*_SIGNED_OFFSETS, "copy_range", "sendfile", "splice"}
_NUMBER = re.compile(r"([+-]?)(0x[0-9a-f]+|[0-9]+)([kmgt]?)", re.IGNORECASE)
_FILE = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_OPTIONS = re.compile(r"[A-Za-z0-9_=,.:/-]+")
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class BadValue(ValueError):
    """A value that its field can't hold; the message says what it should be."""


def parse_number(text: str) -> int:
    """`4096`, `4k`, `0x1000`: an integer, with a binary suffix; BadValue if it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise BadValue(f'"{text}" is no number; write 4096, 4k, 1m or 0x1000')
    sign, digits, unit = match.groups()
    if len(digits) > 20:
        raise BadValue(f'"{text[:20]}..." does not fit into 64 bits')
    value = int(digits, 16 if digits[:2].lower() == "0x" else 10) << _UNITS[unit.lower()]
    return -value if sign == "-" else value


def format_number(value: int) -> str:
    """`value` with the largest binary suffix that leaves it whole."""
    for unit in ("t", "g", "m", "k"):
        if value and value % (1 << _UNITS[unit]) == 0:
            return f"{value >> _UNITS[unit]}{unit}"
    return str(value)


class Field(msgspec.Struct, frozen=True):
    """A field of an operation: its `name`, its `kind`, and the bounds of its numbers.

    `kind` is one of `file`, `options`, `share` (0 to 1), `segments`, `bytes`, `flags`,
    `count`. `named` fields are written `name=value`, `optional` ones may be left out.
    """

    name: str
    kind: str
    low: int
    high: int
    named: bool
    optional: bool

    @property
    def usage(self) -> str:
        """How a usage line shows it: `LEN`, `fault=N`, `[tag=N]`."""
        text = f"{self.name}=N" if self.named else self.name.upper()
        return f"[{text}]" if self.optional else text

    def parse(self, text: str) -> int | float | str | tuple[tuple[int, int | None], ...]:
        """The value that `text` stands for; BadValue says why there is none."""
        if self.kind == "file":
            return _parse_file(text)
        if self.kind == "options":
            if not _OPTIONS.fullmatch(text):
                raise BadValue(f'"{text}" is no list of mount options; write a,b=c')
            return text
        if self.kind == "share":
            return _parse_share(text)
        if self.kind == "segments":
            return tuple(self._parse_segment(part) for part in text.split(","))
        return self._parse_bounded(text)

    def format(self, value: Any) -> str:
        """The canonical text of `value`."""
        if self.kind == "bytes":
            return format_number(value)
        if self.kind == "flags":
            return hex(value) if value > 9 else str(value)
        if self.kind == "segments":
            return ",".join(
                format_number(length) + ("" if readable is None else f":{format_number(readable)}")
                for length, readable in value
            )
        return repr(value) if self.kind == "share" else str(value)

    def _parse_bounded(self, text: str) -> int:
        value = parse_number(text)
        if value not in INT64:
            raise BadValue(f'"{text}" does not fit into 64 bits')
        if value < self.low:
            raise BadValue(f"{self.name.upper()} is {text}; it can't be less than {self.low}")
        if value > self.high:
            bound = format_number(self.high) if self.kind in ("bytes", "segments") else self.high
            raise BadValue(f"{self.name.upper()} is {text}; the most is {bound}")
        return value

    def _parse_segment(self, text: str) -> tuple[int, int | None]:
        length, colon, readable = text.partition(":")
        if not length or (colon and not readable):
            raise BadValue(
                f'"{text}" is no segment; write LENGTH or LENGTH:READABLE, as in 8k,4k:0'
            )
        return self._parse_bounded(length), self._parse_bounded(readable) if colon else None


def _parse_file(text: str) -> str:
    if text in (".", "..") or "/" in text:
        raise BadValue(f'"{text}" leaves the root directory of the file system; use a plain name')
    if len(text) > 255:
        raise BadValue(f"a file name has at most 255 characters, this one has {len(text)}")
    if not _FILE.fullmatch(text):
        raise BadValue(f'"{text}" is no file name; use letters, digits and _ . -')
    return text


def _parse_share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadValue(f'"{text}" is no share of the file; write a number from 0 to 1')
    return value


def _kind(name: str, hint: Any) -> str:
    if hint is str:
        return "options" if name == "opts" else "file"
    if hint is float:
        return "share"
    if hint is not int:
        return "segments"
    return "bytes" if name in _BYTES else "flags" if name == "flags" else "count"


def _bounds(word: str, name: str, kind: str) -> tuple[int, int]:
    if kind == "count":
        return 0, 2**31 - 1
    if kind == "flags":
        return 0, 2**32 - 1
    if kind == "segments" or (name in ("len", "fault") and word not in _NO_BUFFER):
        return 0, LARGEST_BUFFER
    signed = word in _SIGNED_OFFSETS and name in ("off", "len", "size")
    return INT64.start if signed else 0, INT64.stop - 1


@functools.cache
def fields_of(cls: type[Op]) -> tuple[Field, ...]:
    """The fields of an operation's class, in its order."""
    hints = get_type_hints(cls)
    found = []
    for info in msgspec.structs.fields(cls):
        kind = _kind(info.name, hints[info.name])
        low, high = _bounds(cls.WORD, info.name, kind)
        optional = info.name == "tag" or not info.required
        found.append(Field(info.name, kind, low, high, info.name in _NAMED, optional))
    return tuple(found)


def usage(cls: type[Op]) -> str:
    """One line: the operation's word and what it takes, in order."""
    return " ".join([cls.WORD, *(field.usage for field in fields_of(cls))])
