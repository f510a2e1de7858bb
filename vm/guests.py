"""Starts the guests of one kernel: from a snapshot, or by booting where that can't be."""

from __future__ import annotations

from vm.boot import MEMORY
from vm.errors import SnapshotError
from vm.guest import Guest
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.snapshot import Snapshot

__all__ = ["Guests"]


class Guests:
    """Guests of `kernel` with `files`. `close` frees what is kept for the next ones.

    `always_boot` makes no use of snapshots. `memory` is that of each guest in MiB,
    `program_time` the seconds that it gets for a workload, if they are limited.
    """

    def __init__(
        self,
        kernel: Kernel,
        accel: str,
        files: BootFiles,
        *,
        always_boot: bool = False,
        memory: int = MEMORY,
        program_time: float | None = None,
    ) -> None:
        self._kernel, self._accel, self._files = kernel, accel, files
        self._memory, self._program_time = memory, program_time
        self._snapshots: dict[int, Snapshot] = {}
        self.no_snapshots = "not asked for" if always_boot else ""

    def start(self, cpus: int = 1) -> Guest:
        """A guest with `cpus`. Raises what `Guest.start` raises.

        After one failure snapshots are not tried again; `no_snapshots` says why.
        """
        guest = self._started(cpus)
        if self._program_time is not None:
            guest.program_time = self._program_time
        return guest

    def _started(self, cpus: int) -> Guest:
        if not self.no_snapshots:
            try:
                return self._snapshot(cpus).guest()
            except SnapshotError as error:
                self.no_snapshots = str(error)
        start = Guest.start
        return start(self._kernel, self._accel, self._files, memory=self._memory, cpus=cpus)

    def _snapshot(self, cpus: int) -> Snapshot:
        if cpus not in self._snapshots:
            parts = (self._kernel, self._accel, self._files)
            self._snapshots[cpus] = Snapshot.of(*parts, cpus, self._memory)
        return self._snapshots[cpus]

    def close(self) -> None:
        """Free the memory of the snapshots, once the guests are closed."""
        for snapshot in self._snapshots.values():
            snapshot.close()
        self._snapshots.clear()
