"""The QEMU process: its command line, its start, and its certain end.

All connections are socket pairs made before the start, and the disk and the console's log
are anonymous memory, so nothing has a name that could be left behind. QEMU is stopped at
first; `Control.resume` lets the guest run. It dies with the process that started it: by
`close`, by the interpreter's exit, or by the kernel's parent-death signal.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vm.channel import PORT
from vm.control import Control
from vm.errors import QemuError
from vm.host_tools import find_program
from vm.process import ending_with_parent
from vm.write_log import WriteLog

__all__ = ["COMMAND_LINE", "Devices", "Machine", "Qemu", "qemu_version"]

PROGRAM = "qemu-system-x86_64"
CPU = {
    # Without these, string operations, which TCG emulates byte by byte, are avoided.
    "tcg": "max,-erms,-fsrm",
    "kvm": "host",
}
COMMAND_LINE = (
    "console=ttyS0",
    "loglevel=5",  # warnings reach the console, where the host sees them
    "panic=0",  # a guest that reboots loses its last words
    "oops=panic",
    "sysrq_always_enabled",  # a guest that hangs is asked for its blocked tasks
    "init_on_alloc=0",  # stale memory must show
    "init_on_free=0",
    "page_poison=1",
    "mitigations=off",
    "random.trust_cpu=on",
    "nokaslr",
    "tsc=reliable",
    "noreplace-smp",
    "no_timer_check",  # on a host that is busy the timer seems broken, which is a panic
    "8250.nr_uarts=1",
    "cryptomgr.notests",
    "audit=0",
    "lsm=",  # nobody here to be kept from anything; it takes time, as the next two do
    "cgroup_disable=memory",
    "psi=0",
    "damon_stat.enabled=0",  # looks at memory all the time
    "transparent_hugepage_tmpfs=within_size",  # drop_caches passes through its root by folios
    "swiotlb=noforce",
)
_PORTS = "max_ports=2"
"""The first is a console's. Each interrupt asks all queues, two a port, of 31 ports by default."""
_MEMORY = "memory"
_WRITE = "write_aio"
"""blkdebug's name for a write request."""
_SYSRQ_PAUSE = 0.3
"""Seconds that a key for sysrq gets to take effect."""
_LAST_MOMENT = 0.5
"""Seconds that a process gets to be over once it has closed its connections."""
_OWN_NAME = re.compile(r"^(\S*/)?qemu-system-\w+: (error: )?")
_running: weakref.WeakSet[Qemu] = weakref.WeakSet()


def qemu_version(program: str | None = None) -> str:
    """QEMU's version as it prints it, e.g. `7.2.22`. Raises `QemuError`."""
    command = [program or find_program(PROGRAM), "--version"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise QemuError(f"{command[0]} --version says nothing for {error.timeout:g} s") from error
    words = done.stdout.split()
    if done.returncode != 0 or "version" not in words:
        why = done.stderr.strip() or f"its status is {done.returncode}"
        raise QemuError(f"{command[0]} --version failed: {why}")
    return words[words.index("version") + 1]


@dataclass(frozen=True)
class Devices:
    """What a machine has beyond the usual: QEMU's `arguments`, and the descriptors in them.

    A machine that is `held` does not run before a debugger lets it. Its disk takes only so many
    `writes`, if that is not None, and fails each later one (EIO).
    """

    arguments: tuple[str, ...] = ()
    fds: tuple[int, ...] = ()
    held: bool = False
    writes: int | None = None


@dataclass(frozen=True)
class Machine:
    """What QEMU runs. `memory` is MiB; `disk` a path; `tap` a descriptor of a TAP device.

    `kernel` and `initrd` are paths, `cpus` beyond the first are idle until a thread asks for
    one, `extra` further words of the kernel's command line. `memory_file` is a path of a file
    that its memory is; `incoming` says that the machine goes on from a state to come, and
    then what it writes stays its own.
    """

    kernel: Path
    initrd: Path
    disk: str | None
    accel: str = "tcg"
    cpus: int = 1
    memory: int = 512
    tap: int | None = None
    extra: tuple[str, ...] = ()
    devices: Devices = Devices()
    memory_file: str | None = None
    incoming: bool = False

    def arguments(self, fds: dict[str, int]) -> list[str]:
        """QEMU's arguments; `fds` holds the inherited `qmp`, `console`, `agent` and `log`."""
        arguments = [
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
            "-name", "ext4diff",
            "-machine", "pc" if self.memory_file is None else f"pc,memory-backend={_MEMORY}",
            "-accel", self.accel, "-cpu", CPU[self.accel],
            "-smp", str(self.cpus), "-m", str(self.memory),
            "-kernel", str(self.kernel), "-initrd", str(self.initrd),
            "-append", " ".join((*COMMAND_LINE, *_isolated(self.cpus), *self.extra)),
            "-chardev", f"socket,id=qmp,fd={fds['qmp']}",
            "-mon", "chardev=qmp,mode=control",
            "-chardev",
            f"socket,id=console,fd={fds['console']},logfile=/proc/self/fd/{fds['log']}",
            "-serial", "chardev:console",
            "-device", f"virtio-serial-pci,{_PORTS}{_kicks(self.accel)}",
            "-chardev", f"socket,id=agent,fd={fds['agent']}",
            "-device", f"virtserialport,chardev=agent,name={PORT}",
        ]  # fmt: skip
        if self.memory_file is not None:
            share = "off" if self.incoming else "on"
            backend = f"memory-backend-file,id={_MEMORY},size={self.memory}M,share={share}"
            arguments += ["-object", f"{backend},mem-path={self.memory_file}"]
        if self.incoming:
            arguments += ["-incoming", "defer"]
        if self.disk is not None:
            device = f"virtio-blk-pci,drive=disk{_kicks(self.accel)}"
            arguments += [*self._drive(self.disk), "-device", device]
        if self.tap is not None:
            arguments += ["-netdev", f"tap,id=net,fd={self.tap},vhost=off"]
            arguments += ["-device", "virtio-net-pci,netdev=net,romfile="]
        return [*arguments, *self.devices.arguments]

    def _drive(self, disk: str) -> list[str]:
        """The arguments that make `disk` the drive called `disk`."""
        if self.devices.writes is None:
            drive = f"file={disk},format=raw,if=none,id=disk,cache=unsafe,file.locking=off"
            return ["-drive", drive]
        # each write that passes goes from one state of blkdebug's to the next, the last one fails
        count = self.devices.writes
        image = {"driver": "file", "filename": disk, "locking": "off"}
        failing: dict[str, object] = {
            "driver": "blkdebug",
            "image": image,
            "inject-error": [
                {"event": _WRITE, "iotype": "write", "state": count + 1, "errno": errno.EIO}
            ],
        }
        if count:  # QEMU takes no empty list
            failing["set-state"] = [
                {"event": _WRITE, "state": state, "new_state": state + 1}
                for state in range(1, count + 1)
            ]
        cache = {"no-flush": True}
        node = {"driver": "raw", "node-name": "disk", "cache": cache, "file": failing}
        return ["-blockdev", json.dumps(node)]


def _kicks(accel: str) -> str:
    """How a virtio device learns of requests: under TCG by the CPU's own thread, which would
    only wake another one; half of the time in system calls, and the other thread's."""
    return ",ioeventfd=off" if accel == "tcg" else ""


def _isolated(cpus: int) -> tuple[str, ...]:
    """Words of the command line that keep all CPUs but the first for who asks for them.

    All else runs on the first, as in a guest with one: what is observed between operations
    repeats there only.
    """
    return (f"isolcpus=1-{cpus - 1}",) if cpus > 1 else ()


class Qemu:
    """A QEMU process, stopped before its first instruction.

    `console`, `agent` are this side's ends of the connections, `log` the descriptor of
    the console's log. Raises `HostToolError` or `QemuError`.
    """

    def __init__(self, machine: Machine, program: Sequence[str] | None = None) -> None:
        command = list(program or [find_program(PROGRAM)])
        self.machine = machine
        pairs = {name: socket.socketpair() for name in ("qmp", "console", "agent")}
        self.console, self.agent = pairs["console"][0], pairs["agent"][0]
        self.log = os.memfd_create("ext4diff-console", os.MFD_CLOEXEC)
        self._words = os.memfd_create("ext4diff-qemu", os.MFD_CLOEXEC)
        self._writes = WriteLog()
        self.control = Control()
        fds = {name: pair[1].fileno() for name, pair in pairs.items()} | {"log": self.log}
        inherited = [*fds.values(), *machine.devices.fds, self._writes.fd]
        if machine.tap is not None:
            inherited.append(machine.tap)
        try:
            self._process = self._start(
                [*command, *machine.arguments(fds), *self._writes.arguments], inherited
            )
            _running.add(self)
        except BaseException:
            self.control.close()
            raise
        finally:
            for pair in pairs.values():
                pair[1].close()
        try:
            self.control.connect(pairs["qmp"][0])
        except QemuError as error:
            words = self.last_words() or str(error)
            self.close()
            raise QemuError(f"QEMU did not start: {words}") from error

    def _start(self, command: list[str], inherited: list[int]) -> subprocess.Popen[bytes]:
        die_with_parent = ending_with_parent(signal.SIGKILL)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._words, stderr=self._words,
                pass_fds=inherited, process_group=0,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - only calls prctl and getppid
            )  # fmt: skip

        try:
            return self.control.in_thread(start)
        except OSError as error:
            raise QemuError(f"cannot start {command[0]}: {error.strerror}") from error

    @property
    def command(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return tuple(map(str, cast("list[str]", self._process.args)))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process still exists."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """What QEMU itself printed, on one line, without its name; warnings if nothing else.

        If it was killed without a word, which signal did it.
        """
        lines = os.pread(self._words, 1 << 16, 0).decode(errors="replace").splitlines()
        words = [_OWN_NAME.sub("", line).strip() for line in lines if line.strip()]
        errors = [line for line in words if not line.startswith("warning: ")]
        return " | ".join(errors or words) or self._killed_by()

    def _killed_by(self) -> str:
        """Which signal ended it; '' if none has. Its connections close a moment before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(_LAST_MOMENT)
            return f"it was killed by {signal.Signals(-status).name}" if status < 0 else ""
        return ""

    def written(self) -> list[tuple[int, int]] | None:
        """Where the guest has written to its disk since the last call: `WriteLog.take`."""
        return self._writes.take()

    def status(self) -> str:
        """QEMU's run state; `QemuError` if it does not answer."""
        return self.control.status()

    def show_blocked_tasks(self) -> None:
        """Make the kernel list its blocked tasks on the console, by sysrq."""
        for key in b"9w":  # everything to the console; blocked tasks
            self.control.send_break()
            self.console.sendall(bytes([key]))
            time.sleep(_SYSRQ_PAUSE)

    def quit(self, seconds: float = 20.0) -> None:
        """Have QEMU end by itself, so that it completes what it writes; kill it if it does not."""
        with contextlib.suppress(QemuError):  # it is about to end, or has ended
            self.control.execute("quit")
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def close(self) -> None:
        """Kill QEMU and wait for its end; further calls do nothing.

        The sockets `console` and `agent` and the log belong to who uses them.
        """
        if self not in _running:
            return
        _running.discard(self)
        self._process.kill()
        self._process.wait(30)
        self.control.close()
        os.close(self._words)
        self._writes.close()


def _close_all() -> None:
    for qemu in list(_running):
        qemu.close()


atexit.register(_close_all)
