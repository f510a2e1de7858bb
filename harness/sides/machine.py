"""A kernel in a guest as a side of a comparison."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from harness.errors import MachineryError, UsageError
from harness.image.look import cut_back, with_image
from harness.sides.evidence import keep_evidence
from harness.sides.side import NO_IOMAP, Choice, Side, on_path
from harness.trace import Complaint, ComplaintKind, Placement, Trace
from vm import cache
from vm.errors import KernelPanicError, ListenerError, MountRefusedError
from vm.guest import Guest
from vm.guests import Guests
from vm.host_tools import ensure_host_tools
from vm.initramfs import BootFiles, boot_files
from vm.kernel import Kernel, resolve_kernel
from vm.kernels.identity import KernelIdentity
from vm.qemu import qemu_version
from workloads.ops import Shutdown, calls
from workloads.workload import Workload

__all__ = ["GuestSide"]


_EACH_TIME = (ComplaintKind.EXT4, ComplaintKind.EXT4_WARNING)
_REASON = 110
"""Characters of the header that the reason for the accelerator may take."""


class Facts(msgspec.Struct, frozen=True):
    """What is known of a kernel here only after it has booted."""

    release: str
    qemu: str
    accel: str
    accel_reason: str
    netconsole: str
    buffered_iomap: bool
    kernel: KernelIdentity


class GuestSide(Side):
    """A kernel in a guest, which is replaced when it is dead.

    `path` forces one of the two paths on every workload.
    """

    FAILED_STARTS = 2
    """Starts that may fail in a row before the side is given up."""

    def __init__(self, choice: Choice, path: str | None = None) -> None:
        self.name = path or "guest"
        self.forced_path = path
        self.choice = choice
        self._kernel: Kernel | None = None
        self._guests: Guests | None = None
        self._facts: Facts | None = None
        self._guest: Guest | None = None
        self._failed_starts = 0
        self._cpus = 1
        self._report = ""

    # --- coming up --------------------------------------------------------------------

    def prepare(self) -> None:
        """Get QEMU, kernel, initramfs and, unless remembered, a first boot's facts."""
        ensure_host_tools()
        choice = self.choice
        self._kernel = resolve_kernel(choice.kernel, choice.mirror, choice.refresh)
        files = boot_files(self._kernel, mirror=choice.mirror, refresh=choice.refresh)
        self._guests = self.starter(self._kernel, files)
        path = self._facts_path(self._kernel)
        self._facts = _remembered(path)
        if self._facts is None:
            self._facts = _facts(self._alive())
            with cache.disk_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(msgspec.json.encode(self._facts))
        if self.forced_path is not None and not self._facts.buffered_iomap:
            raise UsageError(f"--against path: {NO_IOMAP}: {self._facts.release}")

    def starter(self, kernel: Kernel, files: BootFiles) -> Guests:
        """What starts its guests."""
        choice = self.choice
        return Guests(
            kernel, choice.accel, files, always_boot=choice.always_boot, memory=choice.memory,
            program_time=choice.program_time,
        )  # fmt: skip

    def _facts_path(self, kernel: Kernel) -> Path:
        user = str(os.geteuid())
        words = (
            kernel.identity,
            kernel.source,
            qemu_version(),
            self.choice.accel,
            cache.this_boot(),
            user,
        )
        key = cache.key_of(*words)
        return cache.cache_root() / "facts" / f"{key}.json"

    def _alive(self, cpus: int = 1) -> Guest:
        """The guest, a new one if there is none with `cpus` or if it is dead."""
        if self._guest is not None and not self._guest.dead and self._cpus == cpus:
            return self._guest
        self._end_guest()
        began = time.monotonic()
        try:
            self._guest = self._started(cpus)
        except Exception:
            self._failed_starts += 1
            raise
        finally:
            self.starting += time.monotonic() - began
        self._failed_starts, self._cpus = 0, cpus
        return self._guest

    def _started(self, cpus: int) -> Guest:
        """A new guest."""
        if self._guests is None:
            raise MachineryError("the guest was not prepared")
        return self._guests.start(cpus)

    def usable(self) -> bool:
        """False once two starts in a row have failed."""
        return self._failed_starts < self.FAILED_STARTS

    def close(self) -> None:
        """End the guest, and free what was kept to start others."""
        self._end_guest()
        if self._guests is not None:
            self._guests.close()

    def _end_guest(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    # --- running ----------------------------------------------------------------------

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,  # noqa: ARG002
        quirks: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Trace:
        """What the kernel does. Raises `KernelPanicError` and other `MachineryError`s."""
        guest = self._alive(workload.cpus)
        self._report = ""
        began, judging = time.monotonic(), guest.judging
        try:
            trace = guest.run(on_path(workload, self.forced_path), observe=self.observe)
        except KernelPanicError as error:
            guest.dead = True
            self._report = error.report
            raise
        except (ListenerError, MountRefusedError, UsageError):
            raise
        except BaseException:  # Ctrl-C too: what the guest is at is not known any more
            guest.dead = True
            raise
        finally:
            self.working += time.monotonic() - began - (guest.judging - judging)
            self.imaging += guest.judging - judging
        if trace.final is not None and _once_only(trace.final.log):
            guest.dead = True
        if trace.final is None:
            return trace
        shut_down = any(isinstance(op, Shutdown) for op in calls(workload.ops))
        disk = Path(guest.disk.path)
        began = time.monotonic()
        final = with_image(trace.final, disk, workload.config, shut_down, cut_back(trace))
        self.imaging += time.monotonic() - began
        return msgspec.structs.replace(trace, final=final)

    def save_evidence(self, directory: Path) -> None:
        """The disk's image, logs, the kernel's configuration, QEMU's command line."""
        if self._guest is not None and self._kernel is not None:
            keep_evidence(directory, self.name, self._guest, self._kernel, self._report)

    def command(self) -> tuple[str, ...]:
        """QEMU's program and arguments."""
        return self._guest.command if self._guest is not None else ()

    # --- what it is -------------------------------------------------------------------

    def knows_iomap(self) -> bool:
        """Whether the kernel knows the mount option `buffered_iomap`."""
        return self._facts is not None and self._facts.buffered_iomap

    def release(self) -> str | None:
        """What its kernel's uname says."""
        return None if self._facts is None else self._facts.release

    def header(self) -> list[str]:
        """Kernel, QEMU, accelerator, netconsole."""
        if self._facts is None or self._kernel is None:
            return []
        facts = self._facts
        reason = facts.accel_reason.split(" | ")[0]
        reason = reason if len(reason) <= _REASON else f"{reason[: _REASON - 4]} ..."
        return [
            f"kernel {facts.release} ({self._kernel.source}){_build(facts.kernel)}",
            f"QEMU {facts.qemu}, {facts.accel} ({reason})",
            facts.netconsole or "netconsole carries the kernel's log",
        ]

    def identity(self) -> dict[str, str]:
        """The same, for programs, with the kernel's checksum."""
        if self._facts is None or self._kernel is None:
            return {}
        facts = msgspec.to_builtins(self._facts)
        known = facts.pop("kernel")
        known["series"] = "; ".join(known.get("series", ()))
        said = {name: str(value) for name, value in (*facts.items(), *known.items()) if value != ""}
        return {**said, "kernel": self._kernel.source, "sha256": self._kernel.sha256}


def _once_only(said: tuple[Complaint, ...] | None) -> bool:
    """Whether a kernel that has `said` this may keep quiet the next time, as after a WARN_ONCE.

    What ext4_msg and ext4_warning say comes again with each file system: their limits of rate
    are those of a mount (s_msg_ratelimit_state, s_warning_ratelimit_state in fs/ext4/super.c).
    """
    return any(complaint.kind not in _EACH_TIME for complaint in said or ())


def _build(kernel: KernelIdentity) -> str:
    """The part of the header that tells kernels of one release apart."""
    patches = f", a series of {len(kernel.series)}" if kernel.series else ""
    return f", build id {kernel.build_id[:12]}{patches}" if kernel.build_id else patches


def _facts(guest: Guest) -> Facts:
    identity = guest.identity
    return Facts(
        release=identity.release,
        qemu=identity.qemu,
        accel=identity.accel.name,
        accel_reason=identity.accel.reason,
        netconsole=identity.netconsole,
        buffered_iomap=guest.knows_buffered_iomap,
        kernel=identity.kernel,
    )


def _remembered(path: Path) -> Facts | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Facts)
    return None
