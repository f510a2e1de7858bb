"""A store through a mapping that ends in SIGBUS for want of space: earlier pages stay stored."""

from __future__ import annotations

import zlib

import pytest
from fakes import make_workload
from modelled import FREE, placed, results, states

from workloads.content import pattern

LINE = "falloc a 0 {fill}k; truncate b 64k; mwrite b 4100 20000 tag=3; fsync b; seek b"


def left(config: str, iomap: bool, free: int) -> list[object]:
    """Results where a few more than `free` KiB are left when `b` is stored to."""
    probe = placed(make_workload(f"falloc a 0 {FREE - 2000}k", config), iomap=iomap).steps[0]
    assert probe.observation.bavail is not None
    fill = FREE - 2000 + probe.observation.bavail - free
    trace = placed(make_workload(LINE.format(fill=fill), config), iomap=iomap)
    return [results(trace)[2], results(trace)[4], states(trace.steps[3], "b"), trace.final]


@pytest.mark.parametrize("iomap", [False, True])
def test_pages_before_the_one_that_fails_stay_stored(iomap: bool) -> None:
    config = "1k@nodelalloc,buffered_iomap" if iomap else "1k@nodelalloc"
    result, _, extents, final = left(config, iomap, 6)
    assert result == "SIGBUS"
    assert isinstance(extents, list) and extents == [(4096, 6144, "written")]
    content = final.content["b"]  # type: ignore[attr-defined]
    stored = bytes(4) + pattern(3, 4100, 4092)
    assert set(content.blocks) == {1}
    assert content.blocks[1] == zlib.crc32(stored)
