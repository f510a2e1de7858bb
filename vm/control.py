"""QMP: QEMU's control connection, served by a thread with an event loop of its own.

The same thread starts QEMU: the kernel sends a child's parent-death signal when the
thread that started it ends, and this one lives as long as the guest.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from qemu.qmp import EventListener, QMPClient, QMPError

from vm.errors import QemuError

__all__ = ["Control"]

T = TypeVar("T")
_TIMEOUT = 10.0
"""Seconds after which QEMU is taken to be dead; it answers within milliseconds."""

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
logging.getLogger("qemu.qmp").propagate = False


class Control:
    """Starts nothing by itself: call `connect` with one end of a socket pair."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client: QMPClient | None = None
        self._events: EventListener | None = None

    def in_thread(self, function: Callable[[], T]) -> T:
        """Call `function` in this connection's thread."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return done.result(_TIMEOUT)

    def _await(self, what: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(what, self._loop)
        try:
            return future.result(timeout)
        except (TimeoutError, concurrent.futures.TimeoutError) as error:
            future.cancel()
            raise QemuError(
                f"QEMU does not answer on its control connection ({timeout} s)"
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise QemuError(f"QEMU's control connection failed: {error}") from error

    def connect(self, sock: socket.socket, timeout: float = _TIMEOUT) -> None:
        """Negotiate with the QEMU at the other end of `sock`; `QemuError` if that fails."""

        async def run() -> None:
            client = QMPClient("ext4diff")
            events = EventListener()
            client.register_listener(events)
            await client.connect(sock)
            self._client, self._events = client, events

        self._await(run(), timeout)

    def execute(self, command: str, **arguments: object) -> Any:
        """Run a QMP command and return its answer."""
        if self._client is None:
            raise QemuError("QEMU's control connection is not open")
        return self._await(self._client.execute(command, arguments or None), _TIMEOUT)

    def give(self, name: str, sock: socket.socket) -> None:
        """Give QEMU the socket `sock`, which its commands then call `fd:NAME`."""

        async def run() -> None:
            assert self._client is not None
            self._client.send_fd_scm(sock.fileno())
            await self._client.execute("getfd", {"fdname": name})

        self._await(run(), _TIMEOUT)

    def resume(self) -> None:
        """Let the guest run."""
        self.execute("cont")

    def status(self) -> str:
        """QEMU's run state: `running`, `internal-error`, `guest-panicked`, ..."""
        return str(self.execute("query-status")["status"])

    def send_break(self) -> None:
        """Send a break on the console: the kernel takes the next key for a sysrq."""
        self.execute("chardev-send-break", id="console")

    def events(self) -> list[str]:
        """Names of the events since the last call."""

        async def run() -> list[str]:
            assert self._events is not None
            return [str(event["event"]) for event in self._events.clear()]

        return self._await(run(), _TIMEOUT) if self._events is not None else []

    def close(self) -> None:
        """End the connection and the thread; does not end QEMU."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(QemuError):  # QEMU went first
            self._await(self._end(), 3.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.disconnect(), 1.0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1.0) if others else None
