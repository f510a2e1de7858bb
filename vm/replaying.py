"""Replaying a recording (`vm/record_replay.py`): to its end, or under a debugger.

Nothing of the recording is written to: the disk that a replay changes, and the snapshots that
a debugger may have made, are in anonymous memory.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from harness.errors import UsageError
from vm.boot import make_link
from vm.errors import QemuError
from vm.gdb import Stub
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity
from vm.qemu import Devices, Qemu, qemu_version
from vm.record_replay import FILES, RECORDING, VERSION, RecordedMachine, Recording, setup_digest
from vm.shell import with_devices
from vm.tail import content

__all__ = ["kernel_of", "read_recording", "replay"]

_PAUSE = 0.2
PATIENCE = 300.0
"""Seconds after which a machine that has not stopped may never come back from going backwards."""


def read_recording(folder: Path) -> Recording:
    """What is recorded in `folder`.

    Raises `UsageError` if nothing is, if it is not whole, or if this QEMU can't replay it.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if RECORDING in missing:
        raise UsageError(
            f"{folder} is no recording: it has no {RECORDING};"
            " `ext4diff replay ARTIFACT --rr DIR` makes one"
        )
    try:
        found = msgspec.json.decode((folder / RECORDING).read_bytes(), type=Recording)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{folder / RECORDING} can't be read: {error}; record it again") from error
    if found.version != VERSION:
        raise UsageError(
            f"{folder} is of version {found.version} of recordings, this knows {VERSION}; record"
            " it again"
        )
    if missing:
        raise UsageError(f"{folder} is not whole: {', '.join(missing)} missing; record it again")
    if found.qemu != qemu_version():
        raise UsageError(
            f"{folder} was recorded by QEMU {found.qemu}, this is {qemu_version()}: only the same"
            " can replay it; record it again, the artifact is all that it takes"
        )
    if found.machine != setup_digest():
        raise UsageError(
            f"{folder} was recorded on a machine that another version of ext4diff had set up, in"
            " another way: only that version can replay it; record it again, the artifact is all"
            " that it takes"
        )
    return found


def kernel_of(recording: Recording, folder: Path) -> Kernel:
    """The recorded kernel, as far as it is known where it came from, to look for symbols."""
    image = Path(recording.image)
    there = image if image.is_file() else folder / "kernel"
    identity = KernelIdentity(release=recording.release, build_id=recording.build_id)
    return Kernel(there, recording.release, None, recording.source, "", identity)


def replay(folder: Path, stub: Stub | None = None, long: Callable[[], None] = lambda: None) -> bool:
    """Replay the recording in `folder`: whether kernel and agent said the same, byte for byte.

    With a `stub` it waits for the debugger, and ends when that one ends it; `long` is called
    each time that the machine has not stopped for `PATIENCE`. Raises `QemuError` if QEMU ends
    without having come to the end.
    """
    with _machine(folder, stub) as (qemu, told):
        if stub is None:
            qemu.control.resume()
        running = 0.0
        while qemu.running:
            time.sleep(_PAUSE)
            if stub is not None:
                before, running = running, running + _PAUSE if _running(qemu) else 0.0
                if before < PATIENCE <= running:
                    long()
        said = ((told, "agent.log"), (qemu.log, "console.log"))
        return all(content(fd) == (folder / name).read_bytes() for fd, name in said)


def _running(qemu: Qemu) -> bool:
    """Whether the machine runs. To ask has QEMU's main loop look around: going backwards it
    now and then sleeps on with something to do."""
    with contextlib.suppress(QemuError):
        return qemu.control.status() == "running"
    return False


@contextlib.contextmanager
def _machine(folder: Path, stub: Stub | None) -> Iterator[tuple[Qemu, int]]:
    """QEMU, not yet running, and the descriptor of what the agent tells."""
    overlay, told = (os.memfd_create(f"ext4diff-{name}") for name in ("overlay", "told"))
    try:
        with (folder / "disk.qcow2").open("rb") as file:
            _copy(file.fileno(), overlay)
        devices, stays = Devices((), (overlay,)), stub is not None
        if stub is not None:
            devices = with_devices(devices, stub.devices)
        disk = f"/proc/self/fd/{overlay}"
        qemu = Qemu(RecordedMachine.of(folder, "replay", disk, told, devices, stays=stays))
        with contextlib.closing(make_link(qemu)), contextlib.closing(qemu):
            yield qemu, told
    finally:
        os.close(overlay)
        os.close(told)


def _copy(source: int, target: int) -> None:
    while part := os.read(source, 1 << 20):
        os.write(target, part)
