"""The agent's main loop: a request is one JSON line, each answer one or more.

Every answer repeats the request's `id`. The last answer to a request has `final`, `done`
or `error`; an error that the agent did not expect carries its traceback. Behind a line with
`raw` come so many bytes that are no text.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time

from . import identity, setup
from .context import errno_name
from .kernel_log import KernelLog
from .mounted import MountError
from .recorded import REQUESTS, end_machine, open_line, requests
from .session import ROOT, Instruments, run_workload
from .settle import Settler, never_preempt
from .tracing import Tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from .quota import QuotaWarnings

    Row = dict[str, Any]

__all__ = ["Agent", "main"]

PORT = "ext4diff.agent"
PROTOCOL = 2
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_FEW = 64
"""Buffers that go out in one piece, together with their line."""
_FREQUENT: dict[tuple[str, ...], bytes] = {
    keys: b"{%s}\n" % b",".join(b'"%s":%%d' % key.encode() for key in keys)
    for keys in (("id", "step", "result"), ("id", "step", "result", "trace", "raw"))
}
"""What most operations come to, by keys; `_encode` takes three times as long."""


def main() -> None:
    """Set the guest up and serve the host until it closes the port."""
    began = time.monotonic()
    setup.mount_all()
    setup.load_modules("block")
    recorded = os.path.exists(REQUESTS)
    port = open_line() if recorded else os.open(setup.find_port(PORT), os.O_RDWR | os.O_CLOEXEC)
    setup.set_writeback_on_demand()
    never_preempt()
    setup.let_slices_end_at_ticks()
    os.makedirs(ROOT, exist_ok=True)
    try:
        os.stat("/dev/vda")
        agent = Agent(port, Instruments(Tracer(), KernelLog(), Settler("vda")))
    except FileNotFoundError as error:  # it can still be asked what else it lacks
        agent = Agent(port, None, str(error.filename))
    gc.disable()
    gc.freeze()  # what has been imported stays
    agent.hello(time.monotonic() - began)
    agent.serve(requests() if recorded else agent.requests())
    if recorded:
        end_machine(port)


class Agent:
    """Serves requests that come in on the descriptor `port`."""

    def __init__(self, port: int, instruments: Instruments | None, lacking: str = "") -> None:
        self._port = port
        self._watching = instruments
        self._lacking = lacking
        self._quota: QuotaWarnings | None = None
        self._pending = b""

    @property
    def _instruments(self) -> Instruments:
        if self._watching is None:
            raise OSError(f"the kernel lacks {self._lacking}")
        return self._watching

    def tell(self, row: Row) -> None:
        """Send one line to the host, and behind it the buffers that are its `raw`."""
        raw = row.get("raw", ())
        if raw:
            row["raw"] = sum(map(len, raw))
        form = _FREQUENT.get(tuple(row))
        if form is not None and type(row["result"]) is int:
            line = form % tuple(row.values())
        else:
            line = _encode(row).encode() + b"\n"
        for part in _joined(line, raw):
            data = memoryview(part)
            while data:
                data = data[os.write(self._port, data) :]

    def hello(self, seconds: float) -> None:
        """Say that the agent is ready, and what the kernel is; `seconds` went to set-up."""
        self.tell({
            "hello": PROTOCOL,
            "release": os.uname().release,
            "build_id": identity.build_id(),
            "config_sha256": identity.config_sha256(),
            "python": sys.version.split()[0],
            "buffered_iomap": setup.knows_mount_option("buffered_iomap"),
            "uptime": time.clock_gettime(time.CLOCK_BOOTTIME),
            "setup": seconds,
            "lacking": self._lacking,
            "tracepoints": self._watching.tracer.formats if self._watching is not None else {},
        })  # fmt: skip

    def _receive(self) -> list[Row] | None:
        """The requests that have arrived whole, waiting for more; None at the end."""
        part = os.read(self._port, 1 << 16)
        if not part:
            return None
        *lines, self._pending = (self._pending + part).split(b"\n")
        return [json.loads(line) for line in lines]

    def requests(self) -> Iterator[Row]:
        """The host's requests, until it closes the port."""
        while (requests := self._receive()) is not None:
            yield from requests

    def serve(self, requests: Iterable[Row]) -> None:
        """Answer all of `requests`."""
        for request in requests:
            number: int = request["id"]

            def tell(row: Row, number: int = number) -> None:
                self.tell({"id": number, **row})

            try:
                self._answer(request, tell)
            except MountError as error:
                name = errno_name(OSError(error.number, ""))
                log = self._watching.log.read() if self._watching is not None else []
                tell({"error": str(error), "phase": error.phase, "errno": name, "log": log})
            except Exception as error:
                import traceback  # noqa: PLC0415 - slow to import, and rarely needed

                tell({"error": f"{type(error).__name__}: {error}",
                      "traceback": traceback.format_exc()})  # fmt: skip
            gc.collect()  # not in the middle of a workload, and while the host is at work

    def _answer(self, request: Row, tell: Any) -> None:
        command = request["cmd"]
        if command == "run":
            quota = self._quota if request.get("warnings") else None
            run_workload(request, tell, self._instruments, quota)
        elif command == "shell":
            from .shell import Host, run_shell  # noqa: PLC0415 - rarely needed

            run_shell(request, tell, self._instruments, Host(self._port, self._receive))
        elif command in _COMMANDS:
            tell({"done": _COMMANDS[command](self, request)})
        else:
            raise ValueError(f"no such command: {command}")

    # --- what is answered in one piece ----------------------------------------------------

    def _listen(self, request: Row) -> Row:
        """Have quota warnings collected from now on, by a new listener if there is none or it has
        ended; what went wrong.

        Before anybody needs it (`ahead`), a kernel without quota gets none, and the memory
        that the start has used is filled again.
        """
        from .quota import QuotaWarnings  # noqa: PLC0415 - rarely needed

        ahead = request.get("ahead", False)
        if ahead and not os.path.exists("/proc/sys/fs/quota"):
            return {}
        if self._quota is not None and not self._quota.forget():
            self._quota.close()
            self._quota = None
        try:
            self._quota = self._quota or QuotaWarnings(request["seconds"])
        except OSError as error:
            return {"failed": str(error), "late": isinstance(error, TimeoutError)}
        if ahead:
            setup.poison_memory()
        return {}

    def _let_fail(self, request: Row) -> str:
        """Have something fail in what comes; what the kernel lacks for it."""
        from .injection import Injector  # noqa: PLC0415 - rarely needed

        try:
            self._instruments.injector = Injector(request["kind"], request["nth"])
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

    def _clock(self, request: Row) -> bool:
        time.clock_settime(time.CLOCK_REALTIME, request["now"])
        return True

    def _uptime(self, _request: Row) -> float:
        return time.monotonic()

    def _poison(self, _request: Row) -> int:
        return setup.poison_memory()

    def _modules(self, request: Row) -> bool:
        setup.load_modules(request["group"], request.get("parameters"))
        return True

    def _probe(self, request: Row) -> Row:
        from .probe import probe  # noqa: PLC0415 - rarely needed

        return probe(request["device"], ROOT, setup.knows_mount_option("buffered_iomap"))

    def _log(self, _request: Row) -> list[str]:
        whole = KernelLog()
        try:
            return whole.read()
        finally:
            whole.close()

    def _sysrq(self, request: Row) -> bool:
        with open("/proc/sysrq-trigger", "w") as file:
            file.write(request["key"])
        return True

    def _exec(self, request: Row) -> Row:
        from .command import run_program  # noqa: PLC0415 - rarely needed

        return run_program(request)


_COMMANDS: dict[str, Callable[[Agent, Row], object]] = {
    "listen": Agent._listen,
    "fail": Agent._let_fail,
    "clock": Agent._clock,
    "uptime": Agent._uptime,
    "poison": Agent._poison,
    "modules": Agent._modules,
    "probe": Agent._probe,
    "log": Agent._log,
    "sysrq": Agent._sysrq,
    "exec": Agent._exec,
}


def _joined(line: bytes, raw: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
    """All of it as one, if there are few buffers: each write has the host at work."""
    if not raw:
        return (line,)
    return (b"".join((line, *raw)),) if len(raw) <= _FEW else (line, *raw)
