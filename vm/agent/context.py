"""What operations act on, and how their errors are named."""

from __future__ import annotations

import errno

from .files import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Operation = dict[str, Any]
    Outcome = int | str | list[list[int]]

__all__ = ["Context", "errno_name"]


class Context:
    """What operations act on: the open files and the mount.

    `remount` unmounts and mounts again; `device` is the block device's path. `shut_down`
    tells that the file system was shut down since it was mounted.
    """

    def __init__(self, files: Files, device: str, remount: Callable[[], None]) -> None:
        self.files = files
        self.device = device
        self.remount = remount
        self.shut_down = False


def errno_name(error: OSError) -> str:
    """The errno's name as recordings write it; `E<number>` for one without a name."""
    number = error.errno or 0
    if number == errno.ENOTSUP:
        return "ENOTSUP"
    if number == errno.EAGAIN:
        return "EAGAIN"
    return errno.errorcode.get(number, f"E{number}")
