"""The pictures of a mismatch as one SVG: for HTML reports, artifacts and documents.

It stands alone (no script, font or style from elsewhere) and can be put into a page as it
is. States are told by letter and pattern, differences by a frame and a bar, so that nothing
depends on colour; a title and a description say in words what is drawn; it follows the
reader's light or dark scheme. Lengths are in pixels.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

from harness.verdict import Compared
from reports.blockmap import LEGEND
from reports.panels import pictures_of
from reports.picture import (
    Cell,
    Panel,
    Picture,
    Row,
    Window,
    cells,
    differing,
    groups,
    windows,
)
from reports.svg_style import CLASS, PATTERNS, STYLE
from reports.terminal import headline

__all__ = ["picture_svg"]

BUDGET = 40
"""Cells that a row shows at most."""
CELL, HIGH = 18, 20
"""Width and height of a cell."""
GAP = 26
"""Width of what stands for cells that are left out."""
MARGIN = 14
LINE = 18
CHARACTER, HEAD_CHARACTER = 7.3, 8.0
"""Width of a character, and of one in a heading; rather too much than too little."""
HEAD_MOST = 60
"""Characters that a line of a heading has at most, unless what is below it is wider."""
TICK = 10
_RANGES = 4
"""Differing ranges that the description tells one by one."""
_UNPRINTABLE = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def picture_svg(compared: Compared) -> str | None:
    """The pictures of the first diverging step as an SVG document; None if there are none."""
    pictures = pictures_of(compared)
    if not pictures:
        return None
    canvas = _Canvas()
    canvas.down(LINE)
    for picture in pictures:
        for panels in groups(picture):
            _Group(canvas, picture, panels).draw()
    title = headline(compared.verdict)
    return canvas.document(title, "\n".join(_described(picture) for picture in pictures))


# --- the canvas ---------------------------------------------------------------------------


def _text(value: object) -> str:
    return escape(_UNPRINTABLE.sub("?", str(value)))


class _Canvas:
    """Elements and how much room they take; `y` is where the next line goes."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = float(MARGIN)
        self.width = 0.0

    def down(self, height: float) -> None:
        """Leave `height` pixels."""
        self.y += height

    def text(self, x: float, text: str, kind: str = "", y: float | None = None) -> None:
        """Write `text` with its left end at `x`; `kind` is its class."""
        where = self.y if y is None else y
        self.parts.append(
            f'<text x="{x:g}" y="{where:g}"{_class(kind)}>{_text(text)}</text>'
        )  # fmt: skip
        anchored = {"c": 0.5}.get(kind.partition(" ")[0], 1.0)
        character = HEAD_CHARACTER if kind == "head" else CHARACTER
        self.width = max(self.width, x + len(text) * character * anchored)

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """Draw a rectangle of class `kind`."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{_class(kind)}/>'
        )
        self.width = max(self.width, x + width)

    def document(self, title: str, description: str) -> str:
        """All of it, with what it shows in words."""
        width, height = self.width + MARGIN, self.y + MARGIN
        body = "\n".join(self.parts)
        title, words = _text(title), _text(description)
        ident = f"bm-{hashlib.sha256(f'{title}{words}{body}'.encode()).hexdigest()[:8]}"
        body = body.replace(f"{CLASS}-ID", ident)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{CLASS}" role="img"'
            f' viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
            f' aria-labelledby="{ident}-title {ident}-desc">\n'
            f'<title id="{ident}-title">{title}</title>\n'
            f'<desc id="{ident}-desc">{words}</desc>\n'
            f"<style>{STYLE}</style>\n<defs>{PATTERNS.format(ident=ident)}</defs>\n"
            f'<rect width="100%" height="100%" rx="6" class="paper"/>\n{body}\n</svg>\n'
        )


def _class(kind: str) -> str:
    return f" class={quoteattr(kind)}" if kind else ""


# --- panels -------------------------------------------------------------------------------


class _Group:
    """Panels with cells of one size, below each other and aligned."""

    def __init__(self, canvas: _Canvas, picture: Picture, panels: Sequence[Panel]) -> None:
        self.canvas = canvas
        unit = f"a cell is {panels[0].unit} bytes"
        self.heading = f"{picture.file}, {picture.step} ({unit})"
        self.panels = panels
        self.windows = windows(panels, BUDGET)
        rows = [row for panel in panels for row in panel.rows]
        self.left = MARGIN + 12 + max(len(row.name) for row in rows) * CHARACTER
        end = max(panel.end for panel in panels)
        self.begun = self.windows[0][0] > 0
        self.cut = self.windows[-1][1] < end
        self.columns = self._columns(rows)

    def _heading(self) -> list[str]:
        """The heading, in lines that are hardly wider than what is below them."""
        ends = [
            x + HEAD_CHARACTER * max(len(row.numbers.get(name, "")) for row in self.panels[0].rows)
            for name, x in self.columns.items()
        ]
        fitting = int((max(ends, default=0.0) - MARGIN) / HEAD_CHARACTER)
        return textwrap.wrap(self.heading, max(fitting, HEAD_MOST))

    def _columns(self, rows: Sequence[Row]) -> dict[str, float]:
        """Where the columns of numbers begin."""
        shown = sum(stop - first for first, stop in self.windows)
        gaps = len(self.windows) - 1 + self.begun + self.cut
        x = self.left + max(shown * CELL + gaps * GAP, 4 * CELL) + 16
        columns = {}
        for name in dict.fromkeys(name for row in rows for name in row.numbers):
            columns[name] = x
            longest = max([len(name), *(len(row.numbers.get(name, "")) for row in rows)])
            x += longest * CHARACTER + 14
        return columns

    def _starts(self) -> Iterable[tuple[float, Window]]:
        """Each window with the place of its first cell."""
        x = self.left + (GAP if self.begun else 0)
        for window in self.windows:
            yield x, window
            x += (window[1] - window[0]) * CELL + GAP

    def draw(self) -> None:
        """Heading, ruler, panels, legend."""
        for line in self._heading():
            self.canvas.text(MARGIN, line, "head")
            self.canvas.down(LINE)
        for panel in self.panels:
            self.canvas.down(14)
            self._top(panel)
            for row in panel.rows:
                odd = panel.odd_numbers if row is panel.rows[1] else frozenset()
                self._row(row, differing(panel) if row is panel.rows[1] else [], odd)
            self._bars(differing(panel))
        self._legend()

    def _top(self, panel: Panel) -> None:
        """The title of a panel, below it the ruler and the names of the numbers."""
        self.canvas.text(MARGIN, panel.title, "title")
        self.canvas.down(LINE - 2)
        free = 0.0
        for x, (first, stop) in self._starts():
            for tick in [first, *range(first // TICK * TICK + TICK, stop, TICK)]:
                at = x + (tick - first) * CELL
                if at >= free:
                    self.canvas.text(at, str(tick), "small")
                    free = at + (len(str(tick)) + 1) * CHARACTER
        for name, x in self.columns.items():
            if any(name in row.numbers for row in panel.rows):
                self.canvas.text(x, name, "small")
        self.canvas.down(5)

    def _row(self, row: Row, odd: Sequence[Window], numbers: frozenset[str]) -> None:
        y, base = self.canvas.y, self.canvas.y + HIGH - 6
        self.canvas.text(MARGIN, row.name, "", base)
        for x, window in self._starts():
            for index, cell in enumerate(cells(row, window)):
                self._cell(x + index * CELL, y, cell)
            for first, stop in _within(odd, window):
                at = x + (first - window[0]) * CELL
                for kind in ("around", "odd"):  # so it stands out from cells of any colour
                    self.canvas.box(at, y, (stop - first) * CELL - 2, HIGH - 2, kind)
        self._ellipses(base)
        for name, x in self.columns.items():
            kind = "number differs" if name in numbers else "number"
            self.canvas.text(x, row.numbers.get(name, ""), kind, base)
        self.canvas.down(HIGH + 2)

    def _cell(self, x: float, y: float, cell: Cell) -> None:
        if cell is Cell.PAST:
            return
        name = cell.name.lower()
        self.canvas.box(x, y, CELL - 2, HIGH - 2, f"cell {name}")
        if cell in (Cell.DELAYED, Cell.UNWRITTEN):
            self.canvas.parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{CELL - 2}" height="{HIGH - 2}"'
                f' fill="url(#{CLASS}-ID-{name})"/>'
            )
        self.canvas.text(x + CELL / 2 - 1, cell.value, f"c {name}", y + HIGH - 6)

    def _ellipses(self, y: float) -> None:
        """A sign for the cells that are left out."""
        starts = list(self._starts())
        places = [x - GAP / 2 - 1 for x, _ in starts][0 if self.begun else 1 :]
        if self.cut:
            x, (first, stop) = starts[-1]
            places.append(x + (stop - first) * CELL + GAP / 2 - 1)
        for x in places:
            self.canvas.text(x, "⋯", "c small", y)

    def _bars(self, found: Sequence[Window]) -> None:
        """A bar below each range that differs, with the number of blocks that are not shown."""
        shown = 0
        for x, window in self._starts():
            for first, stop in _within(found, window):
                shown += stop - first
                at = x + (first - window[0]) * CELL
                width = (stop - first) * CELL - 2
                self.canvas.box(at, self.canvas.y, width, 3, "bar")
                self.canvas.text(at + width / 2, "▲", "c mark", self.canvas.y + 12)
        unseen = sum(stop - first for first, stop in found) - shown
        if unseen:
            self.canvas.text(
                self.left, f"and {unseen} more that differ", "mark", self.canvas.y + 26
            )
            self.canvas.down(LINE)
        self.canvas.down(LINE if found else 4)

    def _legend(self) -> None:
        present = {cell for panel in self.panels for row in panel.rows for *_, cell in row.spans}
        x = float(MARGIN)
        self.canvas.down(LINE)
        for cell, said in LEGEND.items():
            if cell in present:
                self._cell(x, self.canvas.y - HIGH + 6, cell)
                self.canvas.text(x + CELL + 4, said, "small")
                x += CELL + 4 + (len(said) + 2) * CHARACTER
        self.canvas.down(LINE + 6)


def _within(found: Iterable[Window], window: Window) -> Iterable[Window]:
    """The parts of `found` that are in `window`."""
    for first, stop in found:
        begin, end = max(first, window[0]), min(stop, window[1])
        if begin < end:
            yield begin, end


# --- in words -----------------------------------------------------------------------------


def _described(picture: Picture) -> str:
    return " ".join(_panel_in_words(picture.file, panel) for panel in picture.panels)


def _panel_in_words(file: str, panel: Panel) -> str:
    """What a panel shows of the differences."""
    found = differing(panel)
    said = [_range_in_words(panel, each) for each in found[:_RANGES]]
    if len(found) > _RANGES:
        said.append(f"and {len(found) - _RANGES} more ranges")
    expected, actual = panel.rows
    for name in expected.numbers:
        if name in panel.odd_numbers:
            values = (f"{row.name} {row.numbers[name]}" for row in panel.rows)
            said.append(f"{name}: {', '.join(values)}")
    same = f"{expected.name} and {actual.name} show the same"
    return f"{file}, {panel.title}: {'; '.join(said) or same}."


def _range_in_words(panel: Panel, found: Window) -> str:
    first, stop = found
    states = [
        " and ".join(
            dict.fromkeys(
                LEGEND.get(cell, "nothing") for cell in cells(row, (first, min(stop, first + 64)))
            )
        )
        for row in panel.rows
    ]
    where = f"cell {first}" if stop == first + 1 else f"cells {first} to {stop - 1}"
    both = ", ".join(f"{row.name} {state}" for row, state in zip(panel.rows, states, strict=True))
    return f"{where}: {both}"
