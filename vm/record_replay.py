"""A guest that QEMU records, so that its run can be replayed instruction by instruction.

QEMU counts instructions (-icount) and records whatever comes from outside at its count. What
comes in by a channel is not recorded, so the workload travels in the initramfs, and the agent
tells what happens on the second serial line. A virtio-serial device would be in the way of
going backwards, and so would a disk that can't hold snapshots.

A recording is a directory with all that replaying takes: `FILES`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.trace import Observe, Placement, Trace
from vm import cache, cpio, mkfs
from vm.accel import Accelerator
from vm.boot import MEMORY, TCG_FACTOR, Deadlines
from vm.boot_failure import lacking_error
from vm.channel import Channel, Row
from vm.console import Console
from vm.disk import Disk
from vm.errors import KernelPanicError, QemuError
from vm.guest import Guest, request_of
from vm.guests import Guests
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.link import Link
from vm.qcow2 import flatten, make_overlay
from vm.qemu import COMMAND_LINE, CPU, Devices, Machine, Qemu, qemu_version
from vm.tail import Tail, content
from vm.transcript import Transcript
from workloads.images import DEVICE_SIZE
from workloads.ops import QuotaSet
from workloads.workload import Workload

__all__ = [
    "FILES", "RECORDING", "RecordedGuest", "RecordedMachine", "Recorder", "Recording",
    "setup_digest",
]  # fmt: skip

RECORDING = "recording.json"
FILES = {
    "kernel": "what QEMU boots",
    "initramfs": "the guest's programs, the agent, and the workload",
    "start.img": "the disk that the workload starts from",
    "disk.qcow2": "what was written to it, and the snapshot that replaying begins with",
    "replay.bin": "what came from outside, and when",
    "console.log": "what the kernel said",
    "agent.log": "what the agent told",
    RECORDING: "which kernel and QEMU it was, and the workload",
}
"""What a recording consists of."""
VERSION = 2
"""1 did not say how the machine was set up."""
SHIFT = 7
"""An instruction takes 2**SHIFT ns of the guest's time, the same on every host; it is what QEMU's
own tests of going backwards take."""
_SLOWER = 3.0
"""How much longer a recorded guest may take than one that is only emulated."""
_END = 60.0
"""Seconds in which the machine powers off."""


class Recording(msgspec.Struct, frozen=True):
    """What is to be known of a recording: what was run, and by which QEMU on which kernel.

    `source` and `image` say where the kernel came from, for its symbols; `step` (from 0) is
    the one that a debugger wants to see. `modular` says that the kernel loads modules,
    `machine` how it was set up, as a digest (`setup_digest`).
    """

    workload: Workload
    qemu: str
    release: str
    build_id: str
    source: str
    image: str
    step: int
    version: int = VERSION
    modular: bool = False
    machine: str = ""

    @property
    def backwards(self) -> bool:
        """Whether going backwards in it is known to come back."""
        return not self.modular


@dataclasses.dataclass(frozen=True)
class RecordedMachine(Machine):
    """A machine whose run is recorded in, or replayed from, the directory `folder`.

    `overlay` is its disk; `told` the descriptor of the file that gets what its agent tells.
    `stays` keeps it, halted, when it powers off, so that a debugger can go back from there.

    Both serial lines go into files: a socket may take a byte later than it came, and QEMU
    would do that again while it replays, at some other moment.
    """

    folder: Path = Path()
    mode: str = "record"
    overlay: str = ""
    told: int = -1
    stays: bool = False

    @classmethod
    def of(
        cls, folder: Path, mode: str, overlay: str, told: int, devices: Devices, **more: Any
    ) -> RecordedMachine:
        """The machine of the recording in `folder`; the others as for the class."""
        kernel, initramfs = folder / "kernel", folder / "initramfs"
        devices = dataclasses.replace(devices, fds=(*devices.fds, told))
        given = {"folder": folder, "mode": mode, "overlay": overlay, "told": told, **more}
        return cls(kernel, initramfs, None, memory=MEMORY, devices=devices, **given)

    def arguments(self, fds: dict[str, int]) -> list[str]:
        """QEMU's arguments."""
        overlay, start = _quoted(self.overlay), _quoted(f"{self.folder}/start.img")
        rr = f"rr={self.mode},rrfile={_quoted(f'{self.folder}/replay.bin')},rrsnapshot=init"
        return [
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
            "-name", "ext4diff", *(("-no-shutdown",) if self.stays else ()),
            "-machine", "pc", "-accel", "tcg", "-cpu", CPU["tcg"],
            "-smp", "1", "-m", str(self.memory), "-icount", f"shift={SHIFT},{rr}",
            "-kernel", str(self.kernel), "-initrd", str(self.initrd),
            "-append", " ".join((*COMMAND_LINE, "8250.nr_uarts=2")),
            "-chardev", f"socket,id=qmp,fd={fds['qmp']}",
            "-mon", "chardev=qmp,mode=control",
            "-chardev", f"file,id=console,path=/proc/self/fd/{fds['log']}",
            "-serial", "chardev:console",
            "-chardev", f"file,id=agent,path=/proc/self/fd/{self.told}",
            "-serial", "chardev:agent",
            "-drive", f"file={overlay},format=qcow2,backing.driver=raw,backing.file.driver=file,"
            f"backing.file.filename={start},if=none,id=kept",
            "-drive", "driver=blkreplay,if=none,image=kept,id=disk",
            "-device", "virtio-blk-pci,drive=disk",
            *self.devices.arguments,
        ]  # fmt: skip


def setup_digest() -> str:
    """A digest of how recorded machines are set up, the kernel's command line included: one that
    is set up in another way would go another way, and wait for what does not come."""
    machine = RecordedMachine.of(Path(), "record", "disk", 0, Devices())
    words = machine.arguments({"qmp": 0, "log": 0})
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _quoted(path: str) -> str:
    """A path as the value of one of QEMU's options."""
    return path.replace(",", ",,")


class RecordedGuest(Guest):
    """A guest for one workload, whose run is recorded into the new directory `folder`, for a
    debugger who wants to see step `step` (from 0).

    `run` boots it; until then it is nothing but a disk.
    """

    def __init__(self, kernel: Kernel, files: BootFiles, folder: Path, step: int) -> None:
        self.disk = Disk()
        self.judging = 0.0
        self._step = step
        self.dead = False
        self._kernel, self._files, self._folder = kernel, files, folder
        self._partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        self._requests: list[Row] = []
        self._booted = False
        self._closed = False

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        *,
        observe: Observe = Observe.STEPS,  # noqa: ARG002 - for people to look at: all is observed
    ) -> Trace:
        """Record `workload`; as `Guest.run`. What the kernel dies of is recorded, too."""
        if self._booted:
            raise UsageError("a recording is of one run")
        if workload.cpus > 1:
            raise UsageError("threads against each other can't be recorded: QEMU replays one CPU")
        try:
            self._start(workload)
            trace = super().run(workload, placement)
        except KernelPanicError:
            self._keep(workload)
            raise
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
            self.dead = True
        return trace

    def _start(self, workload: Workload) -> None:
        """Write what the machine needs, start it, and hear its agent's first words."""
        with cache.disk_errors(self._partial.parent):
            self._partial.mkdir(parents=True)
            self._fill(workload)
        overlay = str(self._partial / "disk.qcow2")
        self._told = told = os.memfd_create("ext4diff-told", os.MFD_CLOEXEC)
        qemu = Qemu(RecordedMachine.of(self._partial, "record", overlay, told, Devices()))
        accel = Accelerator("tcg", "recording counts instructions")
        deadlines = Deadlines().scaled(TCG_FACTOR * _SLOWER)
        self._agent, self._console = Tail(told), Tail(qemu.log)
        link = Link(Channel(self._agent.socket), Console(self._console.socket, qemu.log), qemu)
        super().__init__(qemu, link, self.disk, accel, deadlines)
        self._booted = True
        self.netconsole = "none while a run is recorded"
        self.control.resume()
        self.boot()
        self.recognise(self._kernel)
        if self.hello.get("lacking"):
            raise lacking_error(self._kernel, self.hello["lacking"])

    def _fill(self, workload: Workload) -> None:
        """The files of the recording that are there before it."""
        folder, files = self._partial, self._files
        shutil.copyfile(files.kernel, folder / "kernel")
        rows = list(_requests(workload))
        self._requests = list(rows)
        numbered = [{"id": number, **row, "mark": True} for number, row in enumerate(rows, 1)]
        with (folder / "initramfs").open("wb") as out:
            out.write(files.initramfs.read_bytes())
            out.write(bytes(-out.tell() % 4))  # an archive may follow an archive
            cpio.write_cpio(out, {"requests.json": cpio.file(json.dumps(numbered).encode())})
        self.disk.reset(mkfs.image_file(workload.config.image))
        self.disk.copy_to(folder / "start.img")
        make_overlay(folder / "disk.qcow2", "start.img", DEVICE_SIZE)

    def _send(self, request: Row) -> int:
        """What is asked is in the initramfs already, in this order."""
        known = self._requests.pop(0)
        assert known["cmd"] == request["cmd"]
        self._number += 1
        return self._number

    def _judged_by_others(self, transcript: Transcript) -> Trace:
        """End the recording; then as ever, for which its disk is read."""
        until = time.monotonic() + _END
        while self._qemu.running and time.monotonic() < until:
            time.sleep(0.05)
        if self._qemu.running:
            raise QemuError(f"the machine that is recorded did not power off within {_END:g} s")
        self._keep(transcript.workload)
        flatten(self._folder / "disk.qcow2", self.disk.path)
        return super()._judged_by_others(transcript)

    def _keep(self, workload: Workload) -> None:
        """Make the recording whole: QEMU writes its end when it quits."""
        self._qemu.quit()
        known = Recording(
            workload, qemu_version(), self.release, self.kernel.build_id, self._kernel.source,
            str(self._kernel.image), self._step, modular=self._kernel.modules is not None,
            machine=setup_digest(),
        )  # fmt: skip
        with cache.disk_errors(self._folder.parent):
            (self._partial / "console.log").write_bytes(content(self._qemu.log))
            (self._partial / "agent.log").write_bytes(content(self._told))
            (self._partial / RECORDING).write_bytes(msgspec.json.encode(known))
            self._partial.rename(self._folder)

    def close(self) -> None:
        """End QEMU and free everything; further calls do nothing."""
        if self._booted and not self._closed:
            super().close()
            self._qemu.console.close()
            self._qemu.agent.close()
            self._agent.close()
            self._console.close()
            os.close(self._told)
        elif not self._booted:
            self.disk.close()


def _requests(workload: Workload) -> Iterator[Row]:
    """What `Guest` asks its agent on the way through `workload`, in its order."""
    yield {"cmd": "poison"}
    warnings = any(isinstance(op, QuotaSet) for op in workload.ops)
    if warnings:
        yield {"cmd": "listen", "seconds": 60.0}
    yield {"cmd": "run", **request_of(workload), "warnings": warnings}


class Recorder(Guests):
    """Starts the one guest that is recorded into `folder`, for a debugger who wants to see
    step `step` (from 0)."""

    def __init__(self, kernel: Kernel, files: BootFiles, folder: Path, step: int) -> None:
        super().__init__(kernel, "tcg", files, always_boot=True)
        self._of = (kernel, files, folder, step)

    def start(self, cpus: int = 1) -> Guest:  # noqa: ARG002 - its `run` refuses more than one
        """The guest."""
        return RecordedGuest(*self._of)
