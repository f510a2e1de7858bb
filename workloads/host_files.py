"""Files of the host that commands are given: regular ones, never a device.

A device is not even opened, since that alone may do something to it: the host's disks are none
of our business. /dev/shm is a file system like others.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_regular", "refuse_disk", "refuse_irregular"]

_IRREGULAR = "it is no regular file"


def refuse_irregular(path: Path) -> None:
    """Raise `OSError` if no image, kernel or artifact can be at `path`, or be made there."""
    try:
        resolved = path.resolve()
        irregular = path.exists() and not path.is_file()
    except (RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise OSError(errno.ELOOP, str(error)) from error
    if resolved.is_relative_to("/dev") and not resolved.is_relative_to("/dev/shm"):
        raise OSError(errno.EINVAL, f"it is below /dev, and {_IRREGULAR}")
    if irregular:
        raise OSError(errno.EINVAL, _IRREGULAR)


def open_regular(path: Path) -> BinaryIO:
    """The regular file `path`, to be read.

    Raises `OSError`; what `refuse_irregular` refuses is not opened.
    """
    refuse_irregular(path)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # it may have become another one
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, _IRREGULAR)
        return open(f"/proc/self/fd/{place}", "rb")  # noqa: PTH123
    finally:
        os.close(place)


def refuse_disk(path: Path) -> None:
    """Raise `OSError` if `path` is a block device: texts may come from and go to a pipe or a
    terminal, never a disk."""
    if path.is_block_device():
        raise OSError(errno.EINVAL, "it is a disk, which is not touched", str(path))
