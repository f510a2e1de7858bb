"""A person's shell in the guest, at a step of a workload, with the agent still at hand.

The workload runs up to the step; then the shell starts on a terminal of its own (a virtio
console, which every kernel has that has the agent's port), or with commands that the host
sent, whose output goes to the host. Meanwhile the agent keeps the workload's descriptors and
serves three: the host, the shell's end, and the programs `step` and `look`, which ask by a
named pipe and print what the host makes of the agent's answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time

from .command import ENVIRONMENT
from .mounted import MountError
from .session import ROOT, Instruments, Steps, begin
from .shell_trace import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from .mounted import Mounted

    Row = dict[str, Any]

__all__ = ["Host", "Shell", "run_shell"]

FOLDER = "/run/ext4diff"
TERMINAL = "/dev/hvc0"
_PATIENCE = 2.0
"""Seconds in which who asked comes for the answer."""
_ASK = """\
#!/bin/sh
echo "{name} $*" > {folder}/ask && {{ read status; cat; }} < {folder}/answer && exit $status
"""
_RC = """\
{name}() {{  # a step may be a remount, which the shell's own directory must not forbid
	local here="$PWD" status
	cd / && {folder}/bin/{name} "$@"; status=$?
	cd "$here" 2>/dev/null || cd {root}
	return $status
}}
"""
PROGRAMS = ("step", "look")


def run_shell(request: Row, tell: Callable[[Row], None], watch: Instruments, host: Host) -> None:
    """Run the first `at` of `ops`, then a shell until it ends; `tell` it all.

    `events` are the trace events that are on (`system:name`, with wildcards); with `script`
    the shell runs that text, without a terminal. Raises `MountError`; what is wrong with
    `events` is told as `refused`.
    """
    recorder = Recorder(request["events"], request["record"])
    if recorder.refused:
        tell({"refused": recorder.refused, "near": recorder.near})
        return
    mounted, steps = begin(request, tell, watch)
    while steps.done < request["at"]:
        tell(steps.next())
    recorder.switch_on()
    shell = Shell(request, tell, mounted, steps, recorder)
    shell.serve(host)


class Host:
    """What of the connection to the host a shell needs: `descriptor`, and `receive`, which
    returns the requests that have arrived, None once the host has gone."""

    def __init__(self, descriptor: int, receive: Callable[[], list[Row] | None]) -> None:
        self.descriptor = descriptor
        self.receive = receive


class Shell:
    """A shell that runs, and what it asks for."""

    def __init__(
        self,
        request: Row,
        tell: Callable[[Row], None],
        mounted: Mounted,
        steps: Steps,
        recorder: Recorder,
    ) -> None:
        self._tell = tell
        self._mounted = mounted
        self._steps = steps
        self._recorder = recorder
        _make_programs()
        self._ask = os.open(f"{FOLDER}/ask", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._terminal: int | None = None
        self._output: IO[bytes] | None = None
        environment = {**ENVIRONMENT, **request["environment"], "ENV": f"{FOLDER}/rc"}
        environment["PATH"] = f"{FOLDER}/bin:{environment['PATH']}"
        script = request.get("script")
        if script is None:
            self._process = self._on_terminal(request, environment)
        else:
            self._process = self._of_script(script, environment)
        self._lost = ""

    def _on_terminal(self, request: Row, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start the interactive shell, the terminal's owner."""
        self._terminal = terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self.resize(request)

        def own() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        return subprocess.Popen(
            ["/bin/sh", "-i"], stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT,
            env=environment, preexec_fn=own,  # noqa: PLW1509 - the agent has no threads here
        )  # fmt: skip

    def _of_script(self, script: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start the shell that runs `script`."""
        with open(f"{FOLDER}/script", "w") as file:
            file.write(f". {FOLDER}/rc\n{script}")
        process = subprocess.Popen(
            ["/bin/sh", f"{FOLDER}/script"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True,
        )  # fmt: skip
        self._output = process.stdout
        return process

    def resize(self, size: Row) -> None:
        """Give the terminal the host's `rows` and `columns`."""
        if self._terminal is not None:
            packed = struct.pack("HHHH", size["rows"], size["columns"], 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, packed)

    def serve(self, host: Host) -> None:
        """Serve until the shell has ended, or the host has gone."""
        ended = os.pidfd_open(self._process.pid)
        poll = select.poll()
        for descriptor in (host.descriptor, self._ask, ended):
            poll.register(descriptor, select.POLLIN)
        output = self._output.fileno() if self._output is not None else -1
        if output >= 0:
            poll.register(output, select.POLLIN)
        self._tell({"ready": self._recorder.names, "sections": _sections()})
        while True:
            ready = dict(poll.poll())
            if output in ready:
                part = os.read(output, 1 << 16)
                if part:
                    self._tell({"output": part.decode(errors="replace")})
                    continue  # all of it goes before the end is told
                poll.unregister(output)
            if host.descriptor in ready:
                requests = host.receive()
                if requests is None:
                    return
                for request in requests:
                    self._requested(request)
            if self._ask in ready:
                self._asked(os.read(self._ask, 4096).decode(errors="replace"))
            elif ended in ready and (output < 0 or output not in ready):
                self._tell({"done": self._process.wait()})
                return

    def _requested(self, request: Row) -> None:
        if request["cmd"] == "resize":
            self.resize(request)
        elif request["cmd"] == "say":
            self._say(request["text"], request["status"])

    def _asked(self, line: str) -> None:
        """`step` or `look` wants an answer; the host makes a text of what is told."""
        name, _, _ = line.strip().partition(" ")
        if name not in PROGRAMS:
            self._say(f"not understood: {line}", 2)
        elif self._lost:
            self._say(f"{self._lost}: nothing can be looked at any more\n", 1)
        elif name == "look":
            self._tell({"look": True, **self._mounted.observe(self._steps.context.shut_down)})
        elif self._steps.over:
            self._tell({"over": True})
        else:
            self._step()

    def _step(self) -> None:
        busy = _occupants(ROOT) if self._steps.upcoming == "remount" else ""
        if busy:
            self._say(f"the next step is a remount, and {busy} is in the way; cd / there\n", 2)
            return
        self._steps.leave_out()
        try:
            with self._recorder.recording():
                step = self._steps.next()
        except MountError as error:
            self._lost = str(error)
            self._say(f"{error}\n", 1)
            return
        self._tell({**step, "recorded": self._recorder.text})

    def _say(self, text: str, status: int) -> None:
        """Hand `text` to who asked; whoever was interrupted meanwhile gets nothing."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            try:
                answer = os.open(f"{FOLDER}/answer", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:  # not there yet
                time.sleep(0.01)
                continue
            os.set_blocking(answer, True)
            with contextlib.suppress(BrokenPipeError), os.fdopen(answer, "w") as file:
                file.write(f"{status}\n{text}")
            return


def _make_programs() -> None:
    """The programs `step` and `look`, and the file that the shell reads at its start."""
    os.makedirs(f"{FOLDER}/bin", exist_ok=True)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for pipe in ("ask", "answer"):
        os.mkfifo(f"{FOLDER}/{pipe}")
    with open(f"{FOLDER}/rc", "w") as rc:
        for name in PROGRAMS:
            with open(f"{FOLDER}/bin/{name}", "w") as file:
                file.write(_ASK.format(name=name, folder=FOLDER))
            os.chmod(f"{FOLDER}/bin/{name}", 0o755)
            rc.write(_RC.format(name=name, folder=FOLDER, root=ROOT))


def _occupants(root: str) -> str:
    """A process other than the agent that is in `root` or has a file open there, if any."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            links = [os.readlink(f"/proc/{pid}/cwd")]
            links += [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            with open(f"/proc/{pid}/comm") as file:
                name = file.read().strip()
        except OSError:  # a kernel thread, or one that has ended
            continue
        if any(link == root or link.startswith(f"{root}/") for link in links):
            return f"process {pid} ({name})"
    return ""


def _sections() -> dict[str, dict[str, int]]:
    """Where each loaded module's sections are, for a debugger."""
    found: dict[str, dict[str, int]] = {}
    base = "/sys/module"
    for module in sorted(os.listdir(base)):
        if not os.path.isfile(f"{base}/{module}/sections/.text"):
            continue
        sections = {}
        for name in os.listdir(f"{base}/{module}/sections"):
            with open(f"{base}/{module}/sections/{name}") as file:
                sections[name] = int(file.read(), 16)
        found[module] = sections
    return found
