"""A side of a comparison: what every kind of them can do, and what the user chose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from harness.trace import Observe, Placement, Trace
from vm.boot import MEMORY
from workloads.workload import PATHS, Config, Workload

__all__ = [
    "NO_IOMAP", "Choice", "Side", "on_path", "without_path",
    "without_path_option",
]  # fmt: skip

NO_IOMAP = "this kernel does not know the mount option buffered_iomap"
_CHOOSING = ("buffered_iomap", "nobuffered_iomap")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the user chose: `kernel` (a path, None for the default) and `accel`.

    `mirror` is the address of a Debian mirror (None: the host's); `refresh` looks for newer
    packages than the cache has; `always_boot` makes no use of snapshots of a booted guest.
    `observe` says when programs are observed (`harness.observing`). The disk takes only so many
    `writes`, if that is not None (`harness.sides.failing_disk`); the `nth` call of something fails
    (`harness.sides.failing_call`). A guest has `memory` MiB, and
    `program_time` seconds for a program, if they are limited.
    """

    kernel: str | None = None
    accel: str = "auto"
    mirror: str | None = None
    refresh: bool = False
    always_boot: bool = False
    observe: Observe = Observe.STEPS
    writes: int | None = None
    nth: str | None = None
    memory: int = MEMORY
    program_time: float | None = None


class Side:
    """A subject with a life: `prepare`, `run` many times, `close`.

    This base is a side that needs no preparing and leaves no evidence.
    """

    name: str
    is_model = False
    starting = 0.0
    """Seconds that it has spent on coming up, for reports of how long workloads took."""
    working = 0.0
    """Seconds that it has spent on workloads."""
    imaging = 0.0
    """Seconds that it has spent on what images hold afterwards: their checks, their form."""
    forced_path: str | None = None
    """The path that this side takes whatever the workload says, if any (of `PATHS`)."""
    observe = Observe.STEPS
    """When it looks at the file system in what it runs; the model always foretells all."""

    def prepare(self) -> None:
        """Fetch, build and probe what `run` needs. Raises `MachineryError`, `UsageError`."""

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        """As `Subject.run`; only the model follows `quirks`."""
        raise NotImplementedError

    def release(self) -> str | None:
        """Its kernel's release (uname -r), if it has one and it is known."""
        return None

    def meet(self, other: Side) -> None:
        """Learn what side this one is compared with."""

    def header(self) -> list[str]:
        """Lines for the head of every report."""
        return []

    def identity(self) -> dict[str, str]:
        """What this side is, for someone who wants to repeat the run."""
        return {}

    def knows_iomap(self) -> bool:
        """Whether its kernel knows the mount option `buffered_iomap`."""
        return True

    def paths(self) -> tuple[str, ...]:
        """The paths that a workload can choose: both if the kernel has them and none is forced."""
        return PATHS if self.knows_iomap() and self.forced_path is None else PATHS[:1]

    def usable(self) -> bool:
        """False once it has failed to come up so often that trying again is of no use."""
        return True

    def save_evidence(self, directory: Path) -> None:
        """Put what it knows of its last run into `directory`: image, kernel log."""

    def command(self) -> tuple[str, ...]:
        """The command that its guest runs in; empty if there is none."""
        return ()

    def save_image(self, directory: Path, expected: Trace) -> str:  # noqa: ARG002
        """Put the disk's image as it should be after `expected` into `directory`, if it can.

        Returns what to say of it in the README, or nothing.
        """
        return ""

    def close(self) -> None:
        """End whatever runs; may be called more than once."""


def on_path(workload: Workload, path: str | None) -> Workload:
    """`workload` with the mount option that chooses `path` (of `PATHS`), if any."""
    if path is None:
        return workload
    option = "buffered_iomap" if path == "iomap" else "nobuffered_iomap"
    if option in workload.config.options:
        return workload
    config = without_path(workload).config.with_options(option)
    return msgspec.structs.replace(workload, config=config)


def without_path(workload: Workload) -> Workload:
    """`workload` without a mount option that chooses a path, for kernels that know none."""
    return msgspec.structs.replace(workload, config=without_path_option(workload.config))


def without_path_option(config: Config) -> Config:
    """`config` without a mount option that chooses a path."""
    kept = (option for option in config.mount.split(",") if option not in _CHOOSING)
    return Config(config.image, ",".join(kept))
