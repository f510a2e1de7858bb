"""A disk that stops taking writes in the middle of a workload: what can be said, and what not.

QEMU's blkdebug layer lets the first writes pass and fails each later one with EIO (`ext4diff
run --fail-writes-after N`). The model knows no failing disk. So the steps before the first
failed write are compared as ever; that step and all that follow are not, and the verdict
counts them. Two things are held against the kernel all the same: that it panics, hangs or
warns of itself, and that e2fsck can't make whole what is then on the disk. The disk has
taken a prefix of what was written, in order, as if the power had failed there.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.machine import GuestSide
from harness.runner import Runner
from harness.sides import Choice
from harness.trace import Complaint, ComplaintKind, Final, Placement, Trace
from harness.verdict import Compared, Mismatch
from vm import mkfs
from vm.errors import MountLostError
from vm.guest import Guest
from vm.guests import Guests
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.qemu import Devices
from workloads.syntax import format_op
from workloads.workload import Workload

__all__ = ["MOST_WRITES", "REASON", "FailingDisk", "FailingRunner"]

MOST_WRITES = 1000
"""Writes that a disk can be told to take; QEMU learns of each by its command line."""
REASON = "the disk has failed"
_OF_THE_DISK = (
    ComplaintKind.EXT4, ComplaintKind.EXT4_ERROR, ComplaintKind.EXT4_WARNING, ComplaintKind.IO,
    ComplaintKind.JBD2,
)  # fmt: skip
"""Complaints that a failing disk brings about on a kernel without bugs."""
_ERRORS = ("EIO", "EROFS")
"""What operations return once a write has failed, or the journal has been given up for it."""


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


class FailingDisk(GuestSide):
    """A kernel in a guest whose disk takes `writes` writes: a new guest for each workload."""

    def __init__(self, choice: Choice, writes: int) -> None:
        super().__init__(choice)
        if not 0 <= writes <= MOST_WRITES:
            raise UsageError(f"--fail-writes-after takes a number from 0 to {MOST_WRITES}")
        self.writes = writes

    def starter(self, kernel: Kernel, files: BootFiles) -> Guests:
        """What starts its guests."""
        return _Starter(kernel, self.choice.accel, files, self.writes)

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        """What the kernel does; the end is only what e2fsck and the log say, if the disk failed.

        Raises what `GuestSide.run` does, but for a mount that fails with the disk.
        """
        self._end_guest()
        try:
            trace = super().run(workload, placement, quirks)
            said = trace.final.log if trace.final is not None else None
        except MountLostError as error:
            if error.trace is None or failed_at(error.trace, error.complaints) is None:
                raise
            trace, said = error.trace, error.complaints
        if failed_at(trace, said or ()) is None:
            return trace
        end = Final(trace.steps[-1].observation, fsck=self._recovered(), log=said)
        return msgspec.structs.replace(trace, final=end)

    def _recovered(self) -> str:
        """What e2fsck can't repair by itself of what the disk holds; "" if nothing."""
        assert self._guest is not None
        with tempfile.TemporaryDirectory(prefix="ext4diff-failing-") as folder:
            copy = Path(folder) / "disk.img"
            self._guest.disk.copy_to(copy)
            return mkfs.recover(copy)

    def header(self) -> list[str]:
        """Also that the disk fails."""
        return [*super().header(), f"the disk takes {self.writes} writes, then fails"]


def failed_at(trace: Trace, said: tuple[Complaint, ...]) -> int | None:
    """The step in which the first write failed, one past the last if after it; None if none."""
    steps = [len(trace.steps) if c.step is None else c.step for c in said if _of_io(c)]
    if not steps:
        return None
    results = (n for n, step in enumerate(trace.steps) if step.result in _ERRORS)
    return min(*steps, next(results, len(trace.steps)))


def _of_io(complaint: Complaint) -> bool:
    return complaint.kind is ComplaintKind.IO


class FailingRunner(Runner):
    """Compares up to the first failed write."""

    def _judge(self, workload: Workload, actual: Trace) -> Compared:
        said = (actual.final.log if actual.final is not None else None) or ()
        failed = failed_at(actual, said)
        if failed is None:
            return super()._judge(workload, actual)
        short = msgspec.structs.replace(workload, ops=workload.ops[:failed])
        steps = actual.steps[:failed]
        before = msgspec.structs.replace(actual, workload=short, steps=steps, final=None)
        compared = super()._judge(short, before)
        verdict = compared.verdict
        verdict = msgspec.structs.replace(
            verdict,
            workload=workload,
            mismatches=(*verdict.mismatches, *self._against_it(actual)),
            not_compared={**verdict.not_compared, **_left_out(len(workload.ops) - failed)},
            note=_told(workload, failed),
        )
        expected = compared.expected
        if expected is not None:
            expected = msgspec.structs.replace(expected, final=None)
        return Compared(verdict, expected, actual)

    def _against_it(self, actual: Trace) -> list[Mismatch]:
        """What a failing disk does not excuse."""
        assert actual.final is not None
        found = [
            Mismatch("final", "", None, "log", "no complaint", complaint)
            for complaint in actual.final.log or ()
            if complaint.kind not in _OF_THE_DISK
        ]
        if actual.final.fsck:
            found.append(Mismatch("final", "", None, "fsck", "", actual.final.fsck))
        return found


def _told(workload: Workload, failed: int) -> str:
    place = "after the last step"
    if failed < len(workload.ops):
        place = f"in step {failed + 1} ({format_op(workload.ops[failed], failed)})"
    return f"the disk failed {place}, from where on nothing is compared"


def _left_out(steps: int) -> dict[tuple[str, str], int]:
    """What is not compared if the last `steps` and the end are not."""
    return {("step", REASON): steps, ("end", REASON): 1} if steps else {("end", REASON): 1}
