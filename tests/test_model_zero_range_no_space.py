"""ZERO_RANGE that finds no space: what its pages held, and what was read back of them."""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import geometry, in_one_piece, results

from harness.trace import Trace
from model import Behaviour, Model
from workloads.content import pattern

CONFIGS = ["4k@delalloc", "4k@nodelalloc", "4k@delalloc,buffered_iomap", "1k@delalloc"]
QUIRKS = [frozenset[str](), frozenset({"zero_range_revives_eof_block"})]
READ = "pread a 48k 1000"
LATER = f"{READ}; truncate a 264k; {READ}; fsync a; drop_caches; {READ}; pread a 49k 3k"


def run(line: str, config: str, quirks: frozenset[str] = frozenset()) -> Trace:
    """The model's trace of a line of operations, each file in one piece."""
    model = Model(Behaviour(iomap="iomap" in config, quirks=quirks), geometry)
    workload = make_workload(line, config)
    return model.run(workload, in_one_piece(workload, a=31, fill=35))


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("quirks", QUIRKS, ids=["strict", "quirk"])
def test_a_block_of_eof_that_was_not_reached_is_read_back_for_good(
    config: str, quirks: frozenset[str]
) -> None:
    """Seen on 7.3.4 with the series, both paths: the block of EOF is in the page
    cache as it is on disk, its tail zeroed; the model had zeros in its place."""
    line = f"pwrite a 48k 1000 tag=0; fsync a; falloc fill 0 64m; fzero a 24k 64k; {LATER}"
    trace = run(line, config, quirks)
    found = results(trace)
    assert found[3] == "ENOSPC"
    assert found[4] == found[6] == found[9] == md5(pattern(0, 49152, 1000))
    assert found[10] == md5(bytes(3072))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_block_of_eof_that_was_reached_is_zero(config: str) -> None:
    """The range makes it unwritten before it comes to the blocks that it can't have."""
    line = f"pwrite a 48k 1000 tag=0; fsync a; falloc fill 0 64m; fzero a 48k 64k; {LATER}"
    trace = run(line, config)
    found = results(trace)
    assert found[3] == "ENOSPC"
    assert found[4] == found[6] == found[9] == md5(bytes(1000))


@pytest.mark.parametrize("config", ["1k@delalloc", "1k@nodelalloc", "1k@delalloc,buffered_iomap"])
def test_what_a_page_did_not_hold_is_read_from_disk(config: str) -> None:
    """The page stays, as the range covers it in part. Zeros are read where it was uptodate."""
    line = "pwrite a 2k 2k tag=0; fsync a; drop_caches; pwrite a 0 1k; pwrite a 3k 1k tag=1; "
    line += "fsync a; falloc fill 0 64m; fzero_keep a 1k 15k; pread a 2k 1k; pread a 3k 1k"
    trace = run(line, config)
    assert results(trace)[7:] == ["ENOSPC", md5(pattern(0, 2048, 1024)), md5(bytes(1024))]
