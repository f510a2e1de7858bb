"""Why something else was expected: rules of the model, by the ids of docs/semantics.md, with
the kernel's functions that each follows and the model's that it is written in."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from harness.signature import telling
from harness.specification import Rule, rule_noted
from harness.trace import Trace
from harness.verdict import Compared, Mismatch, Verdict
from workloads.ops import AnyOp, RangeOp, Read
from workloads.syntax import format_op

__all__ = ["because_lines"]

MODEL = "model"
WIDTH = 96
_BYTE = re.compile(r"\(byte (\d+)\)")
_PIECE = 4096
_WRITERS = 2
"""Operations that are named as the last ones to have written what differs."""


def because_lines(compared: Compared) -> list[str]:
    """The explanation's part about the first diverging step.

    At the end no step is to blame: there it is the operations that last wrote what differs.
    """
    verdict = compared.verdict
    notes = list(dict.fromkeys(note for m in verdict.headline for note in m.because))
    if not notes:
        return _writers(compared)
    if verdict.subjects[0] != MODEL:  # two kernels, each held against the model of itself
        return ["", "What the model says of both", *(f"  - {note}" for note in notes)]
    return [
        "",
        f"Because {MODEL} applied these rules (docs/semantics.md)",
        *_rules(notes, telling(notes)),
    ]


def _rules(notes: Iterable[str], main: tuple[str, ...]) -> list[str]:
    """The rules behind `notes`; those of `main`, by their ids, first and in words."""
    found = [(rule_noted(note), note) for note in notes]
    found.sort(key=lambda pair: pair[0] is None or pair[0].name not in main)
    lines = []
    for rule, note in found:
        lines += _rule(rule, note, in_words=rule is not None and rule.name in main)
    return lines


def _rule(rule: Rule | None, note: str, *, in_words: bool) -> list[str]:
    if rule is None:
        return [f"  - {note}"]
    title, _, function = note.partition(": ")
    followed = ", ".join(dict.fromkeys([*function.split(", "), *rule.kernel]))
    named = f"kernel: {followed}; model: {', '.join(rule.model)}"
    words = _wrapped(rule.gist) if in_words else []
    return [f"  {rule.name} ({title})", *words, *_wrapped(named)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text.replace("`", ""), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


# --- the end ------------------------------------------------------------------------------


def _writers(compared: Compared) -> list[str]:
    """The last operations that wrote where the content differs, with their rules."""
    verdict, expected = compared.verdict, compared.expected
    found = next((m for m in verdict.headline if m.file and _BYTE.search(m.field)), None)
    if found is None or expected is None or verdict.subjects[0] != MODEL:
        return []
    steps = _last_steps(verdict, found)
    lines: list[str] = []
    for step in steps:
        lines += _step(verdict, expected, step)
    title = f"What last wrote these bytes of {found.file}, and the rules that {MODEL} applied there"
    return ["", title, *lines] if lines else []


def _last_steps(verdict: Verdict, found: Mismatch) -> list[int]:
    """The last steps that name a range of the file with the byte that `found` is about."""
    match = _BYTE.search(found.field)
    assert match is not None
    byte = int(match[1])
    ops = verdict.workload.ops
    steps = [index for index, op in enumerate(ops) if _writes(op, found.file or "", byte)]
    return steps[-_WRITERS:]


def _writes(op: AnyOp, file: str, byte: int) -> bool:
    """Whether `op` is about bytes of the piece of `file` that begins at `byte`."""
    if not isinstance(op, RangeOp) or isinstance(op, Read):
        return False
    name, start = (getattr(op, "to", op.file), getattr(op, "dst", op.off))
    return bool(name == file and start < byte + _PIECE and byte < start + op.len)


def _step(verdict: Verdict, expected: Trace, step: int) -> list[str]:
    if step >= len(expected.steps):
        return []
    notes = expected.steps[step].because
    lines = [f"  step {step + 1}: {format_op(verdict.workload.ops[step], step)}"]
    return lines + [f"  {line}" for line in _rules(notes, ())]
