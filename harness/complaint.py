"""Complaints: what a kernel's log holds against the kernel."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Complaint", "ComplaintKind"]


class ComplaintKind(enum.StrEnum):
    """What kind of thing a kernel complains of."""

    WARNING = "warning"
    BUG = "bug"
    OOPS = "oops"
    PANIC = "panic"
    KASAN = "kasan"
    KFENCE = "kfence"
    KMSAN = "kmsan"
    KCSAN = "kcsan"
    UBSAN = "ubsan"
    MEMORY = "memory"
    """Corrupted pages, slabs, lists, poison; an allocation that failed."""
    LOCKDEP = "lockdep"
    RCU = "rcu stall"
    HUNG = "hung task"
    LOCKUP = "lockup"
    ATOMIC = "atomic"
    """Sleeping or scheduling where that is not allowed."""
    EXT4_ERROR = "ext4 error"
    EXT4_WARNING = "ext4 warning"
    EXT4 = "ext4"
    """What ext4 says outside of ext4_error and ext4_warning."""
    JBD2 = "jbd2"
    IO = "i/o error"
    OOM = "out of memory"
    USER = "user space"
    """A program of the guest was killed by a trap."""
    LOST = "lost"
    """Messages were overwritten before they were read."""
    INJECTED = "fault injection"
    """The kernel lets something fail because it was asked to."""
    AGENT = "agent"
    """What the guest's agent could not do, in its own words."""
    OTHER = "other"


class Complaint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One report in a kernel's log.

    `title` is the same for the same complaint in any run: no addresses, numbers of
    processes, inodes or CPUs, offsets or times. `function` is the function at fault, if one
    is known; `lines` the report without time stamps; `frames` its stack from there
    outwards, each with `FILE:LINE` if that is known. `step` is the index of the operation
    in which it came, None if it is not known or came after the last; `count` how often the
    same title came.
    """

    kind: ComplaintKind
    title: str
    lines: tuple[str, ...] = ()
    function: str | None = None
    frames: tuple[str, ...] = ()
    step: int | None = None
    count: int = 1

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.title}{times}"
