"""Starting from an image: a model that loads what another wrote goes on as that one would."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from _pytest.mark import ParameterSet
from allocating import model_of, played
from fakes import make_workload

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
               file.tree.depth(), file.tree.blocks(), file.indirect.blocks(),
               file.allocated, file.inline, file.may_inline, file.inline_size, file.uid,
               file.flags, [(run.start, run.end, run.state, run.pblk) for run in file.es])
        for name, file in mount.files.items()
    }  # fmt: skip
    sb = mount.sb
    quota = (sb.quota.limits, sb.quota.file.uids, sb.quota.file.length)
    return {
        "order": list(files),
        "files": files,
        "free": sb.free.sum(),
        "quota": quota if sb.quota.tracked else None,
    }


def observations(trace: Trace) -> list[Observation]:
    return [trace.start, *(step.observation for step in trace.steps)]


def check_split(workload: Workload, at: int, base: Filesystem) -> None:
    """A model that goes on from the image of the first half is one that was mounted again."""
    whole, first, second = halves(workload, at)
    expected, through = played(whole, base)
    _, mount = played(first, base)
    with image_of(mount, base.volume.source) as (image, written):
        assert written == Written()
        resumed = played(msgspec.structs.replace(second, ops=()), image)[1]
        assert shapes(resumed) == shapes(mount)
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


PARTS = 3
"""The plain tests take the catalogue's programs in such parts, one each time."""


def programs() -> list[ParameterSet]:
    """A configuration of each program of the catalogue, and where to cut it in two: any
    place, but the same in each run. Two of three are for the slow tests."""
    found = []
    for program in catalogue():
        number = zlib.crc32(program.name.encode())
        config = program.configs[number % len(program.configs)]
        workload = Workload(program.name, config, program.ops)
        at = number // 7 % (len(program.ops) + 1)
        marks = [pytest.mark.slow] if number // 11 % PARTS else []
        found.append(pytest.param(workload, at, id=f"{workload.name}-{at}", marks=marks))
    return found


@pytest.mark.parametrize(("workload", "at"), programs())
def test_a_model_goes_on_from_the_image_of_the_first_half(bases, workload, at):
    check_split(workload, at, bases(workload.config.image))


TREE = "a tree of two levels and its leaves half empty"
LINES = {
    TREE: (
        "1k@nodelalloc",
        "; ".join(f"pwrite a {at * 2}k 1k" for at in range(400))
        + "; "
        + "; ".join(f"fpunch a {at}k 150k" for at in (4, 170, 340, 510, 680)),
        "pwrite a 101k 3k; fsync a; fpunch a 300k 100k; fcollapse a 0 2k; append a 9k",
    ),
    "empty indirect blocks": (
        "ext3ish@delalloc",
        "pwrite a 0 100k; pwrite a 5m 8k; pwrite a 5000000k 4k; fsync a; fpunch a 40k 60k; "
        "fpunch a 4m 2m; pwrite b 0 1",
        "pwrite a 60k 4k; fsync a; fpunch a 0 48k; truncate a 40k; pwrite b 48k 1",
    ),
    "inline, small and at the limit": (
        "inline@delalloc",
        "pwrite a 0 30; pwrite b 0 150; pwrite c 0 5000; truncate a 20",
        "append a 30; append b 11; append b 1; pwrite c 0 1; truncate a 3; fzero a 0 3",
    ),
    "limits of users": (
        "quota4k@delalloc,usrquota",
        "pwrite a 0 20k; chown a 9; quota_set 9 40; quota_set 77 8; pwrite b 0 1; chown b 70000",
        "user_write a 40k 40k 9; fsync a; user_write a 20k 20k 9; user_write b 0 8k 77; "
        "chown b 77; user_write b 0 12k 77; unlink a; quota_set 9 8; user_write c 0 1 9",
    ),
    "limits of users, in clusters": (
        "quotabig16k@delalloc,usrquota",
        "pwrite a 0 20k; chown a 9; quota_set 9 40; quota_set 77 8; pwrite b 0 1; chown b 70000; "
        + "; ".join(f"pwrite f{at} 0 1; chown f{at} {at * 65537}" for at in range(1, 16)),
        "user_write a 40k 40k 9; fsync a; user_write a 20k 20k 9; user_write b 0 8k 77; "
        "chown b 77; user_write b 0 12k 77; unlink a; chown f1 99999; quota_set 123456 1",
    ),
    "clusters shared by extents": (
        "bigalloc16k@delalloc",
        "pwrite a 0 4k; falloc_keep a 8k 8k; pwrite a 40k 4k; pwrite b 100k 50k; fpunch b 104k 8k",
        "pwrite a 12k 4k; fpunch a 0 12k; pwrite a 36k 4k; fsync a; pwrite b 104k 2k; truncate b 1",
    ),
    "blocks behind the end, flags": (
        "1k@delalloc",
        "falloc_keep a 0 64k; pwrite a 0 3000; falloc b 0 9k; setflags b 32; pwrite c 5k 1k; "
        "setflags c 16",
        "append b 100; pwrite b 0 1; pwrite c 0 1; truncate a 2k; append a 10k",
    ),
    "what a shutdown leaves of a start": (
        "4k@delalloc",
        "pwrite a 0 20k; pwrite b 0 9k",
        "pwrite a 0 8k; append b 8k; shutdown 2; remount; append a 1",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_each_kind_of_file_goes_on_as_it_was(bases, name):
    config, before, after = LINES[name]
    workload = make_workload(f"{before}; {after}", config)
    check_split(workload, before.count(";") + 1, bases(workload.config.image))


@pytest.mark.parametrize(("name", "bounds"), [(TREE, True), ("clusters shared by extents", False)])
def test_without_places_the_bounds_hold_what_is_there(bases, name, bounds):
    """The past of a tree that was loaded is not known: it may have grown for what is gone.

    Blocks of a cluster that is there already have their places, so what grows there is known.
    """
    config, before, after = LINES[name]
    workload = make_workload(f"{before}; {after}", config)
    _, first, second = halves(workload, before.count(";") + 1)
    base = bases(workload.config.image)
    with image_of(played(first, base)[1], base.volume.source) as (image, _):
        known = played(second, image)[0]
        blind = model_of(image).run(second)
    ranged = 0
    for mine, true in zip(blind.steps, known.steps, strict=True):
        for file, seen in mine.observation.files.items():
            blocks = true.observation.files[file].blocks
            low, high = seen.blocks_range or (seen.blocks, seen.blocks)
            assert low is not None and high is not None and blocks is not None
            assert low <= blocks <= high
            ranged += seen.blocks_range is not None
    assert (ranged > 0) is bounds
