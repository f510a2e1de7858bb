"""What a verdict has to show in pictures: each file that differs, before and after the step.

The expecting subject's row is above the actual one's. At the end there is more to see than
the blocks: the extents that the image holds, and which bytes of the content differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.extent import runs
from harness.trace import Content, FileObservation, Observation, Trace
from harness.verdict import Compared, Mismatch, Place, Verdict
from reports.picture import Cell, Numbers, Panel, Picture, Row, Span, spans_of_runs
from reports.words import place_text
from workloads.ops import Op

__all__ = ["PIECE", "pictures_of", "short_names"]

PIECE = 4096
"""Bytes of content that one checksum covers, and so one cell."""
_MOST = 3
"""Files that are drawn at most."""
_USUAL = ("size", "st_blocks", "reserved")
_FIELDS = {
    "size": "size",
    "i_disksize": "disksize",
    "st_blocks": "blocks",
    "i_blocks": "disk_blocks",
    "reserved": "reserved",
}
"""Numbers beside a row, and the field of an observation that each is."""
_BOUNDS = {"st_blocks": "blocks_range", "i_blocks": "disk_blocks_range"}
_COUNTERS = {"delayed": "delalloc", "free": "bfree"}
"""Numbers of the whole file system."""


def pictures_of(compared: Compared) -> tuple[Picture, ...]:
    """A picture of each file of the first diverging step, of the first three at most.

    Without traces, or where they say nothing of a file, there is none.
    """
    verdict = compared.verdict
    if not verdict.mismatches or compared.expected is None or compared.actual is None:
        return ()
    place = verdict.mismatches[0].place
    found = []
    for file in _files(verdict.headline, _op_at(compared, place)):
        panels = [*_moments(compared, place, file), *_at_the_end(compared, place, file)]
        if panels:
            found.append(Picture(file, _step_text(verdict), tuple(panels)))
    return tuple(found[:_MOST])


def short_names(subjects: tuple[str, str]) -> tuple[str, str]:
    """The subjects as rows name them: a kernel without its release."""
    expected, actual = (name.partition(" ")[0] for name in subjects)
    return (expected, actual) if expected != actual else subjects


def _step_text(verdict: Verdict) -> str:
    first = verdict.mismatches[0]
    place = place_text(first.place, len(verdict.workload.ops))
    return f"{place}: {first.op}" if first.op else place


def _op_at(compared: Compared, place: Place) -> Op | None:
    ops = compared.verdict.workload.ops
    return ops[place] if isinstance(place, int) and place < len(ops) else None


def _files(headline: Iterable[Mismatch], op: Op | None) -> list[str]:
    """The files that differ; those of the operation, if what differs is no file's."""
    named = dict.fromkeys(m.file.lstrip("/") for m in headline if m.file)
    of_op = (getattr(op, name, None) for name in ("to", "file"))
    return list(named) or [file for file in of_op if isinstance(file, str)]


# --- blocks -------------------------------------------------------------------------------


def _moments(compared: Compared, place: Place, file: str) -> list[Panel]:
    """The file's blocks before and after the step."""
    steps = len(compared.verdict.workload.ops)
    if place == "final":
        moments: list[tuple[Place, str]] = [
            (steps - 1, "after the last step"),
            (place, "after umount and mount"),
        ]
    elif place == "start":
        moments = [(place, "at the start")]
    else:
        before: Place = place - 1 if place else "start"
        moments = [(before, f"before step {place + 1}"), (place, f"after step {place + 1}")]
    shown = [p for p in (_blocks(compared, at, file, title) for at, title in moments) if p]
    return _without_dull(shown)


def _blocks(compared: Compared, place: Place, file: str, title: str) -> Panel | None:
    unit = compared.verdict.workload.config.image.block_size
    traces = (compared.expected, compared.actual)
    if any(_unobserved(trace, place) for trace in traces):
        return None
    found = [_seen(trace, place) for trace in traces]
    files = [seen.files.get(file) if seen is not None else None for seen in found]
    if all(one is None or one.extents is None for one in files):
        return None
    end = max(_end(one) for one in files)
    names = short_names(compared.verdict.subjects)
    first, second = (
        Row(name, _spans(one, unit, end), {**_numbers(one), **_counters(seen)})
        for name, one, seen in zip(names, files, found, strict=True)
    )
    return Panel(title, unit, (first, second))


def _unobserved(trace: Trace | None, place: Place) -> bool:
    """Whether the subject did not look at all at `place` (`harness.trace.Observe`)."""
    steps = trace.steps if trace is not None else ()
    return isinstance(place, int) and 0 <= place < len(steps) and not steps[place].observed


def _seen(trace: Trace | None, place: Place) -> Observation | None:
    """What the subject saw at `place`, None if it did not get there or could not look."""
    seen: Observation | None = None
    if trace is None:
        return None
    if isinstance(place, int):
        seen = trace.steps[place].observation if 0 <= place < len(trace.steps) else None
    elif place == "start":
        seen = trace.start
    elif trace.final is not None:
        seen = trace.final.observation
    return None if seen is None or seen.error else seen


def _end(file: FileObservation | None) -> int:
    if file is None:
        return 0
    return max([file.size or 0, *(extent.start + extent.length for extent in file.extents or ())])


def _spans(file: FileObservation | None, unit: int, end: int) -> tuple[Span, ...]:
    if file is None:
        return ()
    if file.extents is None:
        return ((0, -(-end // unit), Cell.OPEN),) if end else ()
    return spans_of_runs(runs(file.extents), file.size, unit)


def _numbers(file: FileObservation | None) -> Numbers:
    if file is None:
        return dict.fromkeys(_FIELDS, "-")
    return {name: _number(file, name, field) for name, field in _FIELDS.items()}


def _number(file: FileObservation, name: str, field: str) -> str:
    value = getattr(file, field)
    if value is not None:
        return str(value)
    bounds = getattr(file, _BOUNDS[name]) if name in _BOUNDS else None
    return f"{bounds[0]}-{bounds[1]}" if bounds is not None else "?"


def _counters(seen: Observation | None) -> Numbers:
    values = {
        name: None if seen is None else getattr(seen, field) for name, field in _COUNTERS.items()
    }
    return {name: "?" if value is None else str(value) for name, value in values.items()}


def _without_dull(panels: list[Panel]) -> list[Panel]:
    """`panels` with the usual columns, and those others in which two rows somewhere differ."""
    odd = frozenset[str]().union(*(panel.odd_numbers for panel in panels))

    def reduced(row: Row) -> Row:
        kept = {name: n for name, n in row.numbers.items() if name in _USUAL or name in odd}
        return Row(row.name, row.spans, kept)

    return [
        Panel(panel.title, panel.unit, (reduced(panel.rows[0]), reduced(panel.rows[1])))
        for panel in panels
    ]


# --- the end ------------------------------------------------------------------------------


def _at_the_end(compared: Compared, place: Place, file: str) -> list[Panel]:
    """What the image holds of the file and what its content is, where they differ."""
    if place != "final":
        return []
    headline = compared.verdict.headline
    differ = {m.field.partition(",")[0] for m in headline if m.file and m.file.lstrip("/") == file}
    titles: dict[str, tuple[str, Callable[[Trace], Mapping[str, Content] | None]]] = {
        "dropped": (
            "content after sync and drop_caches", lambda t: t.final.dropped if t.final else None
        ),
        "content": (
            "content after umount and mount", lambda t: t.final.content if t.final else None
        ),
    }  # fmt: skip
    found = [_image(compared, file)] if any(f.startswith("image ") for f in differ) else []
    for name, (title, get) in titles.items():
        if any(field.partition(" ")[0] == name for field in differ):
            found.append(_content(compared, file, title, get))
    return [panel for panel in found if panel is not None]


def _image(compared: Compared, file: str) -> Panel | None:
    """The extents that the two images hold."""
    unit = compared.verdict.workload.config.image.block_size
    rows = []
    for name, trace in zip(short_names(compared.verdict.subjects), _traces(compared), strict=True):
        form = trace.final.form if trace.final is not None else None
        entry = form.files.get(f"/{file}") if form is not None else None
        if entry is None:
            return None
        numbers = {"size": str(entry.size), "i_blocks": str(entry.blocks)}
        rows.append(Row(name, spans_of_runs(runs(entry.extents), entry.size, unit), numbers))
    return Panel("on disk, in the image", unit, (rows[0], rows[1]))


def _traces(compared: Compared) -> tuple[Trace, ...]:
    return tuple(trace for trace in (compared.expected, compared.actual) if trace is not None)


def _content(
    compared: Compared,
    file: str,
    title: str,
    get: Callable[[Trace], Mapping[str, Content] | None],
) -> Panel | None:
    """Which 4096-byte pieces of the content differ."""
    found = [(get(trace) or {}).get(file) for trace in _traces(compared)]
    expected, actual = found
    if expected is None or actual is None or expected.blocks is None or actual.blocks is None:
        return None
    names = short_names(compared.verdict.subjects)
    return Panel(
        title,
        PIECE,
        (
            Row(names[0], _pieces(expected, expected), {"size": str(expected.size)}),
            Row(names[1], _pieces(actual, expected), {"size": str(actual.size)}),
        ),
    )


def _pieces(content: Content, beside: Content) -> tuple[Span, ...]:
    """The pieces of `content`; one that is not zero is `OTHER` if `beside` has other bytes."""
    blocks, others = content.blocks or {}, beside.blocks or {}
    end = -(-content.size // PIECE)
    cells = {
        piece: Cell.DATA if piece not in others or others[piece] == crc else Cell.OTHER
        for piece, crc in blocks.items()
    }
    for start, length in (*content.undefined, *beside.undefined):
        last = -(-(start + length) // PIECE) if length else 0
        cells |= dict.fromkeys(range(start // PIECE, min(last, end)), Cell.OPEN)
    spans: list[Span] = []
    at = 0
    for piece in sorted(cells):
        spans += [(at, piece, Cell.ZERO)] if piece > at else []
        spans.append((piece, piece + 1, cells[piece]))
        at = piece + 1
    return (*spans, *([(at, end, Cell.ZERO)] if end > at else []))
