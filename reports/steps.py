"""A table of every step: what it returned, what was seen, and whether both sides agree."""

from __future__ import annotations

from harness.trace import FileObservation, Observation, Step
from harness.verdict import Compared, Place
from reports.terminal import paint
from reports.words import columns, extents_text
from workloads.syntax import format_op

__all__ = ["observation_table", "step_table"]

COLOURS = {"x": "31", "=": "32", "k": "33", "i": "36"}
HEAD = ("", "step", "operation", "result", "file", "size", "blocks", "resv", "extents")


def step_table(compared: Compared, *, colour: bool = False, only: int | None = None) -> list[str]:
    """Lines for each step of the actual side, or for one only: a row per file that it changed.

    `=` marks a step in which both sides agree, `k` one in which they do because the model
    follows a known issue, `i` one in which they differ as intended, `x` one in which they
    differ, `?` one that was not compared.
    `blocks` are 512-byte sectors, `resv` reserved clusters.
    """
    actual = compared.actual
    if actual is None:
        return []
    rows: list[tuple[str, ...]] = [HEAD]
    before = actual.start
    for index, step in enumerate(actual.steps):
        operation = format_op(compared.verdict.workload.ops[index], index)
        if only in (None, index):
            rows += _rows(_mark(compared, index), index, operation, step, before)
        if step.observed:
            before = step.observation
    done, ops = len(actual.steps), compared.verdict.workload.ops
    if only is None and done < len(ops):
        rows.append((_unended(compared, done), str(done + 1), format_op(ops[done], done),
                     "never returned", *[""] * 5))  # fmt: skip
    elif only is None:
        end = "sync, drop_caches, umount, mount, e2fsck"
        rows.append((_mark(compared, "final"), "end", end, *[""] * 6))
    head, *lines = columns(rows, indent=" ")
    return [head, *(_coloured(line, colour) for line in lines)]


def _mark(compared: Compared, place: Place) -> str:
    expected = compared.expected
    if any(mismatch.place == place for mismatch in compared.verdict.mismatches):
        return "x"
    if expected is None or (place == "final" and expected.final is None):
        return "?"
    if isinstance(place, int) and place >= compared.verdict.steps:
        return "?"
    if any(found.difference.place == place for found in compared.verdict.intended):
        return "i"
    return "k" if isinstance(place, int) and expected.steps[place].quirks else "="


def _unended(compared: Compared, place: int) -> str:
    """The mark of an operation that the kernel did not come back from."""
    differs = any(mismatch.place == place for mismatch in compared.verdict.mismatches)
    return "x" if differs else "k"


def _rows(
    mark: str, index: int, operation: str, step: Step, before: Observation
) -> list[tuple[str, ...]]:
    result = step.result if isinstance(step.result, int | str) else str(step.result)
    first = (mark, str(index + 1), operation, str(result))
    if not step.observed:
        return [(*first, *[""] * 4, "(not observed)")]
    if step.observation.error:
        return [(*first, step.observation.error, *[""] * 4)]
    changed = [
        (name, *_seen(file))
        for name, file in sorted(step.observation.files.items())
        if before.files.get(name) != file
    ]
    seen = changed or [("", "", "", "", "(no file changed)")]
    return [
        (*(first if number == 0 else ("", "", "", "")), *row) for number, row in enumerate(seen)
    ]


def _seen(file: FileObservation) -> tuple[str, str, str, str]:
    numbers = (file.size, file.blocks, file.reserved)
    size, blocks, reserved = ("?" if number is None else str(number) for number in numbers)
    return size, blocks, reserved, file.extents_error or extents_text(file.extents)


def observation_table(observation: Observation) -> list[str]:
    """All that is seen between two operations: a row per file, and the file system's counters.

    `blocks` and `i_blocks` (as last written to the inode) are 512-byte sectors, `i_size` bytes,
    `resv` reserved clusters; the counters are file system blocks.
    """
    if observation.error:
        return [f"  {observation.error}: nothing can be seen"]
    rows = [("file", "size", "i_size", "blocks", "i_blocks", "resv", "extents")]
    for name, file in sorted(observation.files.items()):
        size, blocks, reserved, extents = _seen(file)
        raw = (file.disksize, file.disk_blocks)
        i_size, i_blocks = ("?" if number is None else str(number) for number in raw)
        rows.append((name, size, i_size, blocks, i_blocks, reserved, extents))
    counters = (("delalloc", observation.delalloc), ("free", observation.bfree))
    known = ", ".join(f"{name} {number}" for name, number in counters if number is not None)
    return [*columns(rows), f"  blocks of the file system: {known}"]


def _coloured(line: str, colour: bool) -> str:
    code = COLOURS.get(line[1:2])
    return line if code is None else paint(line, code, colour)
