"""Inline data that leaves the inode and finds no block: it stays, and as kernels do, is lost."""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import FREE, geometry, results

from harness.trace import Extent, State, Trace
from model import Behaviour, Model
from workloads.content import pattern

QUIRK = "inline_data_lost_without_space"
KEPT = 327
"""Blocks of 64 MiB that are kept for conversions."""
DATA = hashlib.md5(pattern(0, 0, 100)).hexdigest()
ZEROS = hashlib.md5(bytes(100)).hexdigest()


def run(line: str, config: str = "inline@nodelalloc", *, quirk: bool = True) -> Trace:
    workload = make_workload(line, config)
    quirks = frozenset({QUIRK} if quirk else ())
    places = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << power),)
        for name, power in (("a", 31), ("b", 35), ("f", 40), ("g", 45))
    }
    model = Model(Behaviour(iomap=False, quirks=quirks), geometry)
    return model.run(workload, (places,) * (len(workload.ops) + 1))


FULL = f"pwrite a 0 100 tag=0; falloc f 0 {(FREE - KEPT) * 4}k; pwrite a 4k 4k; "
LITTLE = (
    f"size: 16m; pwrite a 0 100 tag=0; falloc g 0 400k; falloc f 0 {(FREE - 181) * 4}k; sync;"
    "unlink g; pwrite b 0 324k; sync_range b 0 0; pwrite a 8k 4k;"
)
"""The 81 blocks that are kept are used, the 100 that are free wait for a commit."""
READ = "pread a 0 100; drop_caches; pread a 0 100"


@pytest.mark.parametrize("quirk", [False, True])
def test_the_failed_write_leaves_the_data_in_the_page_cache_alone(quirk: bool) -> None:
    trace = run(FULL + READ, quirk=quirk)
    assert results(trace)[-4:] == ["ENOSPC", DATA, 0, ZEROS if quirk else DATA]
    assert [at for at, step in enumerate(trace.steps) if step.quirks] == ([2] if quirk else [])


@pytest.mark.parametrize("quirk", [False, True])
def test_a_write_that_is_tried_again_after_a_commit_succeeds_without_it(quirk: bool) -> None:
    trace = run(LITTLE + "fsync a;" + READ, "inline@delalloc", quirk=quirk)
    assert results(trace)[-5:] == [4096, 0, DATA, 0, ZEROS if quirk else DATA]


def test_what_is_written_over_it_while_the_folio_is_there_saves_it() -> None:
    trace = run(FULL + "unlink f; sync; pwrite a 50 1 tag=0; fsync a; drop_caches; pread a 0 100")
    assert results(trace)[-1] == DATA
