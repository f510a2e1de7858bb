"""A verdict as text: what was done, what was expected, what was seen, because of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.known import KNOWN_ISSUES
from harness.signature import signature_of
from harness.trace import Complaint
from harness.verdict import Compared, Mismatch, Outcome, Place, Verdict
from reports.because import because_lines
from reports.blockmap import draw
from reports.intended import intended_lines
from reports.panels import pictures_of
from reports.words import columns, paint, pair_text, place_text, times
from workloads.syntax import format_op

__all__ = ["explain", "headline", "paint"]

RED, BOLD = "31", "1"


def headline(verdict: Verdict) -> str:
    """The verdict in one line."""
    name = verdict.workload.name
    note = f"; {verdict.note}" if verdict.note else ""
    if verdict.outcome is Outcome.MISMATCH:
        first = verdict.mismatches[0]
        where = place_text(first.place, len(verdict.workload.ops))
        operation = f" ({first.op})" if first.op else ""
        fields = ", ".join(dict.fromkeys(_field_text(m) for m in verdict.headline))
        if all(_complaint(m) for m in verdict.headline):
            return f"{name}: the kernel complains: {fields}{note}"
        sides = " and ".join(verdict.subjects)
        return f"{name}: {sides} differ at {where}{operation}: {fields}{note}"
    for reason in (verdict.broken, verdict.unusable, verdict.refused):
        if reason is not None:
            return f"{name}: {verdict.outcome}: {reason}"
    known = f" ({', '.join(verdict.known)})" if verdict.known else ""
    return f"{name}: {verdict.outcome}{known}, {times(verdict.steps, 'step')}{note}"


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
        lines += because_lines(compared)
        for picture in pictures_of(compared):
            lines += draw(picture, colour=colour)
        lines += _later(verdict)
        signature = signature_of(verdict)
        lines += ["", f"Signature {signature.id}: {signature.text}"] if signature else []
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
        expected, actual = pair_text(mismatch.expected, mismatch.actual)
        rows.append((mismatch.file or "-", mismatch.field, expected, actual.strip()))
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


def _later(verdict: Verdict) -> list[str]:
    later = verdict.mismatches[len(verdict.headline) :]
    if not later:
        return []
    steps = len(verdict.workload.ops)
    counts = Counter(place_text(m.place, steps) for m in later)
    places = ", ".join(f"{count} at {place}" for place, count in counts.items())
    return ["", f"Later differences, which may be consequences: {places}"]
