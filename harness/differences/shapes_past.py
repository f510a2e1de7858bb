"""What an intended difference must have come from: shapes that look back over the steps before (see
`harness.differences.shapes`).

A rule of the model says that something was done, not to which file or block. These ask the
traces: where EOF was and edges of ranges were, how the blocks stood, how much space there was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from harness.differences.moment import Moment
from harness.differences.shapes_extents import came_to_differ, differing
from harness.extent import Run, runs
from harness.trace import FileObservation, Observation, Result, State, Trace
from workloads.ops import (
    Collapse,
    DioWrite,
    Insert,
    Op,
    Punch,
    Read,
    Rename,
    Zero,
    ZeroKeep,
)  # fmt: skip

__all__ = [
    "behind_eof",
    "beside_a_page_zeroed_in_part",
    "blocks_zeroed_in_part",
    "observed_after",
    "pages_zeroed_in_part",
    "refused_over_other_blocks",
]  # fmt: skip

PAGE = 4096
Pieces = list[tuple[int, int]]
"""From byte to byte."""
Files = tuple[FileObservation | None, FileObservation | None]


class _Past(msgspec.Struct, frozen=True):
    """A step that is over: what it did, with which results, and how the file was before and
    after it, on both sides."""

    op: Op
    results: tuple[Result, Result]
    before: Files
    after: Files


def _past(moment: Moment) -> list[_Past]:
    """The steps up to the moment, by whatever name its file had then."""
    name, ops = _name(moment), moment.traces[0].workload.ops
    found = []
    for index in range(_last(moment), -1, -1):
        op = ops[index]
        after = name
        if isinstance(op, Rename) and op.to == name:
            name = op.file
        one, other = (trace.steps[index].result for trace in moment.traces)
        seen = _files(moment, index - 1, name), _files(moment, index, after)
        found.append(_Past(op, (one, other), *seen))
    return found[::-1]


def _name(moment: Moment) -> str:
    """The file that the moment is about, or else its operation."""
    return str(moment.file or getattr(moment.op, "file", "")).lstrip("/")


def _last(moment: Moment) -> int:
    """The last step up to the moment."""
    last = len(moment.traces[0].workload.ops) - 1
    return min(moment.place, last) if isinstance(moment.place, int) else last


def _files(moment: Moment, index: int, name: str) -> Files:
    one, other = (observed_after(trace, index).files.get(name) for trace in moment.traces)
    return one, other


def observed_after(trace: Trace, index: int) -> Observation:
    """What was seen after step `index`, -1 for the start."""
    return trace.steps[index].observation if index >= 0 else trace.start


# --- zeroing of a part of a block ---------------------------------------------------------


def blocks_zeroed_in_part(moment: Moment) -> bool:
    """Extents differ in blocks only of which a part may have been zeroed before: EOF was in them,
    or the edge of a punched or zeroed range."""
    size = moment.config.image.block_size
    zeroed = {edge // size for edge in _edges(moment)}
    pieces = differing(*_runs_of(moment))
    return all(zeroed.issuperset(range(start // size, -(-end // size))) for start, end, _ in pieces)


def pages_zeroed_in_part(moment: Moment) -> bool:
    """What only one side takes for data are unwritten blocks in pages with such an edge."""
    pages = {edge // PAGE for edge in _edges(moment)}
    return _unwritten_only(moment) and all(
        pages.issuperset(range(start // PAGE, -(-end // PAGE)))
        for start, end in _data_of_one(moment)
    )


def beside_a_page_zeroed_in_part(moment: Moment) -> bool:
    """The file's blocks came to differ in this step, and where they do, from the first to the last
    and in the pages next to these, there is a page with such an edge."""
    places = came_to_differ(moment)
    if not places:
        return False
    pages = range(places[0][0] // PAGE - 1, -(-places[-1][1] // PAGE) + 1)
    return any(edge // PAGE in pages for edge in _edges(moment))


def behind_eof(moment: Moment) -> bool:
    """What only one side takes for data are unwritten blocks that once were behind EOF, in its
    page."""
    size = moment.config.image.block_size
    behind = {
        block
        for eof in _sizes(moment)
        for block in range(-(-eof // size), -(-eof // PAGE) * PAGE // size)
    }
    return _unwritten_only(moment) and all(
        behind.issuperset(range(start // size, -(-end // size)))
        for start, end in _data_of_one(moment)
    )


def _edges(moment: Moment) -> set[int]:
    """Bytes inside of blocks at which zeroing may have begun or ended, as they are counted now."""
    edges = set[int]()
    for step in _past(moment):
        edges |= _sizes_in(step.before)
        if isinstance(step.op, Punch | Zero | ZeroKeep):
            edges |= {step.op.off, step.op.off + step.op.len}
        edges = _shifted(edges, step)
        edges |= _sizes_in(step.after)
    return {edge for edge in edges if edge % moment.config.image.block_size}


def _sizes(moment: Moment) -> set[int]:
    """Where EOF has been, in bytes as they are counted now."""
    sizes = set[int]()
    for step in _past(moment):
        sizes = _shifted(sizes | _sizes_in(step.before), step) | _sizes_in(step.after)
    return sizes


def _sizes_in(files: Files) -> set[int]:
    return {file.size for file in files if file is not None and file.size is not None}


def _shifted(places: set[int], step: _Past) -> set[int]:
    """`places` after the step has moved what is behind its range."""
    op = step.op
    if not isinstance(op, Collapse | Insert) or 0 not in step.results:
        return places
    delta = op.len if isinstance(op, Insert) else -op.len
    first = op.off if isinstance(op, Insert) else op.off + op.len
    return {place + delta if place >= first else place for place in places}


def _data_of_one(moment: Moment) -> Pieces:
    """What only one of two answers of lseek(2) has."""
    sides = [
        tuple((start, end - start, State.WRITTEN) for start, end in value)
        for value in moment.values
        if isinstance(value, list)
    ]
    return [(start, end) for start, end, _ in differing(*sides)] if len(sides) == 2 else []


def _unwritten_only(moment: Moment) -> bool:
    """Blocks of which one side only knows data are unwritten on both: of these lseek(2) asks the
    page cache."""
    files = _files(moment, _last(moment), _name(moment))
    mapped = [runs(one.extents or ()) if one is not None else () for one in files]
    return all(
        _is_unwritten(side, start, end) for start, end in _data_of_one(moment) for side in mapped
    )


def _is_unwritten(found: tuple[Run, ...], start: int, end: int) -> bool:
    return any(
        low <= start and end <= low + length and state is State.UNWRITTEN
        for low, length, state in found
    )


def _runs_of(moment: Moment) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    first, second = moment.values
    assert isinstance(first, tuple) and isinstance(second, tuple), "extents"
    return first, second


# --- direct writes that are refused ---------------------------------------------------------


def refused_over_other_blocks(moment: Moment) -> bool:
    """A direct write to this file was refused on both sides, and of the blocks that it came to
    some were written on one side only, or were before its last mapping on one side only; what is
    read has some of these."""
    start, end = _bytes_read(moment)
    return any(low < end and start < high for low, high in _reached_on_one(moment))


def _reached_on_one(moment: Moment) -> Iterator[tuple[int, int]]:
    """The pieces of refused direct writes that are in written blocks of one side only, or that
    only one side had done before the mapping with the odd end, as they are counted now."""
    found = set[tuple[int, int]]()
    for step in _past(moment):
        found = {
            (start, end)
            for piece in found
            for start, end in [sorted(_shifted({*piece}, step))]
        }  # fmt: skip
        if isinstance(step.op, DioWrite) and step.results == ("EINVAL", "EINVAL"):
            one, other = (runs(file.extents or ()) if file else () for file in step.after)
            low, high = step.op.off, step.op.off + step.op.len
            for start, end, states in differing(one, other):
                if State.WRITTEN in states and start < high and low < end:
                    found.add((max(start, low), min(end, high)))
            lasts = sorted(max(low, _mapping(file, high - 1)) for file in step.after)
            if lasts[0] < lasts[1]:
                found.add((lasts[0], lasts[1]))
    yield from found


def _mapping(file: FileObservation | None, byte: int) -> int:
    """Where the mapping begins that has `byte`: extents of one state that lie one behind the other
    on the device. `byte` itself in a hole."""
    begin, behind = byte, (-1, -1, State.WRITTEN)
    found = [] if file is None else file.extents or ()
    for extent in sorted(found, key=lambda extent: extent.start, reverse=True):
        end, there = extent.start + extent.length, extent.physical or 0
        if extent.start <= byte < end or (end, there + extent.length, extent.state) == behind:
            begin, behind = extent.start, (extent.start, there, extent.state)
    return begin


def _bytes_read(moment: Moment) -> tuple[int, int]:
    """Which bytes the field is about: those of a read(2), of a checksum, or all."""
    if isinstance(moment.op, Read):
        return moment.op.off, moment.op.off + moment.op.len
    block = re.search(r"4096-byte block (\d+)", moment.field)
    return (int(block[1]) * PAGE, (int(block[1]) + 1) * PAGE) if block else (0, 1 << 63)
