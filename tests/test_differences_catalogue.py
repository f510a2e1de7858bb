"""Over the whole catalogue: whatever the model does otherwise on iomap has a name in the table.

A workload that is new in the catalogue, or a rule that is new in the model, may show a
difference that nobody has named: then it is named here first, or found to be an error.
"""

from __future__ import annotations

import msgspec
import pytest
from test_differences import seen

from harness.against.settle import settle
from harness.coverage.reached import contiguous
from harness.errors import NotModelledError
from harness.sides.side import on_path
from harness.trace import Trace
from model import Behaviour, Model
from vm import mkfs
from workloads.files import CATALOGUE, load
from workloads.ops import Parallel
from workloads.program import workloads
from workloads.workload import Workload

WORKLOADS = [
    workload
    for path in sorted(CATALOGUE.rglob("*.ops"))
    for workload in workloads(load(path))
    if not any(isinstance(op, Parallel) for op in workload.ops)
]


def trace(workload: Workload, path: str) -> Trace:
    """The model's, with each file in one piece, apart from the others."""
    model = Model(Behaviour.of_release("7.3.4", iomap=True), mkfs.geometry_of)
    found = model.run(on_path(workload, path), contiguous(workload))
    return msgspec.structs.replace(found, subject=path, kernel="7.3.4")


@pytest.mark.parametrize("first", range(8))
def test_every_predicted_difference_between_the_paths_has_a_name(first):
    settled = 0
    for workload in WORKLOADS[first::8]:
        try:
            sides = [seen(trace(workload, path)) for path in ("bh", "iomap")]
        except NotModelledError:  # a few depend on a real kernel's placement
            continue
        settled += 1
        assert not settle(*sides).mismatches, workload.name
    assert settled > len(WORKLOADS[first::8]) * 0.9
