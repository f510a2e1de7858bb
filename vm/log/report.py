"""One report of a kernel's log: what belongs to it, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.trace import Complaint, ComplaintKind
from vm.log.frames import at_fault, frames, is_frame, own_stack
from vm.log.lines import Line
from vm.log.rules import RULES, Rule, stable

__all__ = ["Report", "match_rule", "titled"]

_LIMIT = 400
"""Lines that a report may have; what comes after is not taken for a part of it."""
_FOREIGN = 3
"""Other messages that may come between the lines of a stack trace."""
_SEVERE = 2
"""What the kernel says at KERN_CRIT or worse is a complaint whatever it says."""
_QUIET = re.compile(
    r"EXT4-fs \([^)]+\): (?:shut down requested|Remounting filesystem|Total free blocks"
    r"|Free/Dirty block|free_blocks=|dirty_blocks=|Block reservation|i_reserved_data_blocks=)|\s*$"
)
"""What the kernel says so loud and is no complaint, or the details of one."""
_ANYTHING = Rule(ComplaintKind.OTHER, re.compile(r"(?P<text>.*)"), "{text}")
_PART = re.compile(
    r"\s|(?:RIP|RSP|RAX|RDX|RBP|R\d\d|FS|CS|CR\d|DR\d|Code|CPU|PKRU|ORIG_RAX|EFLAGS|Modules|Call"
    r"|Hardware|Workqueue|Tainted|task|Task|stack|irq|hardirqs|softirqs|preempt|in_atomic|locks?"
    r"|RCU|INFO: lockdep|[\"'(</#?=\[{-]|other|but|the|which|and|to|page|raw|Kernel|Sending|NMI"
    r"|rcu|pc|lr|sp|x\d|caller|Object|Redzone|Padding|FIX|Slab|INFO|Preempt|Memory|Write|Read"
    r"|index|shift|Allocated|Freed|The|Possible|\d+ locks?)\b"
)
"""How lines of a report begin that are not frames."""

_ACCESS = re.compile(r"(Read|Write) (?:of size|at addr)")
_REFINED = (
    (re.compile(r"refcount_t: "), "WARNING: refcount bug in {function}"),
    (re.compile(r"ODEBUG: "), "WARNING: ODEBUG bug in {function}"),
    (re.compile(r"DEBUG_LOCKS_WARN_ON|lockdep_|Looking for class"),
     "WARNING: locking bug in {function}"),
    (re.compile(r"list_\w+ corruption"), "BUG: corrupted list in {function}"),
    (re.compile(r"bad: scheduling from the idle|do not call blocking ops"),
     "WARNING: blocking ops when not running in {function}"),
)  # fmt: skip
"""What is said beside a WARN makes it another complaint."""


class Report:
    """An open report: the rule and line that began it, and its lines so far.

    `number` is its place in the log; `before` the lines from `cut here` on.
    """

    def __init__(
        self, number: int, rule: Rule, match: re.Match[str], line: Line, before: Iterable[str] = ()
    ) -> None:
        self.number = number
        self.rule = rule
        self.match = match
        self.step = line.step
        self.lines = [*before, line.text]
        self._first = len(self.lines)
        self._traced = False
        self._foreign = 0
        self._over = False

    @property
    def over(self) -> bool:
        """Whether its last line has come."""
        return self._over or len(self.lines) >= _LIMIT

    def takes(self, text: str) -> bool:
        """Whether `text` is the report's next line."""
        if self.over:
            return False
        if is_frame(text):
            self._traced = True
        elif self.rule.lines == "rule" and text.startswith("====="):
            self._over = len(self.lines) > self._first + 1
        elif self.rule.lines == "trace" and text.strip() == "</TASK>":
            self._over = self._traced
        elif self.rule.lines == "trace" and self._traced and text and not _PART.match(text):
            self._foreign += 1
            self._over = self._foreign > _FOREIGN
            return False
        return True


def match_rule(line: Line) -> tuple[Rule | None, re.Match[str] | None]:
    """The rule whose report begins with `line`, if one does."""
    for rule in RULES:
        match = rule.start.match(line.text)
        if match is not None:
            return rule, match
    severe = line.level is not None and line.level <= _SEVERE
    if severe and not _QUIET.match(line.text) and not _PART.match(line.text):
        return _ANYTHING, _ANYTHING.start.match(line.text)
    return None, None


def titled(report: Report) -> Complaint:
    """The complaint that `report` is."""
    rule, groups = report.rule, report.match.groupdict(default="")
    stack = list(frames(own_stack(report.lines)))
    names = [*_named(report), *(frame.name for frame in stack)]
    if rule.kind in (ComplaintKind.EXT4_ERROR, ComplaintKind.EXT4_WARNING):
        function: str | None = groups["function"]
    else:
        function = at_fault(names)
    title = rule.title if function is not None else rule.untraced()
    if rule.kind is ComplaintKind.WARNING:
        title = _refined(report.lines, title, function)
    access = next((m[1] for line in report.lines if (m := _ACCESS.match(line))), "")
    values = {**groups, "function": function or "", "access": f" {access}" if access else ""}
    values = {name: stable(text) if name == "text" else text for name, text in values.items()}
    text = values.get("text", "")
    if rule.kind is ComplaintKind.IO and text and title.startswith("Buffer"):
        values["text"] = f": {text.lstrip(', ')}"
    begin = next((i for i, frame in enumerate(stack) if frame.name.startswith(function or " ")), 0)
    return Complaint(
        kind=rule.kind,
        title=title.format_map(values).strip(),
        lines=tuple(report.lines),
        function=function,
        frames=tuple(str(frame) for frame in stack[begin:]),
        step=report.step,
    )


def _named(report: Report) -> Iterator[str]:
    """The functions that the report names apart from its stack."""
    if report.rule.at is not None:
        for line in report.lines:
            match = report.rule.at.match(line)
            if match is not None:
                yield match["function"]
                return
    elif report.match.groupdict().get("function"):
        yield report.match["function"]


def _refined(lines: Iterable[str], title: str, function: str | None) -> str:
    if function is None:
        return title
    head = [line for line in lines if not is_frame(line)]
    for pattern, instead in _REFINED:
        if any(pattern.match(line) for line in head):
            return instead
    return title
