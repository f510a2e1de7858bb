"""A disk that stops taking writes in the middle of a workload.

QEMU's blkdebug layer lets the first writes pass and fails each later one with EIO (`ext4diff
run --fail-writes-after N`). The disk has then taken a prefix of what was written, in order, as if
the power had failed there.
"""

from __future__ import annotations

import functools

from harness.errors import UsageError
from harness.sides.failing import Failing, Failure
from harness.sides.side import Choice
from harness.trace import Complaint, ComplaintKind
from vm.guest import Guest
from vm.guests import Guests
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.qemu import Devices

__all__ = ["DISK", "MOST_WRITES", "FailingDisk"]

MOST_WRITES = 1000
"""Writes that a disk can be told to take; QEMU learns of each by its command line."""
_OF_THE_DISK = (
    ComplaintKind.EXT4, ComplaintKind.EXT4_ERROR, ComplaintKind.EXT4_WARNING, ComplaintKind.IO,
    ComplaintKind.JBD2,
)  # fmt: skip
"""Complaints that a failing disk brings about on a kernel without bugs."""
_ERRORS = ("EIO", "EROFS")
"""What operations return once a write has failed, or the journal has been given up for it."""


class _Disk(Failure):
    """The disk takes no write any more."""

    reason = "the disk has failed"

    def tells(self, complaint: Complaint) -> bool:
        """The block layer's words."""
        return complaint.kind is ComplaintKind.IO

    def excuses(self, complaint: Complaint) -> bool:
        """What ext4, jbd2 and the block layer say."""
        return complaint.kind in _OF_THE_DISK

    def told(self, said: Complaint, place: str) -> str:  # noqa: ARG002
        """That it failed."""
        return f"the disk failed {place}"

    def returned(self, result: object) -> bool:
        """An error of I/O, or of a file system that has given up."""
        return result in _ERRORS


DISK = _Disk()


class _Starter(Guests):
    """Starts guests whose disk takes `writes` writes."""

    def __init__(self, kernel: Kernel, accel: str, files: BootFiles, writes: int) -> None:
        super().__init__(kernel, accel, files, always_boot=True)
        self._boot = functools.partial(
            Guest.start, kernel, accel, files, devices=Devices(writes=writes)
        )

    def start(self, cpus: int = 1) -> Guest:
        """A guest that has booted."""
        return self._boot(cpus=cpus)


class FailingDisk(Failing):
    """A kernel in a guest whose disk takes `writes` writes."""

    failure = DISK

    def __init__(self, choice: Choice, writes: int) -> None:
        super().__init__(choice)
        if not 0 <= writes <= MOST_WRITES:
            raise UsageError(f"--fail-writes-after takes a number from 0 to {MOST_WRITES}")
        self.writes = writes

    def starter(self, kernel: Kernel, files: BootFiles) -> Guests:
        """What starts its guests."""
        return _Starter(kernel, self.choice.accel, files, self.writes)

    def header(self) -> list[str]:
        """Also that the disk fails."""
        return [*super().header(), f"the disk takes {self.writes} writes, then fails"]
