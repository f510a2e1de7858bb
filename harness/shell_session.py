"""A person's session in the guest, as the host sees it: what each step is held against."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.comparison.compare import compare
from harness.trace import Trace
from harness.verdict import Compared, Verdict
from reports.shell import event_lines, next_lines, trace_lines
from reports.steps import observation_table, step_table
from reports.terminal import explain
from vm.channel import Row
from vm.log.lines import read_lines
from vm.shell import Reply, observation_of
from workloads.workload import Workload

__all__ = ["Session", "until"]


def until(expected: Trace, actual: Trace) -> Compared:
    """`actual`, of which the end is missing, held against as much of `expected`."""
    steps = expected.steps[: len(actual.steps)]
    expected = msgspec.structs.replace(expected, steps=steps, final=None)
    return Compared(compare(expected, actual), expected, actual)


class Session:
    """Answers what the person asks in the guest's shell.

    `expected` is what each step is held against, if that is known; what trace events
    recorded is kept in the folder `results`.
    """

    def __init__(
        self, workload: Workload, expected: Trace | None, results: Path, *, colour: bool = False
    ) -> None:
        self._workload = workload
        self._expected = expected
        self._results = results
        self._colour = colour

    def compared(self, trace: Trace) -> Compared:
        """What was seen until now, held against what was expected, if that is known."""
        if self._expected is None:
            names = ("", trace.subject)
            return Compared(Verdict(self._workload, names, (None, trace.kernel)), actual=trace)
        return until(self._expected, trace)

    def before(self, trace: Trace) -> list[str]:
        """What there is to say when the steps before the shell are done."""
        verdict = self.compared(trace).verdict
        if not verdict.mismatches:
            return []
        first = verdict.mismatches[0].place
        where = "the start" if not isinstance(first, int) else f"step {first + 1}"
        return [f"this run differs from what was expected from {where} on already"]

    def asked(self, row: Row, trace: Trace) -> Reply:
        """What `step` or `look` prints in the guest, and its exit status."""
        if "look" in row:
            return _text(observation_table(observation_of(row))), 0
        if "over" in row:
            return _text(next_lines(self._workload, len(trace.steps))), 1
        index = len(trace.steps) - 1
        compared = self.compared(trace)
        lines = step_table(compared, colour=self._colour, only=index)
        lines += event_lines(trace.steps[index])
        lines += [f"  kernel log: {line.text}" for line in read_lines(row.get("log") or ())]
        if compared.verdict.parting == index:
            lines += ["", explain(compared, colour=self._colour), ""]
        lines += self._recorded(row.get("recorded", ""), index)
        return _text([*lines, *next_lines(self._workload, index + 1)]), 0

    def _recorded(self, text: str, index: int) -> list[str]:
        """The trace events of step `index`, and where they are kept."""
        if not text:
            return []
        found = trace_lines(text)
        path = self._results / f"trace-step-{index + 1}.txt"
        try:
            self._results.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            kept = f"kept in {path}"
        except OSError as error:
            kept = f"not kept: {path}: {error.strerror}"
        return [f"{len(found)} trace events, {kept}", *found]


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
