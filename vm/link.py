"""Waiting for the guest: its agent, its console and its QEMU at the same time.

Whatever ends the wait has a class of its own: an answer, a panic, a hang, a dead agent, a
dead QEMU. `fakes` of the channel and the console stand in for a guest in tests.
"""

from __future__ import annotations

import select
import time
from typing import Protocol

from vm.channel import Channel, Row
from vm.console import Console
from vm.errors import (
    AgentDiedError,
    ChannelError,
    GuestHangError,
    KernelHangError,
    KernelPanicError,
    QemuError,
)
from vm.log.endings import BLOCKED
from vm.netlog import NetLog

__all__ = ["Link", "Process"]

_SLICE = 0.5
"""Seconds after which the process is looked at, even if nothing arrives."""
_SETTLE = 2.0
"""Seconds of silence after which the kernel has listed its blocked tasks."""
_LISTEN = 0.02
_MOST = 30 * _SETTLE
"""Seconds that the list may take; an emulated serial line is slow."""


class Process(Protocol):
    """What is needed of QEMU while waiting."""

    @property
    def running(self) -> bool:
        """Whether it still exists."""

    def last_words(self) -> str:
        """What it printed."""

    def status(self) -> str:
        """Its run state."""

    def show_blocked_tasks(self) -> None:
        """Make the kernel list blocked tasks on the console."""


class Link:
    """The connections to one guest. `close` closes them."""

    def __init__(
        self, channel: Channel, console: Console, process: Process, netlog: NetLog | None = None
    ) -> None:
        self.channel = channel
        self.console = console
        self.process = process
        self.netlog = netlog
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._poll.register(console.fileno(), select.POLLIN)
        if netlog is not None:
            self._poll.register(netlog.fileno(), select.POLLIN)

    def send(self, row: Row) -> None:
        """Send a request; a guest that is gone raises what ended it."""
        try:
            self.channel.send(row)
        except ChannelError:
            self._look(until=time.monotonic() + 2)
            raise

    def wait(self, number: int | None, seconds: float, what: str, over: str = "") -> Row:
        """The next answer to request `number`, which is expected within `seconds`.

        `what` says in messages what the guest is at. If the user has set the time, `over` says
        so, and a guest that runs and says nothing until then hangs. Raises `KernelPanicError`,
        `KernelHangError`, `GuestHangError`, `AgentDiedError`, `ChannelError` or
        `QemuError`.
        """
        deadline = time.monotonic() + seconds
        while True:
            row = self.channel.next(number)
            if row is not None:
                return row
            self._look(deadline)
            if time.monotonic() > deadline and not self.channel.has_rows:
                self._hung(seconds, what, over)

    def next(self, number: int, seconds: float) -> Row | None:
        """The next answer to request `number`, None if none comes within `seconds`.

        Raises what has ended the guest, as `wait` does, but takes silence for no hang.
        """
        until = time.monotonic() + seconds
        row = self.channel.next(number)
        while row is None and time.monotonic() < until:
            self._look(until)
            row = self.channel.next(number)
        return row

    def _look(self, until: float) -> None:
        """Take what arrives, and raise what has ended the guest."""
        wait = min(_SLICE, max(until - time.monotonic(), 0))
        ready = {fd for fd, _ in self._poll.poll(wait * 1000)}
        if self.console.fileno() in ready:
            self.console.follow()
        if self.netlog is not None:
            self.netlog.receive()
        alive = self.channel.receive()
        if self.channel.has_rows:  # what was told before the end still counts
            return
        if self.console.fatal:
            self._panicked()
        if not alive or (not ready and not self.process.running):
            self._ended()

    def _panicked(self) -> None:
        self.console.follow_panic()
        line = self.console.whole_line(self.console.fatal or "")
        report = self.console.report(line)
        if "Attempted to kill init" in report and "BUG" not in report and "Oops" not in report:
            raise AgentDiedError(f"the agent died: {self.console.last_words(4)}")
        raise KernelPanicError(f"the kernel panicked: {line}", report=report)

    def _ended(self) -> None:
        """The agent's connection is closed, or QEMU is gone."""
        self.console.follow()
        if self.console.fatal:
            self._panicked()
        words = self.process.last_words() or self.console.last_words(3)
        silent = "QEMU ended without a word, as it does when the guest resets itself"
        raise QemuError(f"QEMU ended: {words}" if words else silent)

    def _hung(self, seconds: float, what: str, over: str) -> None:
        start = self.console.size
        state = self._state()
        self.console.follow()
        if self.console.fatal:
            self._panicked()
        blocked = BLOCKED.search(self.console.text_from(start))
        reason = self.console.hang and self.console.whole_line(self.console.hang)
        if blocked:
            reason = f"task {blocked['task']} is blocked in {blocked['function']}"
        if not reason and state == "running":
            reason = over
        if reason:
            text = self.console.text_from(start)
            message = f"the kernel hangs in {what}: {reason}"
            raise KernelHangError(message, report=text.replace("\r", ""))
        half = ", half a line has come" if self.channel.pending else ""
        raise GuestHangError(
            f"no answer from the guest within {seconds:g} s in {what} (QEMU: {state}{half}); "
            f"last on its console: {self.console.last_words(2) or 'nothing'}"
        )

    def _state(self) -> str:
        try:
            state = self.process.status()
            self.process.show_blocked_tasks()
        except QemuError as error:
            return str(error)
        size, until = -1, time.monotonic() + _MOST
        while self.console.size != size and time.monotonic() < until:
            size = self.console.size
            self._listen(_SETTLE)
        return state

    def _listen(self, seconds: float) -> None:
        """Take what the console says meanwhile: QEMU's socket is full after 300 characters,
        and the kernel then waits for who reads them."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.console.follow()
            time.sleep(_LISTEN)

    def close(self) -> None:
        """Close the connections."""
        self.channel.close()
        self.console.close()
        if self.netlog is not None:
            self.netlog.close()
