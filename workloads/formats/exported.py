"""What an exporter gives, and what it may know of the workload beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from workloads.ops import AnyOp
from workloads.program import Program
from workloads.syntax import format_op

__all__ = [
    "After",
    "Expected",
    "Exported",
    "FinalFile",
    "Foretell",
    "Kept",
    "LeftOut",
    "reduced",
    "said_of",
]


class LeftOut(msgspec.Struct, frozen=True):
    """Operation `index` (from 0) has no place in the text: `op` is its line, `why` the reason."""

    index: int
    op: str
    why: str

    @staticmethod
    def of(index: int, op: AnyOp, why: str) -> LeftOut:
        """Operation `op`, left out because of `why`."""
        return LeftOut(index, format_op(op, index), why)

    def __str__(self) -> str:
        return f"{self.index + 1} {self.op}: {self.why}"


class Exported(msgspec.Struct, frozen=True):
    """The texts, by the suffix of the file that each belongs into, and what they leave out."""

    files: dict[str, str]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every operation is in the text."""
        return not self.left_out


def said_of(left_out: Sequence[LeftOut], total: int) -> list[str]:
    """Head lines: how many operations are missing, which and why."""
    if not left_out:
        return [f"all {total} operations are here"]
    reasons = Counter(item.why for item in left_out)
    counts = "; ".join(f"{count} {why}" for why, count in reasons.most_common())
    return [
        f"left out: {len(left_out)} of {total} operations: {counts}",
        *(f"  {item.index + 1} {item.op}" for item in left_out),
    ]


class NotForetoldError(Exception):
    """What a workload shows can't be known beforehand; the message says why."""


class After(msgspec.Struct, frozen=True):
    """What is expected after an operation: its `result`, and each file's size in bytes."""

    result: int | str | list[list[int]]
    sizes: dict[str, int]


class FinalFile(msgspec.Struct, frozen=True):
    """A file after the last sync: its size in bytes, between which numbers of 512-byte
    sectors its st_blocks is (both included), and `(start, length, unwritten)` of each extent
    in bytes. What can't be known beforehand is None."""

    size: int
    blocks: tuple[int, int] | None
    extents: tuple[tuple[int, int, bool], ...] | None


class Expected(msgspec.Struct, frozen=True):
    """What a workload is expected to show: the steps, and the files that it leaves.

    The sizes of files decide what some formats can express, and golden outputs need the
    rest. It comes from the model (which this package does not know).
    """

    steps: tuple[After, ...]
    final: dict[str, FinalFile]


Foretell = Callable[[tuple[AnyOp, ...]], Expected]
"""What is expected of operations, on the configuration that an export is made for."""

Kept = list[tuple[int, AnyOp]]
"""Operations that a text has, with their place in the workload (from 0)."""


def reduced(
    program: Program, foretell: Foretell, judge: Callable[[Kept, Expected], list[LeftOut]]
) -> tuple[Kept, Expected, list[LeftOut]]:
    """What of `program` a format can have, what is expected of just that, and the rest.

    `judge` names the operations that have no place; without them others may fail or
    succeed, so what is left is foretold and judged again until it stays.
    """
    kept: Kept = list(enumerate(program.ops))
    left_out: list[LeftOut] = []
    while True:
        expected = foretell(tuple(op for _, op in kept)) if kept else Expected((), {})
        found = judge(kept, expected)
        if not found:
            return kept, expected, sorted(left_out, key=lambda item: item.index)
        left_out += found
        gone = {item.index for item in found}
        kept = [(index, op) for index, op in kept if index not in gone]
