"""A guest that has booted, kept: others go on from there instead of booting.

The guest's memory is a file without a name that its QEMU shares. QEMU saves the state of
the rest of the machine (a migration that leaves shared memory out), and ends. Each QEMU that
goes on maps the same file privately, so that only what a guest writes is copied. All guests
of one snapshot draw the same random numbers and have the same addresses on their network;
their clock is set anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from vm import cache
from vm.accel import Accelerator
from vm.boot import MEMORY, make_machine
from vm.channel import Row
from vm.control import Control
from vm.disk import Disk
from vm.errors import CacheError, MachineryError, QemuError, SnapshotError
from vm.guest import Guest
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.memory import Memory, Packed
from vm.network import try_network
from vm.qemu import COMMAND_LINE, qemu_version

__all__ = ["Snapshot"]

_KIND = "snapshots"
_VERSION = 1
"""Of what is kept; raise it when the fields of `_Kept` change."""
_KEEP, _DAYS = 3, 7
_LEAVE_MEMORY_OUT = [{"capability": "x-ignore-shared", "state": True}]
_NAME = "state"
_DEADLINE = 20.0
"""Seconds in which QEMU has saved or taken its state; hundredths of one are usual."""
_LOOK = 0.002
_ATTEMPTS = 3
"""Guests that are booted until one has a clock that goes right."""


class _WrongClockError(SnapshotError):
    """The guest that was booted for a snapshot can't tell how fast time goes."""


class _Kept(msgspec.Struct, frozen=True):
    """What the cache keeps: what the guest said, and QEMU's `state`.

    `network` says whether it has one, `netconsole` why that carries no log, or nothing.
    """

    hello: Row
    network: bool
    netconsole: str
    accelerator: Accelerator
    state: bytes
    memory: Packed


class Snapshot:
    """The moment from which guests with `cpus` go on; it owns their `memory`."""

    def __init__(self, kernel: Kernel, files: BootFiles, cpus: int, kept: _Kept, memory: Memory):
        self._kernel, self._files, self._cpus = kernel, files, cpus
        self._kept, self._memory = kept, memory

    @classmethod
    def of(
        cls, kernel: Kernel, accel: str, files: BootFiles, cpus: int = 1, memory: int = MEMORY
    ) -> Snapshot:
        """The cache's, or that of a guest with `memory` MiB that is booted for it.

        Raises what `Guest.start` raises, and `SnapshotError` if this QEMU can't do it.
        """
        path = cache.cache_root() / _KIND / _key(kernel, accel, files, cpus, memory)
        with cache.locked(path.with_name(f".{path.name}.taking")):
            found = _read(path)
            if found is None:
                return cls._taken(lambda: cls._take(kernel, accel, files, cpus, memory, path=path))
        return cls(kernel, files, cpus, *found)

    @staticmethod
    def _taken(take: Callable[[], Snapshot]) -> Snapshot:
        """What `take` makes, of another guest if one has a wrong clock."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(_WrongClockError):
                return take()
        return take()

    @classmethod
    def _take(
        cls, kernel: Kernel, accel: str, files: BootFiles, cpus: int, mebibytes: int, *, path: Path
    ) -> Snapshot:
        with contextlib.ExitStack() as stack:
            memory = Memory(mebibytes << 20)
            stack.callback(memory.close)
            start = Guest.start(
                kernel, accel, files, memory=mebibytes, cpus=cpus, memory_file=memory.path
            )
            guest = stack.enter_context(start)
            if not guest.clock_is_right():  # and it would be in all that go on from here
                raise _WrongClockError("guests that were booted for it had wrong clocks")
            if cpus == 1:
                guest.listen(ahead=True)  # where it fails, each guest tries again, and says why
            try:
                state = _save(guest.control)
            except QemuError as error:
                raise SnapshotError(f"this QEMU keeps no snapshot: {error}") from error
            guest.close()
            kept = _Kept(
                guest.hello, guest.machine.tap is not None, guest.netconsole, guest.accel,
                state, memory.pack(),
            )  # fmt: skip
            _write(path, kept)
            stack.pop_all()
        return cls(kernel, files, cpus, kept, memory)

    def guest(self) -> Guest:
        """A guest that goes on from here. Raises `SnapshotError` if none does."""
        kept = self._kept
        disk = Disk()
        size = self._memory.size >> 20
        machine = make_machine(self._files, disk, size, self._cpus, self._memory.path)
        machine = dataclasses.replace(machine, incoming=True)
        net = try_network()[0] if kept.network else None
        guest = Guest.assemble(machine, disk, kept.accelerator, net)
        try:
            _load(guest.control, kept.state)
            guest.go_on(kept.hello, kept.netconsole)
        except MachineryError as error:
            guest.close()
            raise SnapshotError(f"no guest goes on from the snapshot: {error}") from error
        except BaseException:
            guest.close()
            raise
        guest.recognise(self._kernel)
        return guest

    def close(self) -> None:
        """Free the memory, once no guest uses it; further calls do nothing."""
        self._memory.close()


# --- QEMU ---------------------------------------------------------------------------------


def _save(control: Control) -> bytes:
    """Stop the machine for good; its state without its memory."""
    parts: list[bytes] = []

    def receive(sock: socket.socket) -> None:
        while part := sock.recv(1 << 16):
            parts.append(part)

    control.execute("stop")
    _migrate(control, "migrate", receive)
    return b"".join(parts)


def _load(control: Control, state: bytes) -> None:
    """Put a machine that waits for it into `state`; it stays stopped."""

    def send(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # QEMU says itself why it did not take all
            sock.sendall(state)
            sock.shutdown(socket.SHUT_WR)

    _migrate(control, "migrate-incoming", send)


def _migrate(control: Control, command: str, handle: Callable[[socket.socket], None]) -> None:
    """Run `command` on one end of a connection, and `handle` on the other.

    Raises `QemuError` if QEMU does not complete it.
    """
    ours, theirs = socket.socketpair()
    handler = threading.Thread(target=handle, args=(ours,), name=command, daemon=True)
    with ours:
        with theirs:
            control.execute("migrate-set-capabilities", capabilities=_LEAVE_MEMORY_OUT)
            control.give(_NAME, theirs)
        handler.start()
        try:
            control.execute(command, uri=f"fd:{_NAME}")
            _completed(control)
        finally:
            with contextlib.suppress(OSError):  # it has ended already
                ours.shutdown(socket.SHUT_RDWR)
            handler.join(_DEADLINE)


def _completed(control: Control) -> None:
    """Wait for the migration's end."""
    end = time.monotonic() + _DEADLINE
    while time.monotonic() < end:
        found = control.execute("query-migrate")
        status = found.get("status")
        if status == "completed":
            return
        if status in ("failed", "cancelled"):
            raise QemuError(f"the migration {status}: {found.get('error-desc', 'no reason given')}")
        time.sleep(_LOOK)
    raise QemuError(f"the migration did not end within {_DEADLINE:g} s")


# --- the cache ----------------------------------------------------------------------------


def _key(kernel: Kernel, accel: str, files: BootFiles, cpus: int, memory: int) -> str:
    """A key of all that the state depends on; a host that has booted again is another one."""
    words = (str(_VERSION), str(cpus), str(memory), accel, cache.this_boot(), str(os.geteuid()))
    return cache.key_of(
        kernel.identity, str(files.kernel), str(files.initramfs), qemu_version(),
        *COMMAND_LINE, *words,
    )  # fmt: skip


def _read(path: Path) -> tuple[_Kept, Memory] | None:
    """What was kept, or nothing if it is not there or damaged."""
    try:
        kept = msgspec.msgpack.decode((path / _NAME).read_bytes(), type=_Kept)
        return kept, Memory.unpack(kept.memory)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def _write(path: Path, kept: _Kept) -> None:
    """Keep it; a full disk only means that the next command boots a guest again."""

    def fill(into: Path) -> None:
        (into / _NAME).write_bytes(msgspec.msgpack.encode(kept))

    shutil.rmtree(path, ignore_errors=True)  # damaged
    with contextlib.suppress(CacheError):
        cache.entry(_KIND, path.name, fill)
    cache.prune(_KIND, _KEEP, _DAYS)
