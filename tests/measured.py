"""Calls that were measured on real kernels, kept as text in tests/data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["measured"]


def measured(name: str) -> Iterator[tuple[int, str, list[int]]]:
    """Line number, first word and the numbers behind it of each line; comments start with #."""
    path = Path(__file__).parent / "data" / name
    for number, line in enumerate(path.read_text().splitlines(), 1):
        word, *rest = line.split() or ["#"]
        if word != "#":
            yield number, word, [int(one) for one in rest]
