"""A kernel with seeded bugs for the minimizer: the model that follows known issues (quirks).

Held against the strict model it gives real mismatches, in milliseconds and without a guest.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
from fakes import RELEASE
from modelled import geometry

from harness.running.runner import Runner
from harness.sides.side import Side
from harness.trace import Placement, Trace
from harness.verdict import Compared
from model import Behaviour, Model
from workloads.files import load
from workloads.program import workloads
from workloads.workload import Workload

EFAULT = "efault_beyond_eof_moves_size"
PROGRAMS = sorted((Path(__file__).parent / "data/minimize").glob("*.ops"))
"""Random programs of 25 operations that show `EFAULT`, on as many configurations."""


@dataclasses.dataclass
class ModelledSide(Side):
    """The model as a side: the expecting one, or a kernel with the bugs `seeded`."""

    name: str
    seeded: frozenset[str] = frozenset()
    identity_: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"release": RELEASE, "sha256": "0" * 64}
    )
    runs: int = 0
    closed: int = 0

    def __post_init__(self) -> None:
        self.is_model = self.name == "model"

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        self.runs += 1
        followed = quirks if self.is_model else self.seeded
        trace = Model(Behaviour(quirks=followed), geometry).run(workload)
        if self.is_model:
            return trace
        return msgspec.structs.replace(trace, subject=self.name, kernel=RELEASE)

    def identity(self) -> dict[str, str]:
        return {} if self.is_model else self.identity_

    def release(self) -> str:
        return RELEASE

    def knows_iomap(self) -> bool:
        return False

    def close(self) -> None:
        self.closed += 1


class Sides:
    """Runs workloads on the strict model and on a kernel with `bugs`; `ran` are the workloads."""

    def __init__(self, *bugs: str) -> None:
        self.guest = ModelledSide("guest", frozenset(bugs))
        self.runner = Runner(ModelledSide("model"), self.guest, ())
        self.ran: list[Workload] = []

    def __call__(self, workload: Workload) -> Compared:
        self.ran.append(workload)
        return self.runner.run(workload)


def workload_in(path: Path) -> Workload:
    """The workload in a file, on its only configuration."""
    (workload,) = workloads(load(path))
    return workload
