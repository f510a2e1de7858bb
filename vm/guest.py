"""The guest: a real kernel in QEMU as a subject, for many workloads a boot."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from harness.trace import Complaint, Observe, Placement, Trace
from vm import mkfs
from vm.accel import Accelerator, choose_accelerator
from vm.boot import (
    MEMORY,
    TCG_FACTOR,
    Deadlines,
    first_words,
    make_link,
    make_machine,
    start_netconsole,
)
from vm.boot_failure import lacking_error
from vm.channel import Row
from vm.control import Control
from vm.disk import Disk
from vm.errors import (
    AgentDiedError,
    ChannelError,
    FileSystemToolError,
    KernelError,
    KernelPanicError,
    ListenerError,
    MachineryError,
    MountLostError,
    MountRefusedError,
    QemuError,
)
from vm.identity import facts_of, identify
from vm.initramfs import BootFiles, boot_files
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity
from vm.link import Link
from vm.log.lines import read_lines
from vm.network import Network, try_network
from vm.qemu import Devices, Machine, Qemu, qemu_version
from vm.symbols import Symbols
from vm.tracepoints import Tracepoints
from vm.transcript import Transcript
from workloads.images import Image
from workloads.ops import QuotaSet
from workloads.workload import Config, Workload

__all__ = ["Executed", "Guest", "Identity", "request_of"]


NO_DEVICES = Devices()
_CLOCK_PAUSE = 0.5
"""Seconds between two looks at the guest's clock."""
_CLOCK_OFF = 1.1
"""By what factor the guest's clock may go faster or slower."""


@dataclass(frozen=True)
class Identity:
    """What reports say about a guest. `netconsole` says why there is none, or is empty."""

    release: str
    qemu: str
    accel: Accelerator
    netconsole: str
    kernel: KernelIdentity


class Executed(msgspec.Struct, frozen=True):
    """How a program in the guest ended.

    `status` is its exit status, negative for a signal, None if its time was over; `cut`
    tells that the end of a long `output` (stdout and stderr) is missing.
    """

    status: int | None
    output: str
    cut: bool


_NO_TIMER = "commit=3600"
"""Seconds between commits of the journal's own; first, so that a workload's option counts."""


def _uses_quota(config: Config) -> bool:
    return "quota" in config.image.features or "quota" in config.mount


def _mount_options(config: Config) -> str:
    """Those of `config`; a journal commits when it is asked to, not by its own clock (every 5 s),
    on which it would depend, on a busy host, which freed blocks can be had."""
    if "^has_journal" in config.image.features:
        return config.mount  # ext4 refuses a commit interval without a journal
    return ",".join(filter(None, (_NO_TIMER, config.mount)))


def request_of(workload: Workload) -> Row:
    """What the agent has to know of `workload`."""
    return {
        "device": "/dev/vda",
        "mount": _mount_options(workload.config),
        "ops": msgspec.to_builtins(workload.ops),
        "modules": ["quota"] if _uses_quota(workload.config) else [],
    }


class Guest:
    """A running guest. Make one with `start`; it is a context manager.

    After an error of `run` other than `MountRefusedError` the guest is `dead`: close it
    and start another. It owns `qemu`, `link` and `disk`.
    """

    def __init__(
        self,
        qemu: Qemu,
        link: Link,
        disk: Disk,
        accel: Accelerator,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._qemu = qemu
        self.link = link
        self.disk = disk
        self.accel = accel
        factor = TCG_FACTOR if accel.name == "tcg" else 1.0
        self.deadlines = deadlines or Deadlines().scaled(factor)
        self.program_time = math.inf
        """Seconds of the day that a workload may take in all; one that takes more hangs."""
        self.netconsole = "not set up"
        self.dead = False
        self.judging = 0.0
        """Seconds that e2fsck and debugfs took on its disk."""
        self._closed = False
        self.hello: Row = {}
        self.kernel = KernelIdentity()
        self.symbols: Symbols | None = None
        self._number = 0
        self._tracepoints: Tracepoints | None = None
        self._listens = False
        self._images: dict[Image, Path] = {}

    @classmethod
    def start(
        cls,
        kernel: Kernel,
        accel: str = "auto",
        files: BootFiles | None = None,
        *,
        memory: int = MEMORY,
        cpus: int = 1,
        network: bool = True,
        deadlines: Deadlines | None = None,
        bare: bool = False,
        devices: Devices = NO_DEVICES,
        memory_file: str | None = None,
    ) -> Self:
        """Boot `kernel` to its agent, with `memory` MiB (that of a file, if given) and `cpus`.

        `accel` is `kvm`, `tcg` or `auto`; `files` are the kernel's `boot_files`, which are
        made if they are not given. A `bare` guest may lack what workloads need; it has
        `devices` beyond the usual ones. Where the host allows it and `network` is set, the
        guest's log also comes by netconsole. Raises `QemuError`, `BootTimeoutError`,
        `KernelError` and the like; nothing is left running then.
        """
        with contextlib.ExitStack() as stack:
            disk = Disk()
            stack.callback(disk.close)
            machine = make_machine(files or boot_files(kernel), disk, memory, cpus, memory_file)
            machine = dataclasses.replace(machine, devices=devices)
            accelerator = choose_accelerator(accel, machine, kernel.identity)
            net, reason = try_network() if network else (None, "not asked for")
            guest = cls.assemble(machine, disk, accelerator, net, deadlines)
            stack.callback(guest.close)
            if not devices.held:
                guest.control.resume()
            guest.boot()
            guest.recognise(kernel)
            if guest.hello.get("lacking") and not bare:
                raise lacking_error(kernel, guest.hello["lacking"])
            guest.set_up_netconsole(net, reason)
            stack.pop_all()
        return guest

    @classmethod
    def assemble(
        cls,
        machine: Machine,
        disk: Disk,
        accelerator: Accelerator,
        net: Network | None,
        deadlines: Deadlines | None = None,
    ) -> Self:
        """A guest on a QEMU that does not run yet; it owns `disk` and `net` from here on.

        Raises `QemuError`; both are closed then.
        """
        machine = dataclasses.replace(machine, disk=disk.path, accel=accelerator.name)
        with contextlib.ExitStack() as stack:
            stack.callback(disk.close)
            if net is not None:
                stack.callback(net.close)
                extra = (*machine.extra, net.boot_parameter)
                machine = dataclasses.replace(machine, tap=net.tap, extra=extra)
            qemu = Qemu(machine)
            stack.pop_all()
        if net is not None:
            net.close_tap()  # QEMU has its own
        return cls(qemu, make_link(qemu, net), disk, accelerator, deadlines)

    def recognise(self, kernel: Kernel) -> None:
        """Note which kernel runs, and the symbols beside it. Raises what `identify` does."""
        self.kernel = identify(kernel, self.hello)
        self.symbols = Symbols.beside(kernel)

    @property
    def control(self) -> Control:
        """QEMU's control connection."""
        return self._qemu.control

    @property
    def machine(self) -> Machine:
        """What QEMU runs."""
        return self._qemu.machine

    @property
    def command(self) -> tuple[str, ...]:
        """QEMU's program and arguments."""
        return self._qemu.command

    def boot(self) -> None:
        """Wait for the agent's first words, then fill free memory with 0xAA.

        Raises what `first_words` does.
        """
        self.hello = first_words(self.link, self.deadlines.boot)
        self.ask({"cmd": "poison"}, self.deadlines.boot, "filling memory")

    def go_on(self, hello: Row, netconsole: str) -> None:
        """Let a machine run that was kept when its agent had said `hello`; set its clock."""
        self.hello, self.netconsole = hello, netconsole
        self.control.resume()
        self.ask({"cmd": "clock", "now": time.time()}, self.deadlines.boot, "setting the clock")

    def clock_is_right(self) -> bool:
        """Whether the guest's clock goes as fast as the host's, to a tenth.

        It counts the host's processor's cycles (TSC); how many a second has it finds out while
        it boots, by other clocks, and on a host that is very busy it may be wrong about it.
        """
        looks = []
        for pause in (0.0, _CLOCK_PAUSE):
            time.sleep(pause)
            before = time.monotonic()
            there = float(self.ask({"cmd": "uptime"}, self.deadlines.step, "its clock")["done"])
            looks.append((before, there, time.monotonic()))
        (begin, first, begun), (end, second, ended) = looks
        return (end - begun) / _CLOCK_OFF <= second - first <= (ended - begin) * _CLOCK_OFF

    def set_up_netconsole(self, network: Network | None, reason: str) -> None:
        """Make the guest send its log by UDP; without `network`, keep the `reason`."""
        self.netconsole = reason
        if network is None:
            return
        try:
            self.netconsole = start_netconsole(self.ask, network, self.deadlines.boot)
        except AgentDiedError as error:  # a kernel without netconsole still runs workloads
            self.dead = False
            self.netconsole = f"no netconsole: {error}"

    @property
    def release(self) -> str:
        """What `uname -r` says."""
        return str(self.hello["release"])

    @property
    def name(self) -> str:
        """How reports call this subject."""
        return f"kernel {self.release}"

    @property
    def knows_buffered_iomap(self) -> bool:
        """Whether the kernel's ext4 knows the mount option `buffered_iomap`."""
        return bool(self.hello["buffered_iomap"])

    @property
    def identity(self) -> Identity:
        """What reports say about this guest."""
        return Identity(self.release, qemu_version(), self.accel, self.netconsole, self.kernel)

    def ask(self, request: Row, seconds: float, what: str) -> Row:
        """Send `request` and return its one answer."""
        number = self._send(request)
        try:
            return self.link.wait(number, seconds, what)
        except MachineryError:
            self.dead = True
            raise

    def _send(self, request: Row) -> int:
        if self.dead:
            raise QemuError("this guest is dead; start another")
        self._number += 1
        try:
            self.link.send({"id": self._number, **request})
        except MachineryError:
            self.dead = True
            raise
        return self._number

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,  # noqa: ARG002
        *,
        observe: Observe = Observe.STEPS,
    ) -> Trace:
        """Run `workload` on a fresh copy of its image and say what was seen.

        Raises `KernelPanicError`, `KernelHangError` or `MountLostError` for findings about
        the kernel, with the trace so far; `MountRefusedError` if it knows no such mount;
        other `MachineryError`s if the guest is broken. `placement` is not used.
        """
        warnings = any(isinstance(op, QuotaSet) for op in workload.ops)
        if warnings and not self._listens:
            self._listen()
        self.disk.reset(self._image(workload.config.image))
        transcript = self.transcript_of(workload, observe)
        begin = self.link.console.size
        asked = {"cmd": "run", **request_of(workload), "observe": observe, "warnings": warnings}
        number, until = self._send(asked), time.monotonic() + self.program_time
        try:
            while not transcript.complete:
                self._next(number, transcript, until)
        except MountRefusedError:
            raise
        except KernelPanicError as error:
            self.dead = True
            message = str(error)
            if transcript.place not in message:
                message = f"in {transcript.place}: {message}"
            said = transcript.complaints_until(self.link.console.text_from(begin))
            located = self._located(said)
            raise type(error)(message, transcript.trace(), error.report, located) from error
        except BaseException:
            self.dead = True
            raise
        return self._judged_by_others(transcript)

    def transcript_of(self, workload: Workload, observe: Observe = Observe.STEPS) -> Transcript:
        """What collects the agent's answers about `workload`. Raises `KernelError` if the kernel's
        tracepoints are others than those that are known."""
        if self._tracepoints is None:
            try:
                self._tracepoints = Tracepoints(self.hello["tracepoints"])
            except ValueError as error:
                raise KernelError(f"{self.name} has other tracepoints: {error}") from error
        known = self._tracepoints, self.name, self.release, facts_of(self.kernel)
        return Transcript(workload, *known, observe=observe)

    def _listen(self) -> None:
        """Have quota warnings collected. Raises `ListenerError`, after which the guest can go
        on with other workloads."""
        seconds = self.deadlines.step
        request: Row = {"cmd": "listen", "seconds": seconds}
        what = "starting the listener for quota warnings"
        done = self.ask(request, seconds + self.deadlines.step, what)["done"]
        if "failed" in done:
            raise ListenerError(done["failed"], done["late"])
        self._listens = True

    def _image(self, image: Image) -> Path:
        if image not in self._images or not self._images[image].exists():  # or cleared away
            self._images[image] = mkfs.image_file(image)
        return self._images[image]

    def _next(self, number: int, transcript: Transcript, until: float) -> None:
        """Take the next answer. The whole workload has time `until` then."""
        in_end = transcript.place.endswith("(after the last operation)")
        seconds = self.deadlines.end if in_end else self.deadlines.step
        left = until - time.monotonic()
        over = f"its {self.program_time:g} s are over (--program-time)" if left < seconds else ""
        row = self.link.wait(number, min(seconds, max(left, 0.0)), transcript.place, over)
        if "error" not in row:
            transcript.take(row)
            return
        said = (line.text for line in read_lines(row.get("log", [])))
        log = "; ".join(line for line in said if "vda" in line)
        message = f"{row['error']}" + (f": {log}" if log else "")
        if transcript.trace() is None:
            config = transcript.workload.config
            raise MountRefusedError(f"the kernel does not mount {config.name}: {message}")
        raise MountLostError(message)

    def _judged_by_others(self, transcript: Transcript) -> Trace:
        """Add what e2fsck and debugfs say about the image that the kernel left; debugfs is not
        asked where only the end is observed (`vm.transcript.UNSEEN_AT_END`)."""
        trace = transcript.trace()
        assert trace is not None and transcript.final is not None
        path, began = Path(self.disk.path), time.monotonic()
        names = sorted(transcript.final.observation.files)
        fsck, blocks = mkfs.fsck(path), None
        try:
            if transcript.observe is Observe.STEPS:
                blocks = mkfs.disk_blocks(path, names)
        except FileSystemToolError:
            if not fsck:  # else it is e2fsck's finding that debugfs cannot read the image
                raise
        self.judging += time.monotonic() - began
        said = self._located(transcript.final.log or ())
        final = msgspec.structs.replace(transcript.final, fsck=fsck, disk_blocks=blocks, log=said)
        return msgspec.structs.replace(trace, final=final)

    def execute(
        self,
        argv: Sequence[str],
        seconds: float,
        *,
        image: Image | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Executed:
        """Run a program in the guest, as root in /tmp, for `seconds` at most.

        `files` are put there first, as executables. With an `image`, `/dev/vda` holds a
        fresh copy of it, which the program may mount; it must unmount it again. Raises
        `MachineryError`s as `run` does.
        """
        if image is not None:
            self.disk.reset(self._image(image))
        sent = {name: base64.b64encode(data).decode() for name, data in (files or {}).items()}
        request = {"cmd": "exec", "argv": list(argv), "files": sent, "seconds": seconds}
        row = self.ask(request, seconds + self.deadlines.step, f"running {argv[0]}")
        if "error" in row:
            raise ChannelError(f"{argv[0]} does not run in the guest: {row['error']}")
        return msgspec.convert(row["done"], Executed)

    def _located(self, said: tuple[Complaint, ...]) -> tuple[Complaint, ...]:
        """The complaints with source lines, where the kernel's symbols tell them."""
        return self.symbols.locate(said) if said and self.symbols is not None else said

    def close(self) -> None:
        """End QEMU and free everything; further calls do nothing."""
        self.dead = True
        if self._closed:
            return
        self._closed = True
        self._qemu.close()
        self.link.close()
        self.disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
