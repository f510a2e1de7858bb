"""Where two canonical forms part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harness.image.form import Canonical, Entry

__all__ = ["WHOLE", "Difference", "differences"]

WHOLE = "(file system)"
"""The path of what belongs to no file."""


class Difference(msgspec.Struct, frozen=True):
    """One field in which two images differ; None where one of them has no such thing."""

    path: str
    field: str
    first: Any
    second: Any


def differences(first: Canonical, second: Canonical) -> list[Difference]:
    """Every field in which two images differ; empty if they are equal."""
    found = list(_fields(WHOLE, first.whole, second.whole))
    for path in sorted(first.files.keys() | second.files.keys()):
        one, other = first.files.get(path), second.files.get(path)
        if one is None or other is None:
            found.append(Difference(path, "exists", _kind(one), _kind(other)))
        else:
            found += _fields(path, one, other)
    return found


def _kind(entry: Entry | None) -> str | None:
    return None if entry is None else entry.type


def _fields(path: str, one: msgspec.Struct, other: msgspec.Struct) -> Iterator[Difference]:
    for field in one.__struct_fields__:
        first, second = getattr(one, field), getattr(other, field)
        if first == second:
            continue
        if isinstance(first, dict):  # one line an attribute
            for name in sorted(first.keys() | second.keys()):
                if first.get(name) != second.get(name):
                    key = f"{field}.{name}"
                    yield Difference(path, key, first.get(name), second.get(name))
        else:
            yield Difference(path, field, first, second)
