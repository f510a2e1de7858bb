"""How long files can be: by block size, and without the feature huge_file, as on kernels 7.3."""

from __future__ import annotations

import msgspec
import pytest
from fakes import make_workload
from modelled import geometry, results

from model import Behaviour, Model
from model.content import Content
from model.superblock import max_extent_file_bytes
from workloads.images import IMAGES
from workloads.workload import Config


@pytest.mark.parametrize(
    ("block_size", "huge_file", "limit"),
    [
        (1024, True, 4398046510080),
        (2048, True, 8796093020160),
        (4096, True, 17592186040320),
        (4096, False, 2199023251456),
    ],
)
def test_the_longest_file_follows_from_block_size_and_huge_file(
    block_size: int, huge_file: bool, limit: int
) -> None:
    assert max_extent_file_bytes(block_size, huge_file) == limit


def test_every_call_goes_by_it() -> None:
    line = (
        "truncate a 2199023251457; truncate a 2199023251456; falloc a 2199023251456 4k;"
        " falloc a 2199023247360 4k; pwrite a 2199023251455 10; pwrite a 2199023251456 10;"
        " finsert a 4k 4k"
    )
    image = msgspec.structs.replace(
        IMAGES["4k"], name="nohuge", options=("-b", "4096", "-O", "^huge_file,^resize_inode")
    )
    workload = msgspec.structs.replace(make_workload(line), config=Config(image))
    trace = Model(Behaviour(), geometry).run(workload)
    results = [step.result for step in trace.steps]
    assert results == ["EFBIG", 0, "EFBIG", 0, 1, "EFBIG", "EFBIG"], "as on 7.3.4"


def test_a_long_hole_behind_inline_data_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program at the limits ate up the host's memory here: the copy of what is in the inode was
    as long as the file."""
    read = Content.read

    def few(content: Content, pos: int, count: int) -> bytes:
        assert count < 1 << 20
        return read(content, pos, count)

    monkeypatch.setattr(Content, "read", few)
    workload = make_workload("truncate a 16383g; pwrite a 0 1; pwrite a 0 300", "inline@delalloc")
    assert results(Model(Behaviour(), geometry).run(workload, observed=False)) == [0, 1, 300]
