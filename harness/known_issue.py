"""What a known issue is: which kernels have it, where it can show, and how it is told."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from workloads.ops import Op, calls
from workloads.workload import Config, Workload

__all__ = ["KnownIssue", "parse_release", "path_of"]

Release = tuple[int, int]
"""Version and patch level of a kernel release: `7.3.4-cloud-amd64` is (7, 3)."""


class KnownIssue(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel bug that the model can follow, or that only the kernel's log shows, or that hangs.

    `quirk` is its name in `model/behaviour.py`; `complaint` a regular expression that
    matches the title of a complaint in the kernel's log, `hang` one for where the kernel is blocked
    in an operation that the model finds no end to; it has one of the three. With a quirk,
    `image_complaint` matches each line that e2fsck and our own check of the image may then
    complain of. The bug is in
    kernels from release `since` on, up to but without `fixed` (None: in all later ones that
    were seen), on one `path`, and only with the file system `feature` (as given to mke2fs's
    `-O`) and the mount `option` if one is named. `condition` says when it shows, `observable`
    what is then seen, `reason` why it is taken for a bug. Only workloads with an operation of
    `triggers` can meet it.
    """

    name: str
    since: Release
    path: Literal["bh", "iomap"]
    condition: str
    observable: str
    reason: str
    quirk: str | None = None
    fixed: Release | None = None
    triggers: tuple[type[Op], ...] = (Op,)
    feature: str | None = None
    option: str | None = None
    complaint: str | None = None
    image_complaint: str | None = None
    hang: str | None = None

    def affects(self, release: str, workload: Workload) -> bool:
        """Whether a kernel of this release may show it on this workload."""
        version = parse_release(release)
        return (
            version is not None
            and self.since <= version
            and (self.fixed is None or version < self.fixed)
            and path_of(workload.config) == self.path
            and (self.feature is None or self.feature in workload.config.image.features)
            and (self.option is None or self.option in workload.config.options)
            and any(isinstance(op, self.triggers) for op in calls(workload.ops))
        )


def parse_release(release: str) -> Release | None:
    """The first two numbers of a kernel release, None if it does not start with them."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else None


def path_of(config: Config) -> str:
    """The path of regular files; some file systems take buffer_head whatever the option.

    `ext4_should_use_buffered_iomap` of the series; the model decides for each inode.
    """
    falls_back = config.image.features & {"inline_data", "^extents", "encrypt", "verity"}
    return "bh" if falls_back or "data=journal" in config.options else config.path
