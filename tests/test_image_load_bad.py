"""Damaged images: the loader takes them, or says what is wrong, in words of ours."""

from __future__ import annotations

import contextlib
import functools
import random

import msgspec
import pytest
from allocating import model_of, played
from fakes import make_workload
from test_image_load import LINES, TREE, Bases, from_file

from harness.errors import NotModelledError
from model.image.errors import ImageError
from model.image.filesystem import Filesystem
from model.image.source import MemorySource
from model.image.write_target import Overlay
from model.image_writer import image_of
from vm.host_tools import ensure_host_tools
from workloads.workload import Workload

NAMES = [TREE, "empty indirect blocks", "inline, small and at the limit", "limits of users"]
EACH = 150


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    ensure_host_tools(["mke2fs"])
    return Bases(tmp_path_factory.mktemp("bases"))


def metadata(fs: Filesystem) -> list[tuple[int, int]]:
    """Bytes and lengths of what a loader reads: superblock, inodes, directory, trees, quota."""
    size, sb = fs.volume.block_size, fs.volume.sb
    found = [(1024, 1024), (fs.inodes.offset(1), 40 * fs.volume.inode_size)]
    for number in (2, 12, 13, 14, sb.usr_quota_inum):
        with contextlib.suppress(ImageError):
            mapping = fs.mapping(fs.inode(number))
            found += [(block * size, size) for block in mapping.tree]
            if number < 12:
                found += [(e.physical * size, e.length * size) for e in mapping.extents]
    return found


def damaged(data: Overlay, places: list[tuple[int, int]], chance: random.Random) -> Overlay:
    """The image with one to four bytes or words of its metadata changed."""
    made = Overlay(data, data.block_size)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.choice(places)
        value = chance.choice([b"\0", b"\xff", b"\0\0\0\0", b"\xff" * 4, chance.randbytes(1)])
        made.write(at + chance.randrange(length - len(value)), value)
    return made


@functools.cache
def workload_of(name: str) -> tuple[Workload, Workload]:
    config, before, after = LINES[name]
    return make_workload(before, config), make_workload(after, config)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_image_is_loaded_or_refused_in_words(bases, name):
    before, after = workload_of(name)
    base = bases(before.config.image)
    after = msgspec.structs.replace(after, ops=(), config=from_file(after.config))
    refused = 0
    with image_of(played(before, base)[1], base.volume.source) as (image, _):
        places = metadata(image)
        assert isinstance(image.volume.source, Overlay)
        for seed in range(EACH):
            made = damaged(image.volume.source, places, random.Random(f"{name}{seed}"))
            try:
                model_of(Filesystem(made, verify=False)).run(after)
            except (ImageError, NotModelledError):
                refused += 1
    assert EACH // 20 < refused < EACH


def test_a_quota_file_that_points_to_itself_ends(bases):
    """Each of its 256 words leads back to the root."""
    before, after = workload_of("limits of users")
    base = bases(before.config.image)
    quota = base.mapping(base.inode(base.volume.sb.usr_quota_inum)).extents[0].physical
    data = bytearray(base.volume.source.read(0, base.volume.source.size))
    at = quota * base.volume.block_size + 1024
    data[at : at + 1024] = (1).to_bytes(4, "little") * 256
    after = msgspec.structs.replace(after, ops=(), config=from_file(after.config))
    fs = Filesystem(MemorySource(bytes(data)))
    with pytest.raises(ImageError, match="quota file: its block 1 is reached twice"):
        model_of(fs).run(after)
