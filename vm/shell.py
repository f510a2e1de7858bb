"""A guest with a shell in it, at a step of a workload: the host's side of `vm/agent/shell.py`.

The shell's terminal is a virtio console of its own, so that it needs nothing of a kernel
that the agent's channel does not need, and no line of the kernel's log comes between. What
the agent tells meanwhile (steps, what is seen, the shell's end) comes over its channel.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.errors import UsageError
from harness.trace import Observation, Trace
from vm import mkfs, seen
from vm.channel import Row
from vm.errors import MountRefusedError
from vm.guest import Guest, request_of
from vm.qemu import Devices
from vm.transcript import Transcript
from workloads.workload import Workload

__all__ = [
    "Listener", "Opening", "Reply", "Sections", "ShellGuest", "Size", "TerminalLine",
    "observation_of", "with_devices",
]  # fmt: skip

_SLICE = 0.1
"""Seconds after which a change of the window's size is noticed."""

Sections = Mapping[str, Mapping[str, int]]
Reply = tuple[str, int]
"""What `step` or `look` prints in the guest, and its exit status."""
Size = tuple[int, int]
"""Rows and columns of a terminal."""


class TerminalLine:
    """The connection to the shell's terminal; `devices` is what QEMU needs for it."""

    def __init__(self) -> None:
        self.socket, self._theirs = socket.socketpair()
        number = self._theirs.fileno()
        arguments = (
            "-chardev", f"socket,id=shell,fd={number}", "-device", "virtconsole,chardev=shell",
        )  # fmt: skip
        self.devices = Devices(arguments, (number,))

    def connected(self) -> None:
        """QEMU has its end: close ours of it, so that its end is seen."""
        self._theirs.close()

    def close(self) -> None:
        """Close both ends."""
        self._theirs.close()
        self.socket.close()


@dataclass(frozen=True)
class Opening:
    """What a shell is opened with.

    The first `at` operations of `workload` are done before. `events` are the trace events
    that are on, with wildcards; with `record` those of each step are told. With `mark` each
    step begins with a call of the kernel's `vm.gdb.MARK`. Commands in
    `script` are run without a terminal; with None, the terminal has the size `size` and is
    called `term`.
    """

    workload: Workload
    at: int
    events: tuple[str, ...]
    record: bool = False
    mark: bool = False
    script: str | None = None
    size: Size = (24, 80)
    term: str = "dumb"


@dataclass
class Listener:
    """Who hears what happens in the guest.

    `asked` gets what a `step` or `look` showed (the row, and the trace so far) and returns
    what it prints; `printed` gets a script's output.
    """

    asked: Callable[[Row, Trace], Reply]
    printed: Callable[[str], None]


class ShellGuest(Guest):
    """A guest in which a person works. `open_shell`, then `attend` until it is over."""

    _shell = 0
    _transcript: Transcript | None = None
    events: tuple[str, ...] = ()
    """The trace events that are on."""
    sections: Sections = MappingProxyType({})
    """Where the sections of each loaded module are, by module and section."""

    def open_shell(self, opening: Opening) -> Trace:
        """Run the steps before and start the shell; what was seen until then.

        Raises `UsageError` for trace events that the kernel does not have, and what `run`
        raises.
        """
        workload = opening.workload
        self.disk.reset(mkfs.image_file(workload.config.image))
        self._transcript = transcript = self.transcript_of(workload)
        self._shell = self._send({
            **request_of(workload),
            "cmd": "shell",
            "at": opening.at,
            "events": opening.events,
            "record": opening.record,
            "mark": opening.mark,
            "script": opening.script,
            "environment": {"TERM": opening.term, "PS1": "guest:\\w# "},
            **_size_row(opening.size),
        })  # fmt: skip
        while True:
            seconds = self.deadlines.step
            row = self.link.wait(self._shell, seconds, transcript.place)
            if "ready" in row:
                self.events, self.sections = tuple(row["ready"]), row["sections"]
                trace = transcript.trace()
                assert trace is not None
                return trace
            if "refused" in row:
                raise _no_such_event(row["refused"], row["near"])
            if "error" in row:
                raise MountRefusedError(
                    f"the kernel does not mount {workload.config.name}: {row['error']}"
                )
            transcript.take(row)

    def attend(
        self, listener: Listener, going_on: Callable[[], bool], size: Callable[[], Size | None]
    ) -> int | None:
        """Serve the shell while it and `going_on` last: its status, None if it goes on.

        `size` returns a new size of the window, or None. Raises `KernelPanicError`,
        `QemuError` and the like as soon as the guest has ended.
        """
        while going_on():
            changed = size()
            if changed is not None:
                self._tell({"cmd": "resize", **_size_row(changed)})
            row = self.link.next(self._shell, _SLICE)
            if row is None:
                continue
            if "done" in row:
                return int(row["done"])
            if "output" in row:
                listener.printed(row["output"])
            else:
                text, status = self._answer(listener, row)
                self._tell({"cmd": "say", "text": text, "status": status})
        return None

    def _answer(self, listener: Listener, row: Row) -> Reply:
        if "error" in row:
            return f"{row['error']}\n", 1
        assert self._transcript is not None
        if "step" in row:
            self._transcript.take(row)
        trace = self._transcript.trace()
        assert trace is not None
        return listener.asked(row, trace)

    def _tell(self, row: Row) -> None:
        self.link.send({"id": self._shell, **row})


def _size_row(size: Size) -> Row:
    return {"rows": size[0], "columns": size[1]}


def observation_of(row: Row) -> Observation:
    """What a `look` saw."""
    return seen.seen_of(row, row.get("raw", b"")).observation


def _no_such_event(pattern: str, near: list[str]) -> UsageError:
    text = f"--trace {pattern}: this kernel has no such trace event"
    if near:
        return UsageError(f"{text}; near it are {', '.join(near)}")
    return UsageError(f"{text}; they are called SYSTEM:NAME, as in ext4:ext4_da_write_begin")


def with_devices(first: Devices, *others: Devices) -> Devices:
    """The devices of all of them."""
    for other in others:
        first = dataclasses.replace(
            first,
            arguments=(*first.arguments, *other.arguments),
            fds=(*first.fds, *other.fds),
            held=first.held or other.held,
        )
    return first
