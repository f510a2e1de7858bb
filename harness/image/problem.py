"""One thing that a check finds wrong."""

from __future__ import annotations

import msgspec

__all__ = ["Problem"]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong (`reason`), and where: a path, `group 3` or `superblock`.

    `of_crash`: a crash may leave it behind on a kernel without bugs; in the superblock only
    without a journal.
    """

    where: str
    reason: str
    of_crash: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"
