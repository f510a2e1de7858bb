"""How long images take: the canonical form of small, full and large ones, and what the
comparison of images adds to a workload.

mke2fs makes the images, the model fills them. Each figure is the best of some runs: CPU time
of this process, and beside it the time of day, in which other work may interfere.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from harness.errors import MachineryError
from harness.image.canonical import canonical, canonical_of
from harness.image.check import problems
from harness.image.survey import Survey
from model import Behaviour, Model
from model.image.filesystem import Filesystem
from model.image_writer import image_of, write_image
from model.mount import Mount
from vm.host_tools import ensure_host_tools, find_program
from vm.mkfs import mke2fs_options, read_geometry
from vm.scratch import scratch
from workloads.images import IMAGES, Image
from workloads.ops import AnyOp, Sync, Write
from workloads.workload import Config, Workload

__all__ = ["SIZES", "Took", "measure_images"]

MIB = 1 << 20
SIZES = ((64, 5, 20_000), (64, 100, 20_000), (64, 100, 400_000), (1024, 10, 20_000))
"""MiB of the image, files in it, bytes of each file."""
_TIMES = 7


class Took(msgspec.Struct, frozen=True):
    """What took so long: milliseconds of CPU time and of the day."""

    what: str
    cpu: float
    wall: float


def measure_images() -> Iterator[Took]:
    """Each of `SIZES`, then the model's own image. Raises `MachineryError` without mke2fs."""
    ensure_host_tools(["mke2fs"])
    for mib, files, length in SIZES:
        with scratch("bench") as folder:
            base = folder / "base"
            image = msgspec.structs.replace(IMAGES["4k"], size=mib * MIB)
            _make(image, base)
            mount = _model(base).finish(_workload(image, files, length))
            full = folder / "full"
            write_image(mount, base, full)
            size = f"{mib} MiB with {files} files of {length:,} bytes"
            yield _best(f"canonical form, {size}", partial(_form, full))
            if (mib, files, length) == SIZES[0]:
                what = "the model's image in memory, its check and its form, the same files"
                yield _best(what, partial(_expected, mount, base))


def _make(image: Image, path: Path) -> None:
    """`image` in a file with holes: it may be larger than those of workloads."""
    with path.open("wb") as file:
        file.truncate(image.size)
    command = [find_program("mke2fs"), *mke2fs_options(image), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineryError(f"mke2fs failed: {done.stderr.strip()}")


def _model(base: Path) -> Model:
    geometry = read_geometry(base)
    return Model(Behaviour(iomap=False), lambda _image: geometry)


def _workload(image: Image, files: int, length: int) -> Workload:
    ops: list[AnyOp] = [
        Write(file=f"file{n}", off=0, len=length, tag=n % 250 + 1) for n in range(files)
    ]
    return Workload("bench", Config(image, "delalloc"), (*ops, Sync()))


def _form(path: Path) -> None:
    with Filesystem.open(path) as fs:
        canonical(fs)


def _expected(mount: Mount, base: Path) -> None:
    with image_of(mount, base) as (fs, _):
        survey = Survey(fs)
        problems(survey)
        canonical_of(survey)


def _best(what: str, work: Callable[[], None]) -> Took:
    cpus, walls = [], []
    for _ in range(_TIMES):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return Took(what, min(cpus) * 1000, min(walls) * 1000)
