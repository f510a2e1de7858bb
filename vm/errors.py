"""What can go wrong below the file system, one class per cause.

All are `MachineryError` (exit status 3) except where the user's input is to blame. Each
message is one line that ends, where possible, with what to do next.
"""

from __future__ import annotations

from harness.errors import MachineryError, UsageError
from harness.trace import Trace

__all__ = [
    "CacheError",
    "DownloadError",
    "FileSystemToolError",
    "HostToolError",
    "ImageError",
    "KernelError",
    "KernelPanicError",
    "MachineryError",
    "UsageError",
]


class CacheError(MachineryError):
    """The cache directory can't be used: not writable, or the disk is full."""


class DownloadError(MachineryError):
    """A package or a package list could not be fetched or verified."""


class HostToolError(MachineryError):
    """A program is missing on the host, or failed; the message gives the apt command."""


class FileSystemToolError(MachineryError):
    """mke2fs, e2fsck or debugfs failed for a reason that is not the image's options."""


class ImageError(UsageError):
    """No file system can be made as the image describes it: too small, unknown feature."""


class KernelError(UsageError):
    """The file given as a kernel is none, or lacks what the guest needs."""


class KernelPanicError(MachineryError):
    """The guest's kernel panicked: a finding about the kernel, unlike its siblings here.

    `trace` holds what was seen before it, None if nothing was.
    """

    def __init__(self, message: str, trace: Trace | None = None) -> None:
        super().__init__(message)
        self.trace = trace
