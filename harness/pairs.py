"""The two sides of a comparison, as the command line names them: `--pair model:guest`.

`MAKERS` holds one maker per kind of side; a side's text is `KIND` or `KIND=ARGUMENT`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from harness.errors import UsageError
from harness.machine import GuestSide, ModelSide, TraceSide
from harness.sides import NO_IOMAP, PATHS, Choice, Side

__all__ = ["MAKERS", "Pair", "make_pair"]

Maker = Callable[[str, Choice], Side]


def _guest(argument: str, choice: Choice, path: str | None = None) -> Side:
    kernel = argument or choice.kernel
    return GuestSide(dataclasses.replace(choice, kernel=kernel), path)


def _model(argument: str, choice: Choice) -> Side:  # noqa: ARG001
    return ModelSide()


def _recording(argument: str, choice: Choice) -> Side:  # noqa: ARG001
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


def _make_side(text: str, choice: Choice) -> Side:
    kind, _, argument = text.partition("=")
    if kind not in MAKERS:
        raise UsageError(f"--pair: no side is called {kind!r}; sides are {', '.join(MAKERS)}")
    return MAKERS[kind](argument, choice)
