"""Ranges of a file and their states: what traces and canonical images are made of."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Extent", "State"]


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
