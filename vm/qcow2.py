"""Disks in QEMU's own format: only they can hold the snapshots that replaying begins with.

QEMU itself makes and reads them, as a machine without anything that is told by its control
connection what to do; so no further program is needed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from vm.control import Control
from vm.errors import QemuError
from vm.qemu import Machine, Qemu

__all__ = ["flatten", "make_overlay"]

_SECONDS = 60.0


class _NoMachine(Machine):
    """A QEMU that runs nothing."""

    def arguments(self, fds: dict[str, int]) -> list[str]:
        """QEMU's arguments."""
        return [
            "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S",
            "-chardev", f"socket,id=qmp,fd={fds['qmp']}", "-mon", "chardev=qmp,mode=control",
        ]  # fmt: skip


@contextlib.contextmanager
def _control() -> Iterator[Control]:
    qemu = Qemu(_NoMachine(Path(), Path(), None))
    try:
        yield qemu.control
    finally:
        qemu.close()
        qemu.console.close()
        qemu.agent.close()


def _job(control: Control, command: str, **arguments: object) -> None:
    """Run a command that QEMU works on for a while. Raises `QemuError` if it fails."""
    control.execute(command, **{"job-id": "job", **arguments})
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        jobs = control.execute("query-jobs")
        if jobs and jobs[0]["status"] == "concluded":
            control.execute("job-dismiss", id="job")
            if "error" in jobs[0]:
                raise QemuError(f"QEMU's {command} failed: {jobs[0]['error']}")
            return
        time.sleep(0.02)
    raise QemuError(f"QEMU's {command} did not end within {_SECONDS:g} s")


def make_overlay(path: Path, base: str, size: int) -> None:
    """Make the disk `path` of `size` bytes; what nobody has written is in the raw file `base`,
    a name relative to its directory. Raises `QemuError`."""
    with _control() as control:
        name = str(path)
        _job(control, "blockdev-create", options={"driver": "file", "filename": name, "size": 0})
        file = {"node-name": "file", "driver": "file", "filename": name}
        control.execute("blockdev-add", **file)
        options = {"driver": "qcow2", "file": "file", "size": size}
        backing = {"backing-file": base, "backing-fmt": "raw"}
        _job(control, "blockdev-create", options={**options, **backing})


def flatten(path: Path, target: str) -> None:
    """Write what the disk `path` holds into the file `target`, which is as large.

    Raises `QemuError`.
    """
    with _control() as control:
        source = {"node-name": "source", "driver": "qcow2", "read-only": True}
        file = {"driver": "file", "filename": str(path), "locking": "off"}
        control.execute("blockdev-add", **source, file=file)
        raw = {"driver": "file", "filename": target, "locking": "off"}
        control.execute("blockdev-add", **{"node-name": "target", "driver": "raw"}, file=raw)
        # it would go by itself before its end was looked at
        keep = {"auto-dismiss": False}
        _job(control, "blockdev-backup", device="source", target="target", sync="full", **keep)
