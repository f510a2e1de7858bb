"""The mount: a file system on the block device, its open files and its observers."""

from __future__ import annotations

import fcntl
import os

from . import libc
from .files import Files
from .inode import InodeTable
from .kernel_files import write_file
from .observe import observe, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MountError", "Mounted"]

BLKFLSBUF = 0x1261


class MountError(Exception):
    """A mount or umount failed outside of the workload's own operations.

    `phase` says which (`mount`, `umount`), `number` is the errno, `detail` what still
    holds the file system.
    """

    def __init__(self, phase: str, error: OSError, detail: str = "") -> None:
        super().__init__(f"{phase}: {error}" + (f" ({detail})" if detail else ""))
        self.phase = phase
        self.number = error.errno or 0


class Mounted:
    """Device `device` (`/dev/vda`) mounted on `root` with ext4 `options` and noatime."""

    def __init__(self, device: str, root: str, options: str) -> None:
        self.device = device
        self.root = root
        self.options = options
        self.files = Files(root)
        self.sysfs = f"/sys/fs/ext4/{os.path.basename(device)}"
        self._table: InodeTable | None = None
        self._delalloc = -1

    def mount(self) -> None:
        """Mount; nothing of an earlier content of the device is left in its cache."""
        self._forget_device_cache()
        try:
            libc.mount(self.device, self.root, "ext4", libc.MS_NOATIME, self.options)
        except OSError as error:
            raise MountError("mount", error) from error
        self._say_all()
        self._table = InodeTable(self.device)
        self._delalloc = os.open(
            f"{self.sysfs}/delayed_allocation_blocks", os.O_RDONLY | os.O_CLOEXEC
        )

    def umount(self) -> None:
        """Close every file and unmount."""
        self.files.close_all()
        if self._table is not None:
            self._table.close()
            self._table = None
            os.close(self._delalloc)
        try:
            libc.umount(self.root)
        except OSError as error:
            raise MountError("umount", error, _holders(self.root)) from error

    def remount(self) -> None:
        """Umount and mount again."""
        self.umount()
        self.mount()

    def observe(self, shut_down: bool = False) -> dict[str, Any]:
        """What can be seen now (see `observe.observe`); of a file system that was shut down, only
        that it is so."""
        assert self._table is not None
        if shut_down:
            error = refusal(self.files)
            if error is not None:
                return {"observation": {"error": error}}
        return observe(self.files, self._table, self._delalloc)

    def _say_all(self) -> None:
        """Have ext4 say everything: by default it leaves out what comes after ten messages in five
        seconds, a shutdown's acknowledgement as well as what would be a complaint."""
        for kind in ("err", "warning", "msg"):
            write_file(f"{self.sysfs}/{kind}_ratelimit_interval_ms", "0")

    def _forget_device_cache(self) -> None:
        fd = os.open(self.device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, BLKFLSBUF, 0)
        finally:
            os.close(fd)


def _holders(root: str) -> str:
    """Which processes have files open below `root`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        found += [f"process {pid}: {link}" for link in links if link.startswith(f"{root}/")]
    return "; ".join(found)
