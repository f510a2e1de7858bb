"""The two sides of a comparison: the kernel under test, and what it is held against.

`--kernel` names the one, `--against` the other: the model, another kernel, or the other
path of the same kernel. `MAKERS` holds what makes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.against.against import Against
from harness.errors import UsageError
from harness.known import KNOWN_ISSUES
from harness.running.runner import Runner
from harness.sides.failing import Failing, FailingRunner
from harness.sides.failing_call import FailingCall, Nth
from harness.sides.failing_disk import FailingDisk
from harness.sides.machine import GuestSide
from harness.sides.model_side import ModelSide
from harness.sides.side import NO_IOMAP, Choice, Side
from harness.sides.trace_side import TraceSide
from harness.trace import Observe
from workloads.workload import PATH_NAMES, PATHS

__all__ = ["AGAINST_PATH", "MAKERS", "MODEL", "Pair", "make_pair"]

MODEL = "model"
AGAINST_PATH = {f"path:{name}": path for path, name in PATH_NAMES.items()}
"""What `--against` takes for a path of the kernel under test."""
RECORDING = "recording:"
"""Before the file of a kept trace, where a kernel could be named."""

Maker = Callable[[str | None, Choice], Side]


def _kernel(spec: str | None, choice: Choice) -> Side:
    if spec is not None and spec.startswith(RECORDING):
        return TraceSide(Path(spec.removeprefix(RECORDING)))
    choice = dataclasses.replace(choice, kernel=spec)
    if choice.writes is not None:
        return FailingDisk(choice, choice.writes)
    return GuestSide(choice) if choice.nth is None else FailingCall(choice, Nth.parse(choice.nth))


def _model(_spec: str | None, _choice: Choice) -> Side:
    return ModelSide()


MAKERS: dict[str, Maker] = {"model": _model, "kernel": _kernel}
"""Makes a side from the specification of a kernel (None: the default) and the choice."""


@dataclasses.dataclass
class Pair:
    """The expecting side and the one under test.

    `against` and `choice` are what the user asked for; in a `strict` pair known issues
    count as mismatches.
    """

    expected: Side
    actual: Side
    against: str = MODEL
    choice: Choice = dataclasses.field(default_factory=Choice)
    strict: bool = False

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both, the expecting one first."""
        return self.expected, self.actual

    @property
    def starting(self) -> float:
        """Seconds that both have spent on coming up."""
        return sum(side.starting for side in self.sides)

    def runner(self) -> Runner | Against:
        """What compares them."""
        issues = () if self.strict else KNOWN_ISSUES
        if isinstance(self.actual, Failing):
            return FailingRunner(self.expected, self.actual, issues, self.actual.failure)
        if self.expected.is_model:
            return Runner(self.expected, self.actual, issues)
        models = [MAKERS[MODEL](None, Choice()) for _ in self.sides]
        for model, side in zip(models, self.sides, strict=True):
            model.meet(side)
        return Against(self.expected, self.actual, (models[0], models[1]), issues=issues)

    def prepare(self) -> None:
        """Prepare both sides."""
        for side in self.sides:
            side.prepare()

    def header(self) -> list[str]:
        """Lines for the head of every report; the first is the headline."""
        names = f"{self.expected.name} : {self.actual.name}"
        if self.actual.forced_path is not None:
            tested = "two paths of one kernel"
        elif self.paths() != PATHS:
            tested = f"the iomap path was NOT TESTED: {NO_IOMAP}"
        elif not self.expected.knows_iomap():
            tested = f"both paths, against the only one of {self.expected.name}, buffer_head"
        else:
            tested = "both paths, buffer_head and iomap, can be tested"
        strict = "; where a known issue shows, that is a mismatch" if self.strict else ""
        at_end = self.choice.observe is Observe.END
        seen = "; programs are observed at their end only" if at_end else ""
        return [f"ext4diff {names}; {tested}{strict}{seen}", *self._sides_lines()]

    def _sides_lines(self) -> list[str]:
        """Each side's lines once, with its name where they are not both sides'."""
        lines = [side.header() for side in self.sides]
        if not all(lines):
            return [line for side in lines for line in side]
        shared = [line for line in lines[0] if line in lines[1]]
        own = [
            f"{side.name}: {line}"
            for side, said in zip(self.sides, lines, strict=True)
            for line in said
            if line not in shared
        ]
        return [*own, *shared]

    def identity(self) -> dict[str, str]:
        """What the sides are."""
        return {
            f"{side.name} {key}": value
            for side in self.sides
            for key, value in side.identity().items()
        }

    def paths(self) -> tuple[str, ...]:
        """The paths that the side under test can take; the other one follows or has only one."""
        return self.actual.paths()

    @contextlib.contextmanager
    def observing(self, when: Observe) -> Iterator[None]:
        """Both sides look at the file system `when` that says, until the context ends."""
        before = [side.observe for side in self.sides]
        try:
            for side in self.sides:
                side.observe = when
            yield
        finally:
            for side, then in zip(self.sides, before, strict=True):
                side.observe = then

    def usable(self) -> bool:
        """False once one of them can't come up any more."""
        return all(side.usable() for side in self.sides)

    def close(self) -> None:
        """End both sides."""
        for side in self.sides:
            side.close()


def make_pair(against: str, choice: Choice, *, strict: bool = False) -> Pair:
    """The kernel of `choice` and what it is held `against`.

    That is `model`, one of `AGAINST_PATH`, or whatever `--kernel` takes. Raises
    `UsageError`.
    """
    actual = MAKERS["kernel"](choice.kernel, choice)
    if against == MODEL:
        expected = MAKERS[MODEL](None, choice)
        expected.meet(actual)
    elif against.startswith("path:"):
        if against not in AGAINST_PATH:
            paths = " and ".join(AGAINST_PATH)
            raise UsageError(f"--against {against}: the paths are {paths}")
        expected = MAKERS["kernel"](choice.kernel, choice)
        path = AGAINST_PATH[against]
        other = next(known for known in PATHS if known != path)
        for side, forced in ((expected, path), (actual, other)):
            side.forced_path, side.name = forced, PATH_NAMES[forced]
    elif not against:
        raise UsageError("--against: give model, path:buffer_head, path:iomap, or a kernel")
    else:
        expected = MAKERS["kernel"](against, choice)
        expected.name, actual.name = "base", "kernel"
    return Pair(expected, actual, against, choice, strict)
