"""Pictures of a file's blocks in text: one character a block, the two subjects' rows one
above the other, and a line that marks where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.picture import Cell, Panel, Picture, Window, cells, differing, groups, windows
from reports.words import paint

__all__ = ["LEGEND", "draw"]

WIDTH = 100
"""Columns that a line has, if the names in it leave enough for the blocks."""
_LEAST = 24
"""Blocks that a picture can always show."""
_ELLIPSIS = " … "
_MARK = "^"
_RED, _BOLD = "31", "1"
_TICK = 10
"""Blocks from one number of the ruler to the next."""

LEGEND = {
    Cell.HOLE: "hole",
    Cell.DELAYED: "delayed",
    Cell.UNWRITTEN: "unwritten",
    Cell.WRITTEN: "written",
    Cell.INLINE: "in the inode",
    Cell.ZERO: "all zero",
    Cell.DATA: "data",
    Cell.OTHER: "other data than above",
    Cell.OPEN: "not known",
}
"""What each character of a drawing means."""
_OF_CONTENT = frozenset({Cell.ZERO, Cell.DATA, Cell.OTHER})
_COLOUR = {
    Cell.DELAYED: "30;43",
    Cell.UNWRITTEN: "97;44",
    Cell.WRITTEN: "30;42",
    Cell.INLINE: "97;45",
    Cell.OTHER: "97;41",
}

Line = tuple[str, str, str, dict[str, str]]
"""Title, name, blocks, numbers by column."""


def draw(picture: Picture, *, colour: bool = False) -> list[str]:
    """The lines of a drawing. Characters that are not ASCII are `·` and `…` alone."""
    lines: list[str] = []
    for panels in groups(picture):
        lines += ["", _headline(picture.file, panels), *_Drawing(panels, colour).lines()]
    return lines


def _headline(file: str, panels: Sequence[Panel]) -> str:
    """What the picture shows, and what its characters mean."""
    present = {cell for panel in panels for row in panel.rows for _, _, cell in row.spans}
    legend = ", ".join(f"{cell} {said}" for cell, said in LEGEND.items() if cell in present)
    bytes_too, blocks_too = _OF_CONTENT & present, present - _OF_CONTENT
    what = " and ".join(["blocks"] * bool(blocks_too) + ["content"] * bool(bytes_too)) or "blocks"
    return f"{what.capitalize()} of {file}, {panels[0].unit} bytes each" + (
        f": {legend}" if legend else ""
    )


class _Drawing:
    """Panels whose cells are of one size, below each other and aligned."""

    def __init__(self, panels: Sequence[Panel], colour: bool) -> None:
        self.panels = panels
        self.colour = colour
        self.columns = list(
            dict.fromkeys(name for panel in panels for row in panel.rows for name in row.numbers)
        )
        self.titles = max(len(panel.title) for panel in panels)
        self.names = max(len(row.name) for panel in panels for row in panel.rows)
        self.widths = {name: max(map(len, self._column(name))) for name in self.columns}
        numbers = sum(width + 2 for width in self.widths.values())
        budget = max(_LEAST, WIDTH - self.titles - self.names - numbers - 6)
        self.windows = windows(panels, budget - len(_ELLIPSIS) * 2)
        end = max(panel.end for panel in panels)
        self.begun = len(_ELLIPSIS) if self.windows[0][0] > 0 else 0
        self.cut = self.windows[-1][1] < end
        self.width = len(self._joined(" " * (stop - first) for first, stop in self.windows))

    def _column(self, name: str) -> Iterable[str]:
        yield name
        for panel in self.panels:
            yield from (row.numbers.get(name, "") for row in panel.rows)

    def lines(self) -> list[str]:
        """Ruler, rows, marks."""
        heads = {name: name for name in self.columns}
        lines = [self._line("", "", " " * self.begun + _ruler(self.windows), heads)]
        for panel in self.panels:
            title = panel.title
            for row in panel.rows:
                blocks = self._joined(self._cells(cells(row, window)) for window in self.windows)
                lines.append(self._line(title, row.name, blocks, row.numbers, self.width))
                title = ""
            lines += self._marks(panel)
        return lines

    def _line(
        self, title: str, name: str, blocks: str, numbers: dict[str, str], width: int | None = None
    ) -> str:
        """One line; `width` is that of `blocks` as they are seen, without colours."""
        fill = " " * max(0, max(self.width, 4) - (len(blocks) if width is None else width))
        cells = "".join(
            f"  {numbers.get(column, '').ljust(self.widths[column])}" for column in self.columns
        )
        start = f"  {title.ljust(self.titles)}  {name.ljust(self.names)}  "
        return f"{start}{blocks}{fill}{cells}".rstrip()

    def _marks(self, panel: Panel) -> list[str]:
        """The line below the rows, none if they are equal; what differs unseen is counted."""
        found = differing(panel)
        shown = self._joined((_marked(found, window) for window in self.windows), "   ")
        odd = panel.odd_numbers
        numbers = {name: _MARK * len(panel.rows[1].numbers[name]) for name in odd}
        unseen = sum(stop - first for first, stop in found) - shown.count(_MARK)
        note = f"   and {unseen} more that differ" if unseen else ""
        if not shown.strip() and not numbers and not note:
            return []
        line = self._line("", "", shown, numbers)
        return [paint(f"{line}{note}", _RED, self.colour)]

    def _joined(self, parts: Iterable[str], ellipsis: str = _ELLIPSIS) -> str:
        """The windows' texts in a line, with a sign where blocks are left out."""
        before = ellipsis if self.begun else ""
        return f"{before}{ellipsis.join(parts)}{ellipsis.rstrip() if self.cut else ''}"

    def _cells(self, shown: Iterable[Cell]) -> str:
        if not self.colour:
            return "".join(shown)
        return "".join(paint(cell, _COLOUR.get(cell, _BOLD), cell in _COLOUR) for cell in shown)


def _marked(found: Iterable[Window], window: Window) -> str:
    """A mark for each cell of `window` that is in one of `found`."""
    marks = [" "] * (window[1] - window[0])
    for first, stop in found:
        begin, end = max(first, window[0]), min(stop, window[1])
        marks[begin - window[0] : end - window[0]] = _MARK * max(0, end - begin)
    return "".join(marks)


def _ruler(shown: Sequence[Window]) -> str:
    """The number of the first block of each window, and of every tenth where there is room."""
    ruler = ""
    at = 0
    for first, stop in shown:
        ticks = [first, *range(first // _TICK * _TICK + _TICK, stop, _TICK)]
        for tick in ticks:
            where = at + tick - first
            if len(ruler) + bool(ruler) <= where or tick == first == 0:
                ruler = ruler.ljust(where) + str(tick)
        at += stop - first + len(_ELLIPSIS)
    return ruler
