"""What a known issue is: which kernels have it, where it can show, and how it is told."""

from __future__ import annotations

import itertools
import re
from typing import Literal

import msgspec

from harness.complaint import Complaint
from workloads.ops import Op, RemountOpts, calls
from workloads.workload import Config, Workload

__all__ = ["KnownIssue", "parse_release", "path_of"]

Release = tuple[int, int]
"""Version and patch level of a kernel release: `7.3.4-cloud-amd64` is (7, 3)."""


class KnownIssue(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel bug that the model can follow, or that only the kernel's log shows, or that hangs.

    `quirk` is its name in `model/behaviour.py`; `complaint` a regular expression that
    matches the title of a complaint in the kernel's log, `hang` one for where the kernel is blocked
    in an operation that the model finds no end to; it has one of the three. With a quirk,
    `complaint` and `image_complaint`, which matches each line that e2fsck and our own check of the
    image complain of, are excused only where the model has followed it. The bug is in kernels from
    release `since` on, up to but without `fixed` (None: in all later ones that were seen), on one
    `path`, and only with the file system `feature` (as given to mke2fs's `-O`) and the mount
    `option` if one is named. `condition` says when it shows, `observable` what is then seen,
    `reason` why it is taken for a bug. Only workloads with an operation of `triggers` can meet it.
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
            and self.path in _paths_of(workload)
            and (self.feature is None or self.feature in workload.config.image.features)
            and (self.option is None or self.option in workload.config.options)
            and any(isinstance(op, self.triggers) for op in calls(workload.ops))
        )

    def says(self, complaint: Complaint) -> bool:
        """Whether `complaint` in the kernel's log is what comes with it."""
        return self.complaint is not None and bool(re.search(self.complaint, complaint.title))


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


def _paths_of(workload: Workload) -> set[str]:
    """The paths that files may take, as a remount may change it for those that are new."""
    config = workload.config
    changes = [op.opts.split(",") for op in calls(workload.ops) if isinstance(op, RemountOpts)]
    words = set(itertools.chain.from_iterable(changes))
    found = {path_of(config)}
    if "buffered_iomap" in words:
        found.add(path_of(config.with_options("buffered_iomap")))
    if "nobuffered_iomap" in words:
        found.add("bh")
    return found
