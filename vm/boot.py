"""Bringing a guest up: its machine, its connections, its agent's first words, its netconsole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vm.boot_failure import boot_failure
from vm.channel import PROTOCOL, Channel, Row
from vm.console import Console
from vm.disk import Disk
from vm.errors import (
    AgentDiedError,
    BootTimeoutError,
    ChannelError,
    GuestHangError,
    KernelError,
    KernelPanicError,
    QemuError,
)
from vm.initramfs import BootFiles
from vm.link import Link
from vm.log.lines import read_lines
from vm.netlog import NetLog
from vm.network import Network
from vm.qemu import Machine, Qemu

__all__ = [
    "MEMORY", "TCG_FACTOR", "Deadlines", "first_words", "make_link", "make_machine",
    "start_netconsole",
]  # fmt: skip

Ask = Callable[[Row, float, str], Row]
"""Sends the agent a request and returns its answer: request, seconds to wait, what it is."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds that the guest gets: to boot, for one operation, for one part of the end."""

    boot: float = 30.0
    step: float = 60.0
    end: float = 60.0

    def scaled(self, factor: float) -> Deadlines:
        """All of them times `factor`."""
        return Deadlines(self.boot * factor, self.step * factor, self.end * factor)


MEMORY = 384
"""MiB of a guest: three times what the largest image needs. Filling it costs boot time."""

TCG_FACTOR = 3.0
"""How much more time an emulated guest gets, on a machine that has other work too."""


def make_machine(
    files: BootFiles,
    disk: Disk,
    memory: int = MEMORY,
    cpus: int = 1,
    memory_file: str | None = None,
) -> Machine:
    """What QEMU runs: `files` with `disk`, `memory` MiB (that of a file, if given) and `cpus`."""
    return Machine(
        files.kernel, files.initramfs, disk.path, memory=memory, cpus=cpus, memory_file=memory_file
    )


def make_link(qemu: Qemu, network: Network | None = None) -> Link:
    """The connections to the guest in `qemu`, with netconsole's if it has a `network`."""
    log = NetLog(network.socket) if network is not None else None
    return Link(Channel(qemu.agent), Console(qemu.console, qemu.log), qemu, log)


def first_words(link: Link, seconds: float) -> Row:
    """What the agent says of its kernel as soon as it runs, for which it has `seconds`.

    Raises `BootTimeoutError`, `QemuError` or `KernelError` with the console's last words and
    the remedy if it never does, `ChannelError` if it is another agent than ours.
    """
    try:
        hello = link.wait(None, seconds, "boot")
    except GuestHangError as error:
        reason = f"the guest did not boot: {error}"
        raise BootTimeoutError(boot_failure(reason, link.console)) from error
    except QemuError as error:
        reason = f"the guest did not boot: {error}"
        raise QemuError(boot_failure(reason, link.console)) from error
    except (KernelPanicError, AgentDiedError) as error:
        reason = f"the kernel does not boot here: {error}"
        raise KernelError(boot_failure(reason, link.console)) from error
    if hello.get("hello") != PROTOCOL:
        raise ChannelError(
            f"the guest's agent speaks version {hello.get('hello')} of the protocol, this ext4diff"
            f" version {PROTOCOL}: its files are of two versions; install it again"
        )
    return hello


def start_netconsole(ask: Ask, network: Network, seconds: float) -> str:
    """Make the guest behind `ask` send its log by UDP; why it does not, or "".

    Whether it does is what the kernel's log says, not that nothing failed: it may have
    netconsole as a module, built in, or not at all.
    """
    what = "setting up netconsole"
    parameters = {"netconsole": network.netconsole}
    ask({"cmd": "modules", "group": "net", "parameters": parameters}, seconds, what)
    log = ask({"cmd": "log"}, seconds, what)["done"]
    lines = [line.text for line in read_lines(log) if "netconsole" in line.text]
    if any("network logging started" in line for line in lines):
        return ""
    return f"no netconsole: {lines[-1] if lines else 'the kernel has none'}"
