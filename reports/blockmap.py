"""Pictures of a file's blocks: one character a block, by its state."""

from __future__ import annotations

from collections.abc import Sequence

from harness.trace import FileObservation, State

__all__ = ["CHARACTERS", "LEGEND", "Picture", "block_map", "compare_maps"]

HOLE = "·"
CHARACTERS: dict[State, str] = {
    State.DELAYED: "d",
    State.UNWRITTEN: "u",
    State.WRITTEN: "W",
    State.INLINE: "i",
}
LEGEND = f"{HOLE} hole, d delayed, u unwritten, W written, i inline"
WIDTH = 64
"""Blocks that a picture shows at most."""
BEFORE = 8
"""Blocks that it shows before the first difference, if it can't show all."""


class Picture:
    """Two maps, one above the other, and a line that marks where they differ.

    `first` is the first block shown, `more` how many after the last shown.
    """

    def __init__(self, expected: str, actual: str) -> None:
        length = max(len(expected), len(actual))
        expected, actual = expected.ljust(length, HOLE), actual.ljust(length, HOLE)
        marks = "".join(
            " " if one == other else "^" for one, other in zip(expected, actual, strict=True)
        )
        parting = marks.find("^")
        self.first = max(0, parting - BEFORE) if length > WIDTH else 0
        shown = slice(self.first, self.first + WIDTH)
        self.expected, self.actual = expected[shown], actual[shown]
        self.marks = marks[shown].rstrip()
        self.more = max(0, length - self.first - WIDTH)


def block_map(file: FileObservation | None, block_size: int) -> str | None:
    """The file's blocks up to its end or its last extent; None if they are not known.

    A block that extents of two states share (none should be) shows the later one.
    """
    if file is None or file.extents is None:
        return None
    end = max([file.size or 0, *(extent.start + extent.length for extent in file.extents)])
    blocks = [HOLE] * min(-(-end // block_size), _LIMIT)
    for extent in file.extents:
        start = extent.start // block_size
        stop = min(-(-(extent.start + extent.length) // block_size), len(blocks))
        blocks[start:stop] = CHARACTERS[extent.state] * max(0, stop - start)
    return "".join(blocks)


_LIMIT = 1 << 20  # blocks; a sparse file of terabytes would not fit in memory


def compare_maps(files: Sequence[FileObservation | None], block_size: int) -> Picture | None:
    """The picture of two observations of one file; None if either side's map is not known."""
    expected, actual = (block_map(file, block_size) for file in files)
    return None if expected is None or actual is None else Picture(expected, actual)
