"""Starting from an image: a model that loads what another wrote goes on as that one would."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from allocating import played

from harness.image.canonical import canonical, canonical_of
from harness.image.check import problems
from harness.image.difference import differences
from harness.image.survey import Survey
from harness.trace import Observation, Step, Trace
from model.image.filesystem import Filesystem
from model.image.source import MemorySource
from model.image_writer import Written, image_of
from model.mount import Mount
from vm import mkfs
from vm.host_tools import ensure_host_tools
from workloads import ops
from workloads.files import catalogue
from workloads.images import Image, kept_name
from workloads.workload import Config, Workload

BETWEEN = (ops.Sync(), ops.DropCaches(), ops.Remount())
"""What the end of a workload does."""


class Bases:
    """Fresh images, each made once and kept in memory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "base.img"
        self._made: dict[Image, Filesystem] = {}

    def __call__(self, image: Image) -> Filesystem:
        if image not in self._made:
            mkfs.make_image(image, self.path)
            self._made[image] = Filesystem(MemorySource(self.path.read_bytes()))
            self.path.unlink()
        return self._made[image]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    ensure_host_tools(["mke2fs", "e2fsck"])
    return Bases(tmp_path_factory.mktemp("bases"))


def from_file(config: Config) -> Config:
    """The same configuration, but its image has been given: which one the test knows."""
    digest = "5" * 64
    image = msgspec.structs.replace(config.image, name=kept_name(digest), sha256=digest)
    return Config(image, config.mount)


def halves(workload: Workload, at: int) -> tuple[Workload, Workload, Workload]:
    """All with what lies between the halves, and the halves."""
    first, second = workload.ops[:at], workload.ops[at:]
    return (
        msgspec.structs.replace(workload, ops=(*first, *BETWEEN, *second)),
        msgspec.structs.replace(workload, ops=first),
        msgspec.structs.replace(workload, ops=second, config=from_file(workload.config)),
    )


def unnamed(step: Step) -> Step:
    """`step` without what tells how the model got there."""
    return msgspec.structs.replace(step, because=(), quirks=())


def shapes(mount: Mount) -> dict[str, object]:
    """The very nodes of all trees, and what the model counts."""
    files = {
        name: (file.tree.root if file.extents else file.indirect.ranges(), file.tree_blocks,
               file.allocated, file.inline, file.inline_size, file.uid, file.flags,
               [(run.start, run.end, run.state, run.pblk) for run in file.es])
        for name, file in mount.files.items()
    }  # fmt: skip
    sb = mount.sb
    quota = (sb.quota.limits, sb.quota.file.uids, sb.quota.file.length)
    return {"files": files, "free": sb.free.sum(), "quota": quota if sb.quota.tracked else None}


def observations(trace: Trace) -> list[Observation]:
    return [trace.start, *(step.observation for step in trace.steps)]


def check_split(workload: Workload, at: int, base: Filesystem) -> None:
    """A model that goes on from the image of the first half is one that was mounted again."""
    whole, first, second = halves(workload, at)
    expected, through = played(whole, base)
    _, mount = played(first, base)
    with image_of(mount, base.volume.source) as (image, written):
        assert written == Written()
        found, loaded = played(second, image)
        begin = at + len(BETWEEN)
        assert observations(found) == observations(expected)[begin:]
        assert [unnamed(step) for step in found.steps] == [
            unnamed(step) for step in expected.steps[begin:]
        ]
        assert found.final is not None and expected.final is not None
        assert found.final.content == expected.final.content
        assert found.final.observation == expected.final.observation
        assert shapes(loaded) == shapes(through)
        check_images(loaded, image, through, base)


def check_images(loaded: Mount, image: Filesystem, through: Mount, base: Filesystem) -> None:
    """Both end with the same image, and nothing is wrong with it."""
    with (
        image_of(loaded, image.volume.source) as (one, _),
        image_of(through, base.volume.source) as (other, _),
    ):
        survey = Survey(one)
        assert problems(survey) == []
        assert differences(canonical_of(survey), canonical(other)) == []


def programs() -> list[tuple[Workload, int]]:
    """A configuration of each program of the catalogue, and where to cut it in two: any
    place, but the same in each run."""
    found = []
    for program in catalogue():
        number = zlib.crc32(program.name.encode())
        configs = program.configs
        config = configs[number % len(configs)]
        workload = Workload(program.name, config, program.ops)
        found.append((workload, number // 7 % (len(program.ops) + 1)))
    return found


@pytest.mark.parametrize(("workload", "at"), programs(), ids=lambda part: getattr(part, "name", ""))
def test_a_model_goes_on_from_the_image_of_the_first_half(bases, workload, at):
    check_split(workload, at, bases(workload.config.image))
