"""Both sides start from an image that a kernel left, or that the model wrote, and agree."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from _pytest.mark import ParameterSet
from fakes import make_workload
from test_image_load import LINES

from harness.image.form import FORM
from harness.running.runner import Runner
from harness.sides.machine import GuestSide
from harness.sides.model_side import ModelSide
from harness.sides.side import Choice
from harness.start import start_from
from harness.trace import placement_of
from harness.verdict import Outcome
from model import Behaviour, Model
from model.image_writer import write_image
from vm import mkfs
from workloads.files import catalogue
from workloads.ops import Parallel
from workloads.program import Program
from workloads.workload import Config, Workload

pytestmark = pytest.mark.vm

PROGRAMS = 16
"""Of the catalogue, evenly chosen among those that leave the kernel something to go on from,
without threads against each other, which may leave the bytes of either, and without known bugs,
which may leave an image that can't be gone on with."""
FEW = 3


@pytest.fixture(scope="module")
def guest() -> Iterator[GuestSide]:
    side = GuestSide(Choice(os.environ.get("EXT4DIFF_KERNEL")))
    with contextlib.closing(side):
        side.prepare()
        yield side


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A folder of which nothing stays: pytest would keep 64 MiB an image for three runs."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


def halves() -> list[tuple[Workload, Workload]]:
    """The two halves of the lines that the quick tests take, and of programs."""
    found = []
    for config, before, after in LINES.values():
        found.append((make_workload(before, config), make_workload(after, config)))
    long = [program for program in catalogue() if len(program.ops) > FEW and _settled(program)]
    for number, program in enumerate(long[:: len(long) // PROGRAMS]):
        config = program.configs[number % len(program.configs)]
        at = len(program.ops) // 2
        found.append(
            (
                Workload(program.name, config, program.ops[:at]),
                Workload(program.name, config, program.ops[at:]),
            )
        )
    return found


def _settled(program: Program) -> bool:
    """Whether nothing but the kernel's code, without a bug, says what it leaves."""
    alone = not any(isinstance(op, Parallel) for op in program.ops)
    return alone and not any(rule.startswith("quirk.") for rule in program.rules)


def run_from(guest: GuestSide, image: Path, after: Workload) -> None:
    """Both sides run `after` from the image, and agree but for issues that are known."""
    config = Config(start_from(image), after.config.mount)
    workload = msgspec.structs.replace(after, config=config)
    model = ModelSide()
    model.meet(guest)
    compared = Runner(model, guest).run(workload)
    verdict = compared.verdict
    assert verdict.mismatches == ()
    assert verdict.outcome in (Outcome.AGREE, Outcome.KNOWN), verdict
    assert compared.actual is not None and compared.actual.start.files is not None
    assert FORM not in {field for field, _ in verdict.not_compared}


def cases() -> list[ParameterSet]:
    """The halves by name."""
    names = [*LINES, *(first.name for first, _ in halves()[len(LINES) :])]
    return [pytest.param(*pair, id=name) for pair, name in zip(halves(), names, strict=True)]


@pytest.mark.parametrize(("before", "after"), cases())
def test_both_sides_go_on_from_what_the_kernel_and_what_the_model_left(
    guest, images, before, after
):
    first = guest.run(before)
    guest.save_evidence(images)
    behaviour = Behaviour.of_release(guest.release(), iomap=False)
    model = Model(behaviour, lambda image: mkfs.read_geometry(mkfs.image_file(image)))
    base = mkfs.image_file(before.config.image)
    write_image(model.finish(before, placement_of(first)), base, images / "model.img")
    run_from(guest, images / "guest.img.gz", after)
    run_from(guest, images / "model.img", after)
