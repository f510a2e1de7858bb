"""Compare what is in files: by checksums, without the bytes that a subject leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.comparison.findings import Findings
from harness.trace import Content

__all__ = ["compare_contents"]

PIECE = 4096
"""Bytes that one checksum of `Content.blocks` covers."""


def compare_contents(
    found: Findings,
    field: str,
    expected: dict[str, Content] | None,
    actual: dict[str, Content] | None,
) -> None:
    """The content of every file, by size and checksums; `field` says when it was read."""
    if expected is None or actual is None:
        found.skip(None, field, expected is None, actual is None)
        return
    for file in found.in_both(f"{field} exists", expected, actual):
        _content(found, file, field, expected[file], actual[file])


def _content(found: Findings, file: str, field: str, expected: Content, actual: Content) -> None:
    found.equal(file, f"{field} size", expected.size, actual.size)
    undefined = _pieces(expected.undefined) | _pieces(actual.undefined)
    if undefined:
        found.not_compared[f"{field} block", "its bytes are undefined"] += len(undefined)
    if expected.blocks is not None and actual.blocks is not None:
        found.compared += 1
        piece = _first_difference(expected.blocks, actual.blocks, undefined)
        if piece is not None:
            found.differ(
                file,
                f"{field}, 4096-byte block {piece} (byte {piece * PIECE})",
                _checksum(expected.blocks.get(piece)),
                _checksum(actual.blocks.get(piece)),
            )
            return
    elif undefined:
        found.not_compared[field, "undefined in part, and no checksums of its blocks"] += 1
    if not undefined:
        found.equal(file, f"{field} sha256", expected.sha256, actual.sha256)


def _pieces(ranges: Iterable[tuple[int, int]]) -> set[int]:
    """Indexes of the 4096-byte pieces that the byte ranges touch."""
    return {
        piece
        for start, length in ranges
        if length
        for piece in range(start // PIECE, (start + length - 1) // PIECE + 1)
    }


def _first_difference(
    expected: Mapping[int, int], actual: Mapping[int, int], undefined: set[int]
) -> int | None:
    """The first piece whose checksums differ; a piece without one is all zero."""
    for piece in sorted(expected.keys() | actual.keys()):
        if piece not in undefined and expected.get(piece) != actual.get(piece):
            return piece
    return None


def _checksum(value: int | None) -> str:
    return "all zero" if value is None else f"crc32 {value:08x}"
