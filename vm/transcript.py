"""What the agent told of one workload, turned into a trace, also when the end is missing."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.trace import (
    ONLY_THE_END,
    Complaint,
    ComplaintKind,
    Final,
    KernelFacts,
    Observation,
    Observe,
    Ran,
    Result,
    Step,
    Trace,
    unobserved_step,
)
from vm.channel import Row
from vm.contents import Contents
from vm.errors import ChannelError
from vm.log.lines import Line, read_lines
from vm.log.parser import complaints, complaints_in
from vm.log.rules import INJECTED
from vm.seen import seen_of
from vm.tracepoints import Tracepoints
from workloads.workload import Workload

__all__ = ["UNSEEN_AT_END", "Transcript"]

UNSEEN_AT_END = ("dropped", "disk_blocks on disk")
"""What of the end is left out, as comparisons call it, if only that is observed: the reading
before the last mount, and debugfs, beside which our own reader tells the same number."""


class Transcript:
    """Collects the answers to one request `run`.

    `tracepoints` are the kernel's. `subject`, `kernel` and `identity` go into the trace;
    `observe` is what was asked for.
    """

    def __init__(
        self,
        workload: Workload,
        tracepoints: Tracepoints,
        subject: str,
        kernel: str,
        identity: KernelFacts | None = None,
        *,
        observe: Observe = Observe.STEPS,
    ) -> None:
        self.workload = workload
        self._tracepoints = tracepoints
        self.observe = observe
        self._subject = subject
        self._kernel = kernel
        self._identity = identity or {}
        self._start: Observation | None = None
        self._steps: list[Step] = []
        self._names: dict[int, str] = {}
        """Of inodes, when they were last looked at."""
        self._phase: str | None = None
        self._log: list[Line] = []
        self._read = {"dropped": Contents(), "content": Contents()}
        self.final: Final | None = None

    @property
    def complete(self) -> bool:
        """Whether the final answer has come."""
        return self.final is not None

    @property
    def place(self) -> str:
        """What the guest is at."""
        if self._start is None:
            return "mount"
        if self._phase is not None:
            return f"{self._phase} (after the last operation)"
        if len(self._steps) < len(self.workload.ops):
            op = self.workload.ops[len(self._steps)]
            return f"step {len(self._steps) + 1} ({type(op).WORD})"  # as reports count them
        return "sync (after the last operation)"

    def take(self, row: Row) -> None:
        """Take the next answer; `ChannelError` if it is out of order or not understood."""
        in_step = row.get("step") if isinstance(row.get("step"), int) else None
        try:
            self._log += read_lines(row.get("log") or (), in_step)
            if row.get("failed") and not any(line.text.startswith(INJECTED) for line in self._log):
                self._log.append(Line(f"{INJECTED}.", step=in_step))  # it was told to be quiet
            if "start" in row and self._start is None:
                self._start, self._names = seen_of(row, row.get("raw", b""))
            elif "step" in row and row["step"] == len(self._steps) and self._start is not None:
                self._steps.append(self._step(row))
            elif "phase" in row and len(self._steps) == len(self.workload.ops):
                self._phase = str(row["phase"])
            elif "data" in row and self._phase is not None:
                self._read[row["data"]].add(row["runs"], row["raw"])
            elif "final" in row and self._phase is not None:
                self.final = _final(row, complaints(self._log), self._read, self.observe)
            else:
                raise ChannelError(f"an answer out of order in {self.place}: {sorted(row)}")
        except (ValueError, KeyError, TypeError) as error:
            raise ChannelError(f"not understood in {self.place}: {error}") from error

    def _step(self, row: Row) -> Step:
        result = _converted(row["result"], Result)
        threads = _converted(row.get("threads", []), tuple[tuple[Ran, ...], ...])
        if "trace" not in row and self.observe is Observe.END:
            return unobserved_step(result, threads)
        raw, traced = row.get("raw", b""), row["trace"]
        seen = seen_of(row, raw[traced:])
        before = row.get("before")
        before = self._names if before is None else dict(_converted(before, list[tuple[int, str]]))
        # an inode that the step removed has only its old name, a new one only the new
        events, lost = self._tracepoints.events(raw[:traced], {**seen.names, **before})
        self._names = seen.names
        if lost != 0:
            reason = f"the kernel dropped {lost} trace events"
            if lost is None:
                reason = "the kernel dropped trace events"
            left_open = {"events": reason}
            return Step(result, None, seen.observation, unpredicted=left_open, threads=threads)
        return Step(result, events, seen.observation, threads=threads)

    def complaints_until(self, console: str) -> tuple[Complaint, ...]:
        """All complaints of a kernel that died: those told, then those on its `console`."""
        found = {complaint.title: complaint for complaint in complaints(self._log)}
        for complaint in complaints_in([console]):
            found.setdefault(complaint.title, complaint)
        return tuple(found.values())

    def trace(self) -> Trace | None:
        """The trace so far; None before the first observation."""
        if self._start is None:
            return None
        return Trace(
            workload=self.workload,
            subject=self._subject,
            start=self._start,
            steps=tuple(self._steps),
            final=self.final,
            kernel=self._kernel,
            identity=self._identity,
        )


def _converted(value: object, kind: Any) -> Any:
    return msgspec.convert(value, kind, str_keys=True)


def _final(
    row: Row, said: tuple[Complaint, ...], read: dict[str, Contents], observe: Observe
) -> Final:
    final = row["final"]
    unseen = UNSEEN_AT_END if observe is Observe.END else ()
    dropped, content = final["dropped"], final["content"]
    return Final(
        observation=seen_of(row, row.get("raw", b"")).observation,
        dropped=None if dropped is None else read["dropped"].content(dropped),
        content=None if content is None else read["content"].content(content, read["dropped"]),
        warnings=_converted(row.get("warnings"), tuple[str, ...] | None),
        log=(*said, *(Complaint(ComplaintKind.AGENT, text) for text in final["trouble"])),
        unpredicted=dict.fromkeys(unseen, ONLY_THE_END),
    )
