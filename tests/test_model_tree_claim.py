"""Tree blocks that can't be had: what is undone, what is zeroed instead, and what is refused."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import FREE, file, placed, results, states

from harness.errors import NotModelledError
from harness.trace import Extent, State

AT_ONCE = "quota4k@nodelalloc,usrquota"
KIB = 1024
APART = {
    "a": tuple(
        Extent(8 * KIB * at, 4 * KIB, State.WRITTEN, (1 << 30) + 1024 * KIB * at) for at in range(5)
    ),
    "fill": (Extent(0, 1 << 30, State.WRITTEN, 1 << 35),),
}
"""Every second block of `a` somewhere else."""
FIVE = "; ".join(f"pwrite a {8 * at}k 4k" for at in range(5))


@pytest.mark.parametrize(
    ("config", "left", "last", "sectors"),
    [
        ("4k@nodelalloc", 5, "ENOSPC", 32),
        ("4k@nodelalloc", 6, 4 * KIB, 48),
        ("4k@delalloc", 5, 4 * KIB, 40),
    ],
)
def test_a_fifth_extent_needs_room_for_its_tree_block(
    config: str, left: int, last: object, sectors: int
) -> None:
    """327 blocks are kept. Delayed blocks take the tree block from these."""
    fill = FREE - 16384 // 50 - left
    trace = placed(make_workload(f"falloc fill 0 {4 * fill}k; {FIVE}", config), APART)
    assert results(trace)[-1] == last
    assert file(trace.steps[-1]).blocks == sectors


SPLIT = "falloc a 0 256k; chown a uid=1000; quota_set uid=1000 hard=256; "


def test_an_extent_that_may_not_be_split_is_zeroed() -> None:
    """Its right end is split off still; the fifth extent would need a tree block."""
    line = SPLIT + "user_write a 40k 4k uid=1000; user_write a 120k 4k uid=1000"
    trace = placed(make_workload(line, AT_ONCE))
    assert results(trace)[-1] == 4 * KIB
    assert states(trace.steps[-1]) == [
        (0, 40 * KIB, "unwritten"),
        (40 * KIB, 84 * KIB, "written"),
        (124 * KIB, 132 * KIB, "unwritten"),
    ]
    assert file(trace.steps[-1]).blocks == 512


def test_past_eof_nothing_may_be_zeroed() -> None:
    """The write fails and, as any that fails past EOF, takes what is preallocated there."""
    line = SPLIT.replace("falloc", "falloc_keep") + (
        "user_write a 40k 4k uid=1000; user_write a 120k 4k uid=1000"
    )
    trace = placed(make_workload(line, AT_ONCE))
    assert results(trace)[-1] == "EDQUOT"
    assert file(trace.steps[-1]).blocks == 88


def test_root_splits_as_it_likes() -> None:
    line = SPLIT + "pwrite a 40k 4k; pwrite a 120k 4k"
    assert file(placed(make_workload(line, AT_ONCE)).steps[-1]).blocks == 520


def test_what_depends_on_a_place_that_nobody_saw_is_refused() -> None:
    """Behind block 0 the new block merges; anywhere else it is the fifth extent."""
    writes = "; ".join(f"user_write a {32 * at}k 4k uid=1000" for at in range(4))
    line = f"truncate a 0; chown a uid=1000; quota_set uid=1000 hard=20; {writes}; "
    apart = tuple(
        Extent(32768 * at, 4096, State.WRITTEN, (1 << 30) + 131072 * at) for at in range(4)
    )
    with pytest.raises(NotModelledError, match="was not allocated"):
        placed(make_workload(line + "user_write a 4k 4k uid=1000", AT_ONCE), {"a": apart})


def test_a_place_that_the_file_has_already_is_none() -> None:
    """The blocks follow each other on the device, so none can be behind block 0."""
    writes = "; ".join(f"user_write a {32 * at}k 4k uid=1000" for at in range(4))
    line = f"truncate a 0; chown a uid=1000; quota_set uid=1000 hard=20; {writes}; "
    close = tuple(Extent(32768 * at, 4096, State.WRITTEN, (1 << 30) + 4096 * at) for at in range(4))
    trace = placed(make_workload(line + "user_write a 4k 4k uid=1000", AT_ONCE), {"a": close})
    assert results(trace)[-1] == "EDQUOT"
