"""Where the content of two files parts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.image.digest import PIECE
from harness.image.survey import File
from model.image.content import written
from model.image.filesystem import Filesystem

__all__ = ["first_difference"]


def first_difference(
    one: tuple[Filesystem, File], other: tuple[Filesystem, File]
) -> tuple[int, int | None, int | None] | None:
    """The first byte that differs: (offset, byte in the one, byte in the other).

    A byte is None past the end of a file; the whole is None if nothing differs. The cost
    grows with what is written.
    """
    sizes = (one[1].inode.size, other[1].inode.size)
    first, second = _pieces(*one), _pieces(*other)
    left, right = next(first, None), next(second, None)
    while left or right:
        at = min(piece[0] for piece in (left, right) if piece)
        mine = left[1] if left and left[0] == at else b""
        theirs = right[1] if right and right[0] == at else b""
        if mine != theirs:
            found = _in_piece(at, mine, theirs, sizes)
            if found is not None:
                return found
        if left and left[0] == at:
            left = next(first, None)
        if right and right[0] == at:
            right = next(second, None)
    end = min(sizes)
    if sizes[0] == sizes[1]:
        return None
    return (end, None, 0) if sizes[0] == end else (end, 0, None)


def _in_piece(
    at: int, mine: bytes, theirs: bytes, sizes: tuple[int, int]
) -> tuple[int, int | None, int | None] | None:
    for index in range(min(PIECE, min(sizes) - at)):
        first = mine[index] if index < len(mine) else 0
        second = theirs[index] if index < len(theirs) else 0
        if first != second:
            return at + index, first, second
    return None


def _pieces(fs: Filesystem, file: File) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of each piece that is written."""
    inode = file.inode
    if file.inline is not None:
        chunks = iter([(0, file.inline)])
    else:
        chunks = written(fs.volume, file.mapping, inode.structure)
    for offset, chunk in chunks:
        for at in range(0, min(len(chunk), inode.size - offset), PIECE):
            end = min(at + PIECE, inode.size - offset)
            yield offset + at, chunk[at:end]
