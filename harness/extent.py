"""Ranges of a file and their states: what traces and canonical images are made of."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

__all__ = ["Extent", "Run", "State", "runs"]


class State(enum.StrEnum):
    """State of a mapped range; what no extent covers is a hole."""

    DELAYED = "delayed"
    UNWRITTEN = "unwritten"
    WRITTEN = "written"
    INLINE = "inline"


class Extent(msgspec.Struct, frozen=True):
    """A range of a file in one state; `physical` is its byte on the device, if it has one."""

    start: int
    length: int
    state: State
    physical: int | None = None


Run = tuple[int, int, State]
"""Start, length (bytes) and state of a range that no neighbour of the same state touches."""


def runs(extents: Iterable[Extent]) -> tuple[Run, ...]:
    """`extents` as maximal runs of one state, in the order of the file."""
    merged: list[Run] = []
    for extent in sorted(extents, key=lambda e: e.start):
        if merged:
            start, length, state = merged[-1]
            if state == extent.state and start + length == extent.start:
                merged[-1] = (start, length + extent.length, state)
                continue
        merged.append((extent.start, extent.length, extent.state))
    return tuple(merged)
