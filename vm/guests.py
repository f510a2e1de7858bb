"""Starts the guests of one kernel: from a snapshot, or by booting where that can't be."""

from __future__ import annotations

from vm.errors import SnapshotError
from vm.guest import Guest
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.snapshot import Snapshot

__all__ = ["Guests"]


class Guests:
    """Guests of `kernel` with `files`. `close` frees what is kept for the next ones.

    `always_boot` makes no use of snapshots.
    """

    def __init__(
        self, kernel: Kernel, accel: str, files: BootFiles, *, always_boot: bool = False
    ) -> None:
        self._kernel, self._accel, self._files = kernel, accel, files
        self._snapshots: dict[int, Snapshot] = {}
        self.no_snapshots = "not asked for" if always_boot else ""

    def start(self, cpus: int = 1) -> Guest:
        """A guest with `cpus`. Raises what `Guest.start` raises.

        After one failure snapshots are not tried again; `no_snapshots` says why.
        """
        if not self.no_snapshots:
            try:
                return self._snapshot(cpus).guest()
            except SnapshotError as error:
                self.no_snapshots = str(error)
        return Guest.start(self._kernel, self._accel, self._files, cpus=cpus)

    def _snapshot(self, cpus: int) -> Snapshot:
        if cpus not in self._snapshots:
            found = Snapshot.of(self._kernel, self._accel, self._files, cpus)
            self._snapshots[cpus] = found
        return self._snapshots[cpus]

    def close(self) -> None:
        """Free the memory of the snapshots, once the guests are closed."""
        for snapshot in self._snapshots.values():
            snapshot.close()
        self._snapshots.clear()
