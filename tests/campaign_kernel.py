"""A kernel for campaigns without a guest: the model with a known bug, in each worker of dask.

Loaded into the workers as a preload (`dask worker --preload`, or dask's configuration). A file
named by EXT4DIFF_TEST_KILL makes the worker that next runs a program die of SIGKILL, once. As long
as there is the one named by EXT4DIFF_TEST_HOLD each worker process stands still behind its first
`HELD` programs, so that what a test does to them comes in the midst of their work, however busy the
machine is. EXT4DIFF_TEST_SLOW is the seconds that a program takes. EXT4DIFF_TEST_LIFE is the
number of programs after which a worker process dies at the next; EXT4DIFF_TEST_POISON is the
name of the program that each worker dies at. With EXT4DIFF_TEST_KILL_AT_TELLING, `before` or
`after`, the worker dies not when it runs a program but when it has told of one, or is about to.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

from distributed.utils import sync
from msgspec.structs import replace

from harness import pairs
from harness.campaign import worker
from harness.coverage.reached import contiguous
from harness.image.look import with_expected_image
from harness.sides.model_side import ModelSide
from harness.sides.side import Choice, Side
from harness.trace import (
    Extent,
    Observation,
    Observe,
    Placement,
    State,
    Trace,
    unobserved_step,
)
from model import Behaviour, Model
from vm import mkfs
from workloads.workload import Workload

QUIRKS = frozenset({"efault_beyond_eof_moves_size"})
HELD = 8
"""Programs that a worker process runs before it waits."""


class BuggyKernel(Side):
    """The model with a known bug of a kernel of which no bug is known."""

    name = "guest"

    def run(
        self,
        workload: Workload,
        placement: Placement | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> Trace:
        _wait_if_told()
        _die_if_told(workload)
        time.sleep(float(os.environ.get("EXT4DIFF_TEST_SLOW", "0")))
        model = Model(Behaviour.of_release("7.3", iomap=False, quirks=QUIRKS), mkfs.geometry_of)
        places = contiguous(workload)
        trace, mount = model.play(workload, places)
        assert trace.final is not None
        final = with_expected_image(trace.final, mount, mkfs.image_file(workload.config.image))
        steps = tuple(
            replace(step, observation=placed(step.observation, places[0])) for step in trace.steps
        )
        final = replace(final, observation=placed(final.observation, places[0]))
        if self.observe is Observe.END:
            early = (unobserved_step(step.result, step.threads) for step in steps[:-1])
            steps = (*early, *steps[-1:])
        return replace(trace, steps=steps, final=final, subject="kernel", kernel="7.3.4-fake")

    def knows_iomap(self) -> bool:
        return False


def placed(seen: Observation, places: dict[str, tuple[Extent, ...]]) -> Observation:
    """`seen` with the blocks where `contiguous` has them, as a kernel tells it."""
    files = {}
    for name, file in seen.files.items():
        (all_of_it,) = places[name]
        files[name] = replace(
            file,
            extents=file.extents
            and tuple(
                e if e.state is State.DELAYED else replace(e, physical=all_of_it.physical + e.start)
                for e in file.extents
            ),
        )
    return replace(seen, files=files)


_begun = itertools.count(1)
_lived = itertools.count()


_MOMENT = os.environ.get("EXT4DIFF_TEST_KILL_AT_TELLING", "")


def _tell(*words: Any, **more: Any) -> Any:
    """What the worker waits for when it tells of a program."""
    told = Path(os.environ["EXT4DIFF_TEST_KILL"])
    if told.exists() and _MOMENT == "before":
        told.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    answer = sync(*words, **more)
    if told.exists() and _MOMENT == "after":
        told.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return answer


def _wait_if_told() -> None:
    told = os.environ.get("EXT4DIFF_TEST_HOLD", "")
    if told and next(_begun) > HELD:
        while Path(told).exists():
            time.sleep(0.05)


def _die_if_told(workload: Workload) -> None:
    told = os.environ.get("EXT4DIFF_TEST_KILL", "")
    if told and Path(told).exists() and not _MOMENT:
        Path(told).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    poison = os.environ.get("EXT4DIFF_TEST_POISON", "")
    old = next(_lived) >= int(os.environ.get("EXT4DIFF_TEST_LIFE", "1000000"))
    if old or workload.name.partition("@")[0] == poison:
        os.kill(os.getpid(), signal.SIGKILL)


def _kernel(_spec: str | None, _choice: Choice) -> Side:
    return BuggyKernel()


def buggy_pair() -> pairs.Pair:
    """The model and a kernel without a guest."""
    return pairs.Pair(ModelSide(), BuggyKernel())


def dask_setup(_worker: Any) -> None:
    """Called by dask in each worker."""
    pairs.MAKERS["kernel"] = _kernel
    if _MOMENT:
        worker.sync = _tell
