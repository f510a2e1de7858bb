"""What can go wrong below the file system, one class per cause.

All are `MachineryError` (exit status 3) except where the user's input is to blame. Each
message is one line that ends, where possible, with what to do next.
"""

from __future__ import annotations

from harness.errors import MachineryError, UsageError
from harness.trace import Complaint, Trace

__all__ = [
    "AgentDiedError",
    "BootTimeoutError",
    "BuildError",
    "CacheError",
    "ChannelError",
    "DownloadError",
    "FileSystemToolError",
    "GuestHangError",
    "HostToolError",
    "ImageError",
    "KernelError",
    "KernelHangError",
    "KernelPanicError",
    "ListenerError",
    "MachineryError",
    "MountLostError",
    "MountRefusedError",
    "PatchError",
    "QemuError",
    "SnapshotError",
    "SuiteMissingError",
    "UsageError",
]


class CacheError(MachineryError):
    """The cache directory can't be used: not writable, or the disk is full."""


class DownloadError(MachineryError):
    """A package or a package list could not be fetched or verified."""


class HostToolError(MachineryError):
    """A program is missing on the host, or failed; the message gives the apt command."""


class SuiteMissingError(DownloadError):
    """The mirror does not have a suite; another one may do."""


class FileSystemToolError(MachineryError):
    """mke2fs, e2fsck or debugfs failed for a reason that is not the image's options."""


class ImageError(UsageError):
    """No file system can be made as the image describes it: too small, unknown feature."""


class KernelError(UsageError):
    """The file given as a kernel is none, or lacks what the guest needs."""


class BuildError(KernelError):
    """The kernel's source does not compile, or its configuration can't be had."""


class PatchError(KernelError):
    """A series is not whole, or a patch of it does not apply."""


class KernelPanicError(MachineryError):
    """The guest's kernel panicked: a finding about the kernel, unlike its siblings here.

    `trace` holds what was seen before it, None if nothing was; `report` is what the
    kernel said about it, many lines; `complaints` are all of its complaints since the
    workload began, the last one included.
    """

    def __init__(
        self,
        message: str,
        trace: Trace | None = None,
        report: str = "",
        complaints: tuple[Complaint, ...] = (),
    ) -> None:
        super().__init__(message)
        self.trace = trace
        self.report = report
        self.complaints = complaints


class KernelHangError(KernelPanicError):
    """The guest's kernel hangs by its own words: a task blocked in ext4 or jbd2, a lockup.

    A finding about the kernel like a panic; the message says where it is blocked.
    """


class MountLostError(KernelPanicError):
    """The kernel refuses to umount, or to mount again, what it has worked on.

    A finding about the kernel like a panic; the guest is not used again.
    """


class QemuError(MachineryError):
    """QEMU could not be started, or ended by itself; the message has its last words."""


class SnapshotError(MachineryError):
    """No guest can be kept, or go on, in this QEMU; guests have to boot."""


class BootTimeoutError(MachineryError):
    """The guest's agent did not report in time after the start."""


class GuestHangError(MachineryError):
    """The guest stopped answering and its kernel said nothing that would explain it."""


class ChannelError(MachineryError):
    """What came over the channel to the agent is not its protocol: garbage, half a line."""


class AgentDiedError(MachineryError):
    """The agent reported an error of its own, which says nothing about the kernel."""


class ListenerError(MachineryError):
    """What collects quota warnings in the guest does not start; `late` if for want of time."""

    def __init__(self, reason: str, late: bool) -> None:
        todo = (
            "the machine is too busy; run it again with less beside it, or with fewer workers (-n)"
            if late
            else "workloads without quota_set run without it"
        )
        super().__init__(
            f"the guest's listener for quota warnings does not start: {reason}; {todo}"
        )


class MountRefusedError(MachineryError):
    """The kernel refuses to mount the configuration's file system with its options."""
