"""From the lines of a kernel's log to its complaints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from harness.trace import Complaint, ComplaintKind
from vm.log.expected import unexpected
from vm.log.lines import Line, read_lines
from vm.log.report import Report, match_rule, titled
from vm.log.rules import CUT_HERE, END

__all__ = ["complaints", "complaints_in"]

_BEFORE = 12
"""Lines after `cut here` in which the report's first line must come."""
_CAUSES = frozenset(
    {ComplaintKind.OOPS, ComplaintKind.BUG, ComplaintKind.PANIC, ComplaintKind.KASAN}
)


def complaints_in(texts: Iterable[str], step: int | None = None) -> tuple[Complaint, ...]:
    """The complaints in lines as a console or a log file has them."""
    return complaints(read_lines(texts, step))


def complaints(lines: Iterable[Line]) -> tuple[Complaint, ...]:
    """The complaints in `lines`, in the order in which they began; equal titles once.

    What the workload itself asked for is none (`vm.log.expected`). Reports that several
    tasks print at the same time are told apart by the lines' callers, if those are known.
    """
    found: dict[str, Complaint] = {}
    for report in sorted(_reports(unexpected(lines)), key=lambda report: report.number):
        complaint = titled(report)
        if complaint.title in found:
            first = found[complaint.title]
            complaint = msgspec.structs.replace(first, count=first.count + 1)
        found[complaint.title] = complaint
    return tuple(found.values())


def _reports(lines: Iterable[Line]) -> Iterator[Report]:
    """The reports in `lines`, as each of them ends."""
    streams: dict[str, _Stream] = {}
    for number, line in enumerate(lines):
        stream = streams.setdefault(line.caller, _Stream())
        yield from stream.take(number, line)
    for stream in streams.values():
        yield from stream.end()


class _Stream:
    """The lines of one caller: at most one report is open."""

    def __init__(self) -> None:
        self._open: Report | None = None
        self._before: list[str] | None = None
        self._died = False

    def take(self, number: int, line: Line) -> Iterator[Report]:
        """Take a line; the reports that it completes."""
        if CUT_HERE.match(line.text):
            if self._open is None or not self._open.rule.fatal:
                yield from self.end()
                self._before = [line.text]
            return
        rule, match = match_rule(line)
        if rule is not None and match is not None and not self._goes_on(rule.kind, line.text):
            if rule.lines == "one":  # it may come between the lines of another report
                yield Report(number, rule, match, line)
                return
            yield from self.end(keep=True)
            self._open = Report(number, rule, match, line, self._before or ())
            self._before = None
        elif self._open is not None:
            if self._open.takes(line.text):
                self._open.lines.append(line.text)
            elif self._open.over:
                yield from self.end()
        elif self._before is not None:
            self._before.append(line.text)
            if len(self._before) > _BEFORE:
                self._before = None
        if self._open is not None and END.search(line.text):
            yield from self.end()

    def _goes_on(self, kind: ComplaintKind, text: str) -> bool:
        """Whether a line that begins a report is part of the open one, or follows from it."""
        report = self._open
        died = self._died or report is not None
        if kind is ComplaintKind.PANIC and died and _is_consequence(text):
            return True
        if report is None:
            return False
        if report.rule.fatal and kind in _CAUSES:
            return not (kind is ComplaintKind.KASAN and report.rule.kind is not kind)
        # list corruption and BUG_ON of a refcount tell the reason first
        return report.rule.fatal and report.rule.kind is ComplaintKind.MEMORY and "list" in text

    def end(self, keep: bool = False) -> Iterator[Report]:
        """The open report, whose end has come; `keep` what stands before the next."""
        if self._open is not None:
            self._died = True
            yield self._open
        self._open = None
        if not keep:
            self._before = None


def _is_consequence(text: str) -> bool:
    """Whether a panic's first line only says that something earlier was fatal."""
    reason = text.partition("not syncing: ")[2]
    return reason.startswith(
        ("Fatal exception", "panic_on_warn", "kernel: panic_on_warn", "hung_task", "softlockup",
         "RCU Stall", "kasan", "KASAN", "KFENCE", "UBSAN", "kernel panic_on", "Hard LOCKUP",
         "Attempted to kill i", "Aiee")
    ) or "panic_on_warn" in reason  # fmt: skip
