"""Why something else was expected: rules of the model, by the ids of docs/semantics.md, with
the kernel's functions that each follows and the model's that it is written in."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from harness.signature import bytes_of, telling
from harness.specification import Rule, rule_noted
from harness.trace import Trace
from harness.verdict import Compared, Verdict
from workloads.syntax import format_op
from workloads.writers import writers

__all__ = ["because_lines"]

MODEL = "model"
WIDTH = 96
_WRITERS = 2
"""Operations that are named as the last ones to have written what differs."""


def because_lines(compared: Compared) -> list[str]:
    """The explanation's part about the first diverging step.

    Where that read what differs, or comes after all steps, it is not to blame: then it is the
    operations that last wrote there.
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
    wanted = next((range_ for m in verdict.headline if (range_ := bytes_of(verdict, m))), None)
    if wanted is None or expected is None or verdict.subjects[0] != MODEL:
        return []
    place = verdict.headline[0].place
    before = verdict.workload.ops[: place if isinstance(place, int) else None]
    lines: list[str] = []
    for step in writers(before, wanted)[-_WRITERS:]:
        lines += _step(verdict, expected, step)
    title = f"What last wrote there in {wanted[0]}, and the rules that {MODEL} applied"
    return ["", title, *lines] if lines else []


def _step(verdict: Verdict, expected: Trace, step: int) -> list[str]:
    if step >= len(expected.steps):
        return []
    notes = expected.steps[step].because
    lines = [f"  step {step + 1}: {format_op(verdict.workload.ops[step], step)}"]
    return lines + [f"  {line}" for line in _rules(notes, telling(notes))]
