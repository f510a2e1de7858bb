"""A workload: where it runs and what is done there."""

from __future__ import annotations

import re

import msgspec

from workloads.images import Image
from workloads.ops import AnyOp, Parallel

__all__ = ["PATHS", "PATH_NAMES", "Config", "Workload"]

PATHS = ("bh", "iomap")
"""The two paths of buffered I/O, as `Config.path` tells them."""
PATH_NAMES = dict(zip(PATHS, ("buffer_head", "iomap"), strict=True))
"""What users call them."""

_OPTION = "[A-Za-z0-9_=.:/-]+"
_MOUNT = re.compile(rf"(?=.{{0,4000}}\Z)(?:{_OPTION}(?:,{_OPTION})*)?")


class Config(msgspec.Struct, frozen=True):
    """A file system and how it is mounted.

    `mount` is the ext4 option string; `noatime` is always added as a mount flag.
    """

    image: Image
    mount: str = "delalloc"

    def __post_init__(self) -> None:
        """Raise `ValueError` for what can't be mount options."""
        if not _MOUNT.fullmatch(self.mount):
            raise ValueError(f"{self.mount!r} is no list of mount options; write a,b=c")

    @property
    def name(self) -> str:
        """`image@mount`, as test ids and recordings write it."""
        return f"{self.image.name}@{self.mount}"

    @property
    def options(self) -> frozenset[str]:
        """The mount options, split."""
        return frozenset(option for option in self.mount.split(",") if option)

    @property
    def path(self) -> str:
        """`iomap` if mounted with `buffered_iomap`, else `bh` (buffer_head)."""
        return "iomap" if "buffered_iomap" in self.options else "bh"

    def with_options(self, *extra: str) -> Config:
        """The same file system, mounted with `extra` options appended."""
        return Config(self.image, ",".join(part for part in (self.mount, *extra) if part))


class Workload(msgspec.Struct, frozen=True):
    """A program (its operations) on a configuration.

    `program` names what is done, `shows` says in one line what it would catch.
    """

    program: str
    config: Config
    ops: tuple[AnyOp, ...]
    shows: str = ""

    @property
    def cpus(self) -> int:
        """CPUs that the guest should have: a second one for threads against each other."""
        return 2 if Parallel in map(type, self.ops) else 1

    @property
    def name(self) -> str:
        """`program@image@mount`."""
        return f"{self.program}@{self.config.name}"
