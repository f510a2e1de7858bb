"""A guest while it lives: its start, what it is, requests to its agent, its end."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

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
    MachineryError,
    QemuError,
)
from vm.identity import identify
from vm.initramfs import BootFiles, boot_files
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity
from vm.link import Link
from vm.network import Network, try_network
from vm.qemu import Devices, Machine, Qemu, qemu_version
from vm.symbols import Symbols

__all__ = ["Identity", "LiveGuest"]


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


class LiveGuest:
    """A guest that is up, in QEMU. Make one with `start`; it is a context manager.

    After an error of `ask` the guest is `dead`: close it and start another. It owns `qemu`,
    `link` and `disk`.
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
        self._closed = False
        self.hello: Row = {}
        self.kernel = KernelIdentity()
        self.symbols: Symbols | None = None
        self._number = 0

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

    def reset_disk(self, base: Path) -> None:
        """Make the disk equal to the image `base`, while nothing is mounted: `Disk.reset`."""
        self.disk.reset(base, self._qemu.written())

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
