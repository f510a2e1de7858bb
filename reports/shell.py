"""What a person in the guest's shell is told: where it is, what comes next, what a step did."""

from __future__ import annotations

from collections.abc import Sequence

from harness.trace import Event, Step
from workloads.formats.xfs_io_export import calls, impossible
from workloads.syntax import format_op
from workloads.workload import Workload

__all__ = ["event_lines", "gdb_lines", "greeting", "next_lines", "trace_lines", "xfs_io_words"]

ROOT = "/mnt"
"""Where the guest mounts the file system."""
_EVENTS = 6
"""Trace events that are named; of more, only how many there are."""


def xfs_io_words(workload: Workload, index: int) -> str:
    """Step `index` (from 0) as a command line of xfs_io in the workload's directory, or why
    there is none."""
    kept = [(index, workload.ops[index])]
    cannot = impossible(kept)
    if cannot:
        return f"{cannot[0].why}; `step` does it"
    names = {'"$D"': ROOT, '"${DEV:?}"': "/dev/vda", "@MOUNT@": workload.config.mount}
    text = "; ".join(call.text(root=".") for call in calls(kept))
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def next_lines(workload: Workload, done: int) -> list[str]:
    """The step that comes when `done` of them are done, also as xfs_io takes it."""
    total = len(workload.ops)
    if done == total:
        end = "sync, drop_caches, umount, mount, umount, e2fsck"
        return [f"no step is left; a run would end with {end}" if total else "no workload"]
    words = xfs_io_words(workload, done)
    return [f"next is step {done + 1} of {total}: {format_op(workload.ops[done], done)}",
            f"  {words}"]  # fmt: skip


def greeting(workload: Workload, done: int, head: Sequence[str], events: Sequence[str]) -> str:
    """The first words: `head`, where the person is, and what there is to work with.

    `events` are the trace events that are on.
    """
    config = workload.config
    lines = list(head)
    if workload.ops:
        steps = f"steps 1 to {done} are done" if done > 1 else f"{done or 'no'} step is done"
        lines += [f"{workload.name}: {steps}", *next_lines(workload, done)]
    else:
        lines.append(f"an empty file system, {config.name}")
    some = ", ".join(events[:_EVENTS]) + (", ..." if len(events) > _EVENTS else "")
    lines += [
        f"/dev/vda is mounted on {ROOT} (-o noatime,{config.mount}), the current directory",
        "  step     perform the next step as a run does, and see what comes of it"
        if workload.ops else "",
        "  look     see what ext4diff sees: sizes, blocks, extents, reservations",
        "  xfs_io and debugfs are there, busybox has the rest",
        f"trace events on ({len(events)}): {some}" if events else "no trace events are on",
        "  cat /sys/kernel/tracing/trace shows them, echo > /sys/kernel/tracing/trace clears them",
        "Ctrl-] leaves, and ends the guest",
    ]  # fmt: skip
    return "".join(f"{line}\n" for line in lines if line)


def gdb_lines(line: tuple[str, Sequence[str]], title: str) -> list[str]:
    """How gdb gets at the kernel: a line to type, and the commands that it begins with."""
    command, commands = line
    return [title, f"  {command}", *(f"    {text}" for text in commands)]


def event_lines(step: Step) -> list[str]:
    """The reservation tracepoints of a step."""
    return [f"  {_event(event)}" for event in step.events or ()]


def _event(event: Event) -> str:
    claim = "" if event.claim is None else f", quota_claim {int(event.claim)}"
    counts = f"{event.count} (reserved {event.reserved}{claim})"
    return f"ext4_da_{event.kind}_space: {event.file}: {counts}"


def trace_lines(text: str) -> list[str]:
    """What was recorded, without the head of the trace."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]
