"""The guest: a real kernel in QEMU as a subject, for many workloads a boot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from harness.trace import Placement, Trace
from vm import mkfs
from vm.channel import PROTOCOL, Channel, Row
from vm.console import Console
from vm.disk import Disk
from vm.errors import (
    BootTimeoutError,
    ChannelError,
    GuestHangError,
    KernelError,
    KernelPanicError,
    MachineryError,
    MountLostError,
    MountRefusedError,
    QemuError,
)
from vm.link import Link
from vm.qemu import Machine, Qemu, qemu_version
from vm.transcript import Transcript
from workloads.images import Image
from workloads.workload import Workload

__all__ = ["Deadlines", "Guest", "Identity"]


@dataclass(frozen=True)
class Deadlines:
    """Seconds that the guest gets: to boot, for one operation, for one part of the end."""

    boot: float = 30.0
    step: float = 60.0
    end: float = 60.0

    def scaled(self, factor: float) -> Deadlines:
        """All of them times `factor`."""
        return Deadlines(self.boot * factor, self.step * factor, self.end * factor)


TCG_FACTOR = 3.0
"""How much more time an emulated guest gets, on a machine that has other work too."""


@dataclass(frozen=True)
class Identity:
    """What reports say about a guest. `netconsole` says why there is none, or is empty."""

    release: str
    qemu: str
    accel: str
    netconsole: str


class _Process:
    """QEMU as `Link` sees it."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu

    @property
    def running(self) -> bool:
        return self._qemu.running

    def last_words(self) -> str:
        return self._qemu.last_words()

    def status(self) -> str:
        return self._qemu.control.status()

    def show_blocked_tasks(self) -> None:
        self._qemu.control.send_break()
        self._qemu.console.sendall(b"w")


class Guest:
    """A running guest. Make one with `start`; it is a context manager.

    After an error of `run` other than `MountRefusedError` the guest is `dead`: close it
    and start another.
    """

    def __init__(self, qemu: Qemu, link: Link, disk: Disk, accel: str, deadlines: Deadlines):
        self._qemu = qemu
        self.link = link
        self.disk = disk
        self.accel = accel
        self.deadlines = deadlines
        self.netconsole = "not set up"
        self.dead = False
        self.hello: Row = {}
        self._number = 0
        self._images: dict[Image, Path] = {}

    @classmethod
    def start(
        cls, machine: Machine, disk: Disk, deadlines: Deadlines | None = None, poison: bool = True
    ) -> Guest:
        """Boot `machine` to its agent.

        `poison` fills free memory with 0xAA once. Raises `QemuError`, `BootTimeoutError`,
        `KernelPanicError` and the like; nothing is left running then.
        """
        factor = TCG_FACTOR if machine.accel == "tcg" else 1.0
        deadlines = deadlines or Deadlines().scaled(factor)
        qemu = Qemu(machine)
        link = Link(Channel(qemu.agent), Console(qemu.console, qemu.log), _Process(qemu))
        guest = cls(qemu, link, disk, machine.accel, deadlines)
        try:
            qemu.control.resume()
            guest._boot()
            if poison:
                guest.ask({"cmd": "poison"}, deadlines.boot, "filling memory")
        except BaseException:
            guest.close()
            raise
        return guest

    def _boot(self) -> None:
        try:
            self.hello = self.link.wait(None, self.deadlines.boot, "boot")
        except GuestHangError as error:
            raise BootTimeoutError(f"the guest did not boot: {error}") from error
        except KernelPanicError as error:
            raise KernelError(f"the kernel does not boot here: {error}") from error
        if self.hello.get("hello") != PROTOCOL:
            raise ChannelError(f"the agent speaks another protocol: {self.hello}")

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
        return Identity(self.release, qemu_version(), self.accel, self.netconsole)

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

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:  # noqa: ARG002
        """Run `workload` on a fresh copy of its image and say what was seen.

        Raises `KernelPanicError`, `KernelHangError` or `MountLostError` for findings about
        the kernel, with the trace so far; `MountRefusedError` if it knows no such mount;
        other `MachineryError`s if the guest is broken. `placement` is not used.
        """
        self.disk.reset(self._image(workload.config.image))
        transcript = Transcript(workload, self.name, self.release)
        number = self._send({
            "cmd": "run",
            "device": "/dev/vda",
            "mount": workload.config.mount,
            "ops": msgspec.to_builtins(workload.ops),
        })  # fmt: skip
        try:
            while not transcript.complete:
                self._next(number, transcript)
        except MountRefusedError:
            raise
        except KernelPanicError as error:
            self.dead = True
            message = f"in {transcript.place}: {error}"
            raise type(error)(message, transcript.trace(), error.report) from error
        except BaseException:
            self.dead = True
            raise
        return self._judged_by_others(transcript)

    def _image(self, image: Image) -> Path:
        if image not in self._images:
            self._images[image] = mkfs.image_file(image)
        return self._images[image]

    def _next(self, number: int, transcript: Transcript) -> None:
        in_end = transcript.place.endswith("(after the last operation)")
        seconds = self.deadlines.end if in_end else self.deadlines.step
        row = self.link.wait(number, seconds, transcript.place)
        if "error" not in row:
            transcript.take(row)
            return
        log = "; ".join(line for line in row.get("log", []) if "vda" in line)
        message = f"{row['error']}" + (f": {log}" if log else "")
        if transcript.trace() is None:
            config = transcript.workload.config
            raise MountRefusedError(f"the kernel does not mount {config.name}: {message}")
        raise MountLostError(message)

    def _judged_by_others(self, transcript: Transcript) -> Trace:
        """Add what e2fsck and debugfs say about the image that the kernel left."""
        trace = transcript.trace()
        assert trace is not None and transcript.final is not None
        path = Path(self.disk.path)
        names = sorted(transcript.final.observation.files)
        final = msgspec.structs.replace(
            transcript.final, fsck=mkfs.fsck(path), disk_blocks=mkfs.disk_blocks(path, names)
        )
        return msgspec.structs.replace(trace, final=final)

    def close(self) -> None:
        """End QEMU and free everything."""
        self.dead = True
        self._qemu.close()
        self.link.close()

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
