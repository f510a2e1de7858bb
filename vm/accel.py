"""Which accelerator to use: KVM only after a guest has reached user space with it.

On many nested machines /dev/kvm opens, creates a virtual machine, and the guest then
never executes an instruction, so access to the file proves nothing. The verdict is kept
in the cache for this boot of the host, the QEMU version and the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from vm import cache
from vm.channel import Channel
from vm.console import Console
from vm.errors import ChannelError, MachineryError, QemuError
from vm.qemu import Machine, Qemu, qemu_version

__all__ = ["Accelerator", "choose_accelerator", "probe"]

DEVICE = Path("/dev/kvm")
DEADLINE = 15.0
"""Seconds in which a guest with KVM must reach user space; a second or two is usual."""
SILENCE = 5.0
"""Seconds after which a guest that has said nothing at all is given up."""
_TALK = ("earlyprintk=serial,ttyS0,115200", "ignore_loglevel")


class Accelerator(msgspec.Struct, frozen=True):
    """`name` is `kvm` or `tcg`; `reason` says in a few words why."""

    name: str
    reason: str


def choose_accelerator(
    wanted: str, machine: Machine, kernel: str, probe: Callable[[Machine], str] | None = None
) -> Accelerator:
    """The accelerator for `machine`, whose kernel's identity is `kernel`.

    `wanted` is `kvm` or `tcg`, which is taken as said, or `auto`. `probe` returns why KVM
    does not work, or nothing. No failure of the probe leaves here: it means TCG.
    """
    if wanted != "auto":
        return Accelerator(wanted, "as asked for")
    if not DEVICE.exists():
        return Accelerator("tcg", f"there is no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Accelerator("tcg", f"no permission to use {DEVICE}; join the group kvm")
    key = cache.key_of("accel", cache.this_boot(), qemu_version(), kernel)
    with cache.locked(cache.cache_root() / "accel" / f"{key}.lock"):
        path = cache.cache_root() / "accel" / f"{key}.json"
        known = _remembered(path)
        if known is None:
            trouble = (probe or _probe)(machine)
            found = f"KVM does not work here: {trouble}"
            known = Accelerator("tcg", found) if trouble else Accelerator("kvm", "probed")
            _remember(path, known)
    return known


def _remembered(path: Path) -> Accelerator | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Accelerator)
    except (OSError, msgspec.MsgspecError):
        return None


def _remember(path: Path, verdict: Accelerator) -> None:
    with cache.disk_errors(path.parent):
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(verdict))
        temporary.replace(path)


def probe(machine: Machine, deadline: float = DEADLINE, silence: float = SILENCE) -> str:
    """Why `machine` does not reach user space with KVM within `deadline` seconds; '' if it does.

    Ends early when QEMU ends, when its state is `internal-error`, and when the guest has
    said nothing for `silence` seconds. Nothing is left running.
    """
    with_kvm = replace(machine, accel="kvm", disk=None, tap=None, extra=(*machine.extra, *_TALK))
    try:
        qemu = Qemu(with_kvm)
    except QemuError as error:
        return str(error)
    channel, console = Channel(qemu.agent), Console(qemu.console, qemu.log)
    try:
        qemu.control.resume()
        return _follow(qemu, channel, console, deadline, silence)
    except QemuError as error:  # QEMU's connections close a moment before it ends
        words = qemu.last_words()
        return f"QEMU ended: {words}" if words else str(error)
    except MachineryError as error:
        return str(error)
    finally:
        qemu.close()
        channel.close()
        console.close()


_probe = probe


def _follow(qemu: Qemu, channel: Channel, console: Console, deadline: float, silence: float) -> str:
    began = time.monotonic()
    while time.monotonic() < began + deadline:
        console.follow()
        alive = channel.receive()
        if channel.next(None) is not None:
            return ""
        if console.fatal:
            return console.fatal
        if not qemu.running or not alive:
            return f"QEMU ended: {qemu.last_words()}"
        state = qemu.control.status()
        if state != "running":
            return f"QEMU's state became {state}"
        if not console.size and time.monotonic() > began + silence:
            return f"it said nothing for {silence:g} s"
        time.sleep(0.1)
    if channel.pending:
        raise ChannelError("half a line on the agent's channel")
    return f"not in user space after {deadline:g} s; last: {console.last_words(1)}"
