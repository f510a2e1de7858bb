"""Tags: which operation wrote a byte."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from workloads.ops import AnyOp

__all__ = ["tagged"]


def tagged(ops: Iterable[AnyOp]) -> tuple[AnyOp, ...]:
    """`ops`, each with the tag that its place gives it, counted from 1; it is then left out
    of the text form."""
    return tuple(
        msgspec.structs.replace(op, tag=number) if hasattr(op, "tag") else op
        for number, op in enumerate(ops, start=1)
    )
