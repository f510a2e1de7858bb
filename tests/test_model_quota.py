"""Quota: what a hard limit lets through, who is bound by it, and what counts."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import FREE, chosen, disagreements, file, placed, results, run

from harness.errors import NotModelledError
from harness.trace import Extent, State
from model import Behaviour
from workloads.files import catalogue
from workloads.program import workloads

DELALLOC = "quota4k@delalloc,usrquota"
AT_ONCE = "quota4k@nodelalloc,usrquota"
BOTH = pytest.mark.parametrize("config", [DELALLOC, AT_ONCE])
SETUP = "pwrite a 0 1; chown a uid=1000; fsync a; quota_set uid=1000 hard=400; "


@pytest.mark.parametrize("config", ["quota4k@delalloc", "quota4k@nodelalloc"])
@pytest.mark.parametrize("kernel", ["bh-extra", "bh73-extra"])
def test_recorded_programs_agree(kernel: str, config: str) -> None:
    for trace in chosen(kernel, config):
        assert disagreements(trace, Behaviour(iomap=False)) == []


def test_recorded_programs_agree_on_the_iomap_path() -> None:
    for trace in chosen("iomap-extra", "quota4k@"):
        assert disagreements(trace, Behaviour()) == []


@pytest.mark.parametrize(
    ("config", "written"),
    [(DELALLOC, 86016), (AT_ONCE, 86016), (DELALLOC + ",buffered_iomap", "EDQUOT")],
)
def test_a_write_across_the_limit(config: str, written: object) -> None:
    """buffer_head stops at a folio (64 + 16 + 4 KiB of 100), iomap reserves all or nothing."""
    line = SETUP + "user_write a 0 300k uid=1000; user_write a 300k 200k uid=1000"
    assert results(placed(make_workload(line, config), iomap=True))[-2:] == [307200, written]


@pytest.mark.parametrize(
    ("config", "written"), [(DELALLOC, 262144), (DELALLOC + ",buffered_iomap", 4096)]
)
def test_a_write_larger_than_the_limit(config: str, written: int) -> None:
    line = SETUP + "user_write a 0 1m uid=1000"
    assert results(placed(make_workload(line, config), iomap=True))[-1] == written


@BOTH
def test_the_limit_is_reached_exactly_and_not_passed(config: str) -> None:
    line = SETUP + (
        "user_write a 0 396k uid=1000; user_write a 396k 4k uid=1000;user_write a 400k 4k uid=1000"
    )
    assert results(placed(make_workload(line, config)))[-3:] == [405504, 4096, "EDQUOT"]


@BOTH
def test_what_is_given_back_can_be_used_again(config: str) -> None:
    line = SETUP + (
        "user_write a 0 400k uid=1000; truncate a 100k; user_write a 100k 300k uid=1000;"
        "fsync a; fpunch a 0 200k; user_write a 0 200k uid=1000"
    )
    assert results(placed(make_workload(line, config)))[-1] == 204800


@BOTH
def test_root_passes_the_limit(config: str) -> None:
    line = SETUP + "user_write a 0 400k uid=1000; falloc a 0 1m; pwrite a 1m 64k"
    assert results(placed(make_workload(line, config)))[-2:] == [0, 65536]


@BOTH
def test_the_owner_is_charged_not_the_writer(config: str) -> None:
    line = SETUP + "user_write a 0 400k uid=1000; user_write b 0 64k uid=1000"
    assert results(placed(make_workload(line, config)))[-1] == 65536


@BOTH
def test_reservations_move_with_the_owner(config: str) -> None:
    """40 KiB that are still delayed count for their new owner, who has 4 KiB left."""
    line = (
        "quota_set uid=1000 hard=44; pwrite a 0 40k; chown a uid=1000;"
        "user_write a 40k 4k uid=1000; user_write a 44k 4k uid=1000; chown a uid=0;"
        "user_write a 44k 4k uid=1000"
    )
    assert results(placed(make_workload(line, config))) == [0, 40960, 0, 4096, "EDQUOT", 0, 4096]


@BOTH
def test_an_overwrite_needs_no_quota(config: str) -> None:
    line = SETUP + "user_write a 0 400k uid=1000; fsync a; user_write a 0 400k uid=1000"
    assert results(placed(make_workload(line, config)))[-1] == 409600


def test_limits_bind_only_with_the_mount_option() -> None:
    line = SETUP + "user_write a 0 1m uid=1000"
    assert results(run(line, "quota4k@delalloc"))[-1] == 1048576


def test_a_limit_below_what_is_used_refuses_more() -> None:
    line = "pwrite a 0 64k; chown a uid=1000; quota_set uid=1000 hard=8; " + (
        "user_write a 64k 4k uid=1000; quota_set uid=1000 hard=0; user_write a 64k 4k uid=1000"
    )
    assert results(run(line, DELALLOC))[-3:] == ["EDQUOT", 0, 4096]


def test_a_failed_reservation_leaves_nothing_behind() -> None:
    line = SETUP + "user_write a 0 400k uid=1000; user_write a 400k 4k uid=1000"
    trace = placed(make_workload(line, DELALLOC))
    assert file(trace.steps[-1]).blocks == 800
    assert trace.steps[-1].observation.delalloc == 99
    assert trace.steps[-1].events == ()


def test_without_the_feature_there_is_no_quota_to_set() -> None:
    assert results(run("quota_set uid=1000 hard=400")) == ["ESRCH"]


def test_a_tree_block_counts_where_blocks_are_allocated_at_once() -> None:
    """With five extents the tree takes a block: 24 KiB for 20 KiB of data."""
    writes = "; ".join(f"user_write a {32 * at}k 4k uid=1000" for at in range(5))
    line = "truncate a 0; chown a uid=1000; quota_set uid=1000 hard={}; " + writes
    apart = tuple(
        Extent(32768 * at, 4096, State.WRITTEN, (1 << 30) + 131072 * at) for at in range(5)
    )
    for hard, last, sectors in ((24, 4096, 48), (20, "EDQUOT", 32)):
        trace = placed(make_workload(line.format(hard), AT_ONCE), {"a": apart})
        assert results(trace)[-1] == last
        assert file(trace.steps[-1]).blocks == sectors


def test_every_fourth_leaf_of_the_quota_file_takes_a_block() -> None:
    """The file has 6 blocks of 1 KiB at first; each uid here needs one leaf of its own, so
    that the third passes 8 KiB."""
    line = "pwrite a 0 1; chown a uid=2000; chown a uid=2001; chown a uid=3000; chown a uid=4000"
    free = [step.observation.bfree for step in run(line, DELALLOC).steps]
    assert [FREE - 1 - (blocks or 0) for blocks in free] == [0, 0, 0, 0, 1]


def test_unknown_tree_blocks_are_not_guessed_at_the_limit() -> None:
    line = SETUP + "user_write a 0 396k uid=1000; fsync a; user_write a 396k 4k uid=1000"
    with pytest.raises(NotModelledError, match="quota of uid 1000"):
        run(line, DELALLOC)


def test_the_catalogue_of_quota_programs_runs() -> None:
    ran = [placed(workload) for program in catalogue("quota") for workload in workloads(program)]
    assert len(ran) >= 16
    assert sum("EDQUOT" in results(trace) for trace in ran) >= 3
