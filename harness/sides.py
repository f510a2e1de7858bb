"""The two sides of a comparison, as the command line names them: `--pair model:guest`.

A side is a subject that can also say what it is, bring itself up, keep evidence, and go.
`MAKERS` holds one maker per kind of side; a side's text is `KIND` or `KIND=ARGUMENT`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from harness.errors import UsageError
from harness.trace import Placement, Trace
from workloads.workload import Workload

__all__ = ["MAKERS", "NO_IOMAP", "PATHS", "Choice", "Pair", "Side", "make_pair", "on_path"]

NO_IOMAP = "this kernel does not know the mount option buffered_iomap"
PATHS = ("bh", "iomap")
"""The two paths of buffered I/O: buffer_head and iomap."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the user chose: `kernel` (a path, None for the default) and `accel`.

    `mirror` is the address of a Debian mirror (None: the host's); `refresh` looks for newer
    packages than the cache has.
    """

    kernel: str | None = None
    accel: str = "auto"
    mirror: str | None = None
    refresh: bool = False


class Side:
    """A subject with a life: `prepare`, `run` many times, `close`.

    This base is a side that needs no preparing and leaves no evidence.
    """

    name: str
    is_model = False
    starting = 0.0
    """Seconds that it has spent on coming up, for reports of how long workloads took."""
    forced_path: str | None = None
    """The path that this side takes whatever the workload says, if any (of `PATHS`)."""

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

    def save_image(self, directory: Path, expected: Trace) -> str:  # noqa: ARG002
        """Put the disk's image as it should be after `expected` into `directory`, if it can.

        Returns what to say of it in the README, or nothing.
        """
        return ""

    def close(self) -> None:
        """End whatever runs; may be called more than once."""


Maker = Callable[[str, Choice], Side]


def _guest(argument: str, choice: Choice, path: str | None = None) -> Side:
    from harness.machine import GuestSide  # noqa: PLC0415 - a model needs no QEMU

    kernel = argument or choice.kernel
    return GuestSide(dataclasses.replace(choice, kernel=kernel), path)


def _model(argument: str, choice: Choice) -> Side:  # noqa: ARG001
    from harness.machine import ModelSide  # noqa: PLC0415

    return ModelSide()


def _recording(argument: str, choice: Choice) -> Side:  # noqa: ARG001
    from harness.machine import TraceSide  # noqa: PLC0415

    return TraceSide(Path(argument))


MAKERS: dict[str, Maker] = {
    "model": _model,
    "guest": _guest,
    "bh": functools.partial(_guest, path="bh"),
    "iomap": functools.partial(_guest, path="iomap"),
    "recording": _recording,
}
"""Makes a side from the text after `=` and the user's choice."""


@dataclasses.dataclass
class Pair:
    """The expecting side and the one under test."""

    expected: Side
    actual: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both, the expecting one first."""
        return self.expected, self.actual

    @property
    def starting(self) -> float:
        """Seconds that both have spent on coming up."""
        return sum(side.starting for side in self.sides)

    def prepare(self) -> None:
        """Prepare both sides."""
        for side in self.sides:
            side.prepare()

    def header(self) -> list[str]:
        """Lines for the head of every report; the first is the headline."""
        names = f"{self.expected.name} : {self.actual.name}"
        if self.paths() == PATHS or self.actual.forced_path is not None:
            tested = "both paths, buffer_head and iomap, can be tested"
        else:
            tested = f"the iomap path was NOT TESTED: {NO_IOMAP}"
        lines = dict.fromkeys(line for side in self.sides for line in side.header())
        return [f"ext4diff {names}; {tested}", *lines]

    def identity(self) -> dict[str, str]:
        """What the sides are."""
        return {
            f"{side.name} {key}": value
            for side in self.sides
            for key, value in side.identity().items()
        }

    def paths(self) -> tuple[str, ...]:
        """The paths that both sides can take."""
        return tuple(path for path in self.expected.paths() if path in self.actual.paths())

    def usable(self) -> bool:
        """False once one of them can't come up any more."""
        return all(side.usable() for side in self.sides)

    def close(self) -> None:
        """End both sides."""
        for side in self.sides:
            side.close()


def make_pair(text: str, choice: Choice) -> Pair:
    """The pair that `text` names, `EXPECTED:ACTUAL`; the model always expects.

    Raises `UsageError`.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise UsageError(f"--pair takes two sides, as in model:guest, not {text!r}")
    expected, actual = (_make_side(part, choice) for part in parts)
    if actual.is_model:
        expected, actual = actual, expected
    if actual.is_model:
        raise UsageError("--pair model:model compares the model with itself")
    if expected.name == actual.name:
        expected.name, actual.name = f"{expected.name} A", f"{actual.name} B"
    expected.meet(actual)
    return Pair(expected, actual)


def on_path(workload: Workload, path: str | None) -> Workload:
    """`workload` with the mount option that chooses `path` (of `PATHS`), if any."""
    if path is None:
        return workload
    option = "buffered_iomap" if path == "iomap" else "nobuffered_iomap"
    config = workload.config.with_options(option)
    return Workload(workload.program, config, workload.ops, workload.shows)


def _make_side(text: str, choice: Choice) -> Side:
    kind, _, argument = text.partition("=")
    if kind not in MAKERS:
        raise UsageError(f"--pair: no side is called {kind!r}; sides are {', '.join(MAKERS)}")
    return MAKERS[kind](argument, choice)
