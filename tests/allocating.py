"""A model that is told where its blocks lie without a kernel: a simple allocator tells.

Its places are those of a real image, free ones only, so that the image that the model
writes has them, and a model that starts from that image goes on with the same allocator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from harness.trace import Trace
from model import Behaviour, Model
from model import run as model_run
from model.image.filesystem import Filesystem
from model.image.write_space import Space
from model.image_clear import cleared
from model.mount import Mount
from model.placement import Placer
from workloads.images import Geometry
from workloads.workload import Workload

__all__ = ["model_of", "played"]

_LONGEST = 24
"""Clusters that the allocator gives in one piece, so that trees get many extents."""


class Allocator(Placer):
    """Gives what is free behind the block before, else the first free clusters."""

    def __init__(self, space: Space) -> None:
        super().__init__(None, 0)
        self.mount: Mount
        self.ratio, self.first = space.volume.ratio, space.volume.first_block
        self.used = 0
        for group in reversed(range(space.volume.groups_count)):
            self.used = self.used << space.volume.clusters_in(group) | space.clusters[group]
        self.count = sum(map(space.volume.clusters_in, range(space.volume.groups_count)))

    def _taken(self) -> int:
        """A bit for each cluster that is in use."""
        taken = self.used
        for file in self.mount.files.values():
            for run in file.es:
                if run.pblk is not None:
                    at = run.pblk - self.first
                    low, high = at // self.ratio, (at + run.end - run.start - 1) // self.ratio
                    taken |= (1 << high - low + 1) - 1 << low
        return taken

    def lookup(
        self, name: str, lblk: int, near: int | None, length: int = 1
    ) -> tuple[int, int] | None:
        """A place as a kernel could have chosen it."""
        inode = self.mount.files[name]
        low = lblk // self.ratio * self.ratio
        skip = lblk - low
        for run in inode.es.overlapping(low, low + self.ratio):
            if run.pblk is not None:  # the cluster is the file's already
                return run.pblk - run.start + lblk, self.ratio - skip
        free = ~self._taken() & (1 << self.count) - 1
        at, odd = divmod((near or 0) - skip - self.first, self.ratio)
        if near is None or odd or not free >> max(at, 0) & 1:
            at = (free & -free).bit_length() - 1
        assert at >= 0, "no cluster is free"
        free >>= at
        length = min((~free & free + 1).bit_length() - 1, _LONGEST)
        return self.first + at * self.ratio + skip, length * self.ratio - skip


@contextlib.contextmanager
def _allocating(fs: Filesystem) -> Iterator[None]:
    empty = cleared(fs)
    placer = Allocator(Space(empty.volume, empty.groups))

    def mounted(config: Any, geometry: Any, behaviour: Any, _placer: Any) -> Mount:
        placer.mount = Mount(config, geometry, behaviour, placer)
        return placer.mount

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_run, "Mount", mounted)
        yield


def model_of(fs: Filesystem, behaviour: Behaviour | None = None) -> Model:
    """A model that knows of `fs` what it starts from, and no places."""
    volume = fs.volume
    geometry = Geometry(
        volume.blocks_count, volume.free_blocks, volume.reserved_blocks,
        volume.block_size, volume.cluster_size, volume.inode_size,
    )  # fmt: skip
    return Model(behaviour or Behaviour(iomap=False), lambda _: geometry, lambda _: fs)


def played(
    workload: Workload, fs: Filesystem, behaviour: Behaviour | None = None
) -> tuple[Trace, Mount]:
    """The model on `workload`, which begins with the image `fs`, with the allocator's places."""
    with _allocating(fs):
        return model_of(fs, behaviour).play(workload)
