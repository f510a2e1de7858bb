"""A verdict as text: what was done, what was expected, what was seen, because of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.known import KNOWN_ISSUES
from harness.trace import Complaint, FileObservation, Observation, Trace
from harness.verdict import Compared, Mismatch, Outcome, Place, Verdict
from reports.blockmap import CHARACTERS, LEGEND, Picture, compare_maps
from reports.intended import intended_lines
from reports.words import columns, place_text, value_text
from workloads.syntax import format_op

__all__ = ["explain", "headline", "paint"]

MODEL = "model"
RED, GREEN, YELLOW, BLUE, BOLD = "31", "32", "33", "34", "1"
_STATE_COLOUR = dict(zip(CHARACTERS.values(), (YELLOW, BLUE, GREEN, BOLD), strict=True))


def paint(text: str, code: str, colour: bool) -> str:
    """`text` in a colour of the terminal, if it has any."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text


def headline(verdict: Verdict) -> str:
    """The verdict in one line."""
    name = verdict.workload.name
    if verdict.outcome is Outcome.MISMATCH:
        first = verdict.mismatches[0]
        where = place_text(first.place, len(verdict.workload.ops))
        operation = f" ({first.op})" if first.op else ""
        fields = ", ".join(dict.fromkeys(_field_text(m) for m in verdict.headline))
        if all(_complaint(m) for m in verdict.headline):
            return f"{name}: the kernel complains: {fields}"
        return f"{name}: {' and '.join(verdict.subjects)} differ at {where}{operation}: {fields}"
    for reason in (verdict.broken, verdict.unusable, verdict.refused):
        if reason is not None:
            return f"{name}: {verdict.outcome}: {reason}"
    known = f" ({', '.join(verdict.known)})" if verdict.known else ""
    return f"{name}: {verdict.outcome}{known}, {verdict.steps} steps"


def explain(compared: Compared, *, colour: bool = False, kept_in: Path | None = None) -> str:
    """All that a person needs to judge the verdict, in a few paragraphs."""
    verdict = compared.verdict
    lines = [paint(headline(verdict), BOLD, colour)]
    if verdict.kernels[0]:  # two kernels, or two paths
        lines += [
            f"{name}: kernel {kernel or 'unknown'}"
            for name, kernel in zip(verdict.subjects, verdict.kernels, strict=True)
        ]
    elif verdict.kernel:
        build = f" (build id {verdict.build_id[:12]})" if verdict.build_id else ""
        lines.append(f"kernel {verdict.kernel}{build}, {verdict.workload.config.path} path")
    lines += _known(verdict)
    if verdict.mismatches:
        first = verdict.mismatches[0].place
        lines += ["", *_done(verdict, first, colour)]
        lines += ["", *_differences(verdict, colour)]
        lines += _because(verdict)
        lines += _pictures(compared, first, colour)
        lines += _later(verdict)
    lines += intended_lines(verdict)
    if kept_in is not None:
        lines += ["", f"Kept in: {kept_in}"]
    return "\n".join(lines)


def _known(verdict: Verdict) -> list[str]:
    """The known issues that the expecting side follows, each with what it does and why."""
    issues = {issue.name: issue for issue in KNOWN_ISSUES}
    lines = []
    for name in verdict.known:
        lines.append(f"{verdict.subjects[0]} follows the known issue {name}")
        if name in issues:
            lines += [
                f"  when {issues[name].condition}:",
                f"  {issues[name].observable}",
                f"  ({issues[name].reason})",
            ]
    for name in verdict.gone:
        lines.append(f"the known issue {name} should show here and does not any more")
    return lines


def _complaint(mismatch: Mismatch) -> Complaint | None:
    """The kernel's complaint that the mismatch is, if it is one."""
    sides = (mismatch.expected, mismatch.actual)
    return next((side for side in sides if isinstance(side, Complaint)), None)


def _field_text(mismatch: Mismatch) -> str:
    complaint = _complaint(mismatch)
    if complaint is not None:
        return str(complaint)
    return f"{mismatch.field} of {mismatch.file}" if mismatch.file else mismatch.field


def _done(verdict: Verdict, first: Place, colour: bool) -> list[str]:
    lines = ["What was done"]
    for index, op in enumerate(verdict.workload.ops):
        mark = ">" if index == first else " "
        text = f" {mark}{index + 1:3}  {format_op(op, index)}"
        lines.append(paint(text, RED, colour) if index == first else text)
    if first == "final":
        lines.append(paint(" >     (the end: sync, drop_caches, umount, mount)", RED, colour))
    return lines


def _differences(verdict: Verdict, colour: bool) -> list[str]:
    expecting, seeing = verdict.subjects
    rows = [("file", "field", f"expected by {expecting}", f"seen on {seeing}")]
    for mismatch in verdict.headline:
        rows.append(
            (
                mismatch.file or "-",
                mismatch.field,
                value_text(mismatch.expected),
                value_text(mismatch.actual).strip(),
            )
        )
    place = place_text(verdict.headline[0].place, len(verdict.workload.ops))
    if any("\n" in cell or len(cell) > 60 for row in rows for cell in row):
        return [f"What differs: {place}", *_one_by_one(rows)]
    first, *rest = columns(rows)
    return [f"What differs: {place}", first, *(paint(line, RED, colour) for line in rest)]


def _one_by_one(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """The rows of a table whose cells are too long for one."""
    _, _, expecting, seeing = rows[0]
    lines = []
    for file, field, expected, actual in rows[1:]:
        lines.append(f"  {field}" + (f" of {file}" if file != "-" else ""))
        for title, text in ((expecting, expected), (seeing, actual)):
            lines.append(f"    {title}:")
            lines += [f"      {line}" for line in text.splitlines() or [""]]
    return lines


def _because(verdict: Verdict) -> list[str]:
    rules = dict.fromkeys(rule for m in verdict.headline for rule in m.because)
    if not rules:
        return []
    title = f"Because {verdict.subjects[0]} applied here"
    if verdict.subjects[0] != MODEL:  # two kernels, each held against the model of itself
        title = "What the model says of both"
    return ["", title, *(f"  - {rule}" for rule in rules)]


def _later(verdict: Verdict) -> list[str]:
    later = verdict.mismatches[len(verdict.headline) :]
    if not later:
        return []
    steps = len(verdict.workload.ops)
    counts = Counter(place_text(m.place, steps) for m in later)
    places = ", ".join(f"{count} at {place}" for place, count in counts.items())
    return ["", f"Later differences, which may be consequences: {places}"]


# --- pictures -------------------------------------------------------------------------


def _pictures(compared: Compared, first: Place, colour: bool) -> list[str]:
    """Maps of the files whose blocks differ, before and after the diverging step."""
    verdict = compared.verdict
    files = dict.fromkeys(
        m.file for m in verdict.headline if m.file and m.field in ("extents", "blocks", "reserved")
    )
    size = verdict.workload.config.image.block_size
    lines: list[str] = []
    for file in files:
        after = _picture(compared, first, file, size)
        if after is None:
            continue
        lines += ["", f"Blocks of {file} (a character is {size} bytes: {LEGEND})"]
        before = None if first == "final" else _picture(compared, _previous(first), file, size)
        if before is not None:
            lines += _draw(before, "before", verdict.subjects, colour)
        lines += _draw(after, "after", verdict.subjects, colour)
    return lines


def _previous(place: Place) -> Place:
    return place - 1 if isinstance(place, int) and place > 0 else "start"


def _picture(compared: Compared, place: Place, file: str, size: int) -> Picture | None:
    files = [_file_at(trace, place, file) for trace in (compared.expected, compared.actual)]
    return compare_maps(files, size)


def _file_at(trace: Trace | None, place: Place, file: str) -> FileObservation | None:
    observation: Observation | None = None
    if trace is None:
        return None
    if isinstance(place, int):
        observation = trace.steps[place].observation if place < len(trace.steps) else None
    elif place == "start":
        observation = trace.start
    elif trace.final is not None:
        observation = trace.final.observation
    return observation.files.get(file) if observation is not None else None


def _draw(picture: Picture, when: str, subjects: tuple[str, str], colour: bool) -> list[str]:
    width = max(len(name) for name in subjects)
    start = f" (from block {picture.first})" if picture.first else ""
    end = f" (+{picture.more} more)" if picture.more else ""
    lines = [f"  {when}{start}"]
    for name, blocks in zip(subjects, (picture.expected, picture.actual), strict=True):
        lines.append(f"    {name.ljust(width)}  {_coloured(blocks, colour)}{end}")
    if picture.marks:
        lines.append(paint(f"    {' ' * width}  {picture.marks}", RED, colour))
    return lines


def _coloured(blocks: str, colour: bool) -> str:
    return "".join(
        paint(c, _STATE_COLOUR.get(c, BOLD), colour and c in _STATE_COLOUR) for c in blocks
    )
