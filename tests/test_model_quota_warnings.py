"""What the kernel tells of limits over netlink: when, how often, and of whom."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, geometry, placed, run

from harness.trace import TURNS, Extent, State
from model import Behaviour, Model, quota_warnings
from vm.agent.quota import WARNINGS

CONFIG = "quota4k@delalloc,usrquota"
FULL = "pwrite a 0 64k; chown a uid=1000; quota_set uid=1000 hard=64; "
REACHED, BELOW, NOTHING, NO_FILE = (
    f"uid 1000: {text}"
    for text in (
        quota_warnings.HARD, quota_warnings.HARD_BELOW, quota_warnings.SOFT_BELOW,
        quota_warnings.INODE_SOFT_BELOW,
    )
)  # fmt: skip
MORE = "user_write a 64k 4k uid=1000; "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (MORE + MORE, [REACHED]),
        (MORE + "quota_set uid=1000 hard=64; " + MORE, [REACHED, REACHED]),
        ("truncate a 60k; truncate a 56k", [BELOW]),
        ("pwrite a 64k 4k; truncate a 64k", []),
        ("truncate a 0", [NOTHING]),
        ("fsync a; fpunch a 0 4k; truncate a 0", [BELOW, NOTHING]),
        ("chown a uid=2000", [NO_FILE, NOTHING]),
        ("chown a uid=1000", []),
        ("unlink a", [NO_FILE, NOTHING]),
        ("fsync a; unlink a", [NOTHING, NO_FILE]),
        ("pwrite b 0 4k; chown b uid=1000; unlink b", []),
        ("quota_set uid=1000 hard=0; unlink a", []),
        (MORE + "remount; " + MORE, [REACHED, REACHED]),
        (MORE + "close a; remount_opts ro; remount_opts rw; " + MORE, [REACHED, REACHED]),
        (MORE + "remount_opts rw; " + MORE, [REACHED]),
    ],
)
def test_warnings(line: str, expected: list[str]) -> None:
    trace = placed(make_workload(FULL + line, CONFIG))
    assert trace.final is not None
    assert list(trace.final.warnings or ()) == expected


@pytest.mark.parametrize(
    ("config", "expected"), [("quota4k@delalloc", []), ("quota4k@delalloc,usrquota", [NO_FILE])]
)
def test_a_limit_that_is_not_enforced_is_told_of_neither(config: str, expected: list[str]) -> None:
    trace = placed(
        make_workload("truncate a 1; chown a uid=1000; quota_set uid=1000 hard=8; unlink a", config)
    )
    assert trace.final is not None
    assert list(trace.final.warnings or ()) == expected


CLUSTERS = (
    "pwrite a 0 1; chown a uid=1000; quota_set uid=1000 hard=160; user_write a 0 100k uid=1000;"
    " fsync a; user_write a 100k 100k uid=1000; fpunch a 20k 20k; user_write a 24k 4k uid=1000;"
    " user_write a 200k 40k uid=1000; fsync a; fpunch a 16k 88k; user_write a 0 200k uid=1000;"
    " fsync a"
)
BEFORE = ((0, 20, 5216), (24, 4, 5240), (40, 88, 5256), (200, 24, 5416))
AFTER = ((0, 16, 5216), (16, 64, 5440), (104, 24, 5320), (200, 24, 5416))


def test_a_tree_block_that_is_freed_at_the_limit_brings_usage_below_it() -> None:
    """Seen on 7.3.4, whose blocks `BEFORE` and `AFTER` the last write are (KiB): it makes room
    for the extents in the inode, and so the last fsync frees the block of their tree."""
    workload = make_workload(CLUSTERS, "quotabig16k@delalloc,usrquota")
    whole = {"a": (Extent(0, 100 << 10, State.WRITTEN, 5216 << 10),)}
    then, last = (
        {"a": tuple(Extent(at << 10, size << 10, State.WRITTEN, pblk << 10)
                    for at, size, pblk in found)}
        for found in (BEFORE, AFTER)
    )  # fmt: skip
    placement = (whole,) * 9 + (then,) * 3 + (last,) * 2
    trace = Model(Behaviour(), geometry).run(workload, placement)
    assert [file(step).blocks for step in trace.steps[-2:]] == [320, 288]
    assert trace.final is not None
    assert trace.final.warnings == (REACHED, BELOW, REACHED, BELOW, REACHED, BELOW)


def test_what_was_told_before_caches_were_dropped_may_be_told_again() -> None:
    line = FULL + MORE + "sync; close a; drop_caches; drop_caches; "
    known, unknown = (placed(make_workload(line + then, CONFIG)).final for then in ("", MORE))
    assert known is not None and known.warnings == (REACHED,)
    assert unknown is not None and unknown.warnings is None
    assert unknown.unpredicted["warnings"] == quota_warnings.FORGOTTEN
    mounted_again = placed(make_workload(f"{line}remount; {MORE}", CONFIG)).final
    assert mounted_again is not None and mounted_again.warnings == (REACHED, REACHED)


def test_a_file_that_was_changed_since_sync_keeps_what_was_told() -> None:
    """Its inode stays in memory, and so does its owner's quota. Seen on Debian's 7.3.4."""
    line = FULL + MORE + "fsync a; close a; drop_caches; drop_caches; " + MORE
    final = placed(make_workload(line, CONFIG)).final
    assert final is not None and final.warnings == (REACHED,)


def test_without_a_limit_nothing_is_awaited() -> None:
    trace = run("pwrite a 0 64k; chown a uid=1000; unlink a", CONFIG)
    assert trace.final is not None and trace.final.warnings is None


def test_the_guest_says_it_in_the_same_words() -> None:
    said = (REACHED, BELOW, NOTHING, NO_FILE)
    assert {text.removeprefix("uid 1000: ") for text in said} <= set(WARNINGS.values())


def test_pieces_of_clusters_are_told_one_by_one() -> None:
    """An extent that ends inside a cluster: that cluster goes first, then the others."""
    line = (
        "pwrite a 0 1; chown a uid=1000; quota_set uid=1000 hard=48; user_write a 0 33k uid=1000;"
        "fsync a; user_write a 48k 1 uid=1000; truncate a 0"
    )
    final = placed(make_workload(line, "quotabig16k@delalloc,usrquota")).final
    assert final is not None
    assert final.warnings == (REACHED, BELOW, NOTHING)


def test_nothing_is_set_aside_by_a_request_that_quota_cut() -> None:
    """Blocks set aside would give fallocate less than was charged for, and what is given back
    lets the limit be told again. Seen on 7.3.4 with the iomap series."""
    line = (
        "pwrite a 0 1; chown a uid=1000; quota_set uid=1000 hard=64;"
        " user_write a 300k 396k uid=1000; sync; falloc_keep a 396k 396k;"
        " user_write a 100000 5000 uid=1000"
    )
    workload = make_workload(line, "quota4k@nodelalloc,usrquota,buffered_iomap")
    trace = placed(workload, iomap=True)
    assert trace.final is not None
    assert list(trace.final.warnings or ()) == [REACHED]


FOUR = (  # extents, in seven blocks
    "pwrite a 0 12k; falloc a 12k 8k; pwrite a 32k 4k; pwrite a 48k 4k; fsync a; chown a uid=1000;"
)


@pytest.mark.parametrize(
    ("hard", "line", "expected"),
    [
        (32, "fzero a 8k 4k", [BELOW]),  # the extent is split off, then merges with the next one
        (36, "fzero a 8k 4k", []),
        (32, "fpunch a 4k 4k", [BELOW]),  # the tree block comes before the block goes
        (36, "fpunch a 4k 4k", []),
    ],
)
def test_a_tree_block_counts_while_it_is_there(hard: int, line: str, expected: list[str]) -> None:
    """All seen on Debian's 7.3.4."""
    workload = make_workload(f"{FOUR} quota_set uid=1000 hard={hard}; {line}", CONFIG)
    final = placed(workload).final
    assert final is not None
    assert list(final.warnings or ()) == expected


def test_a_tree_block_that_one_conversion_takes_and_gives_back_may_not_have_been() -> None:
    """Of the extents some may be mapped only when others are converted already."""
    line = f"{FOUR} quota_set uid=1000 hard=32; pwrite a 12k 4k; fsync a"
    final = placed(make_workload(line, CONFIG)).final
    assert final is not None and final.warnings is None
    assert final.unpredicted["warnings"] == quota_warnings.PASSING
    limits = line.replace("32", "36")
    final = placed(make_workload(limits, CONFIG)).final
    assert final is not None and final.warnings == ()


@pytest.mark.parametrize(
    ("hard", "supposed", "expected"),
    [(256, {}, ()), (256, {TURNS[0]: ()}, (BELOW,)), (240, {TURNS[0]: ()}, ()),
     (272, {TURNS[0]: ()}, ()), (256, {TURNS[1]: ()}, ()), (256, {TURNS[2]: ()}, (BELOW,))],
)  # fmt: skip
def test_a_conversion_gives_a_tree_block_back_before_the_next_extent_takes_it(
    hard: int, supposed: dict[str, tuple[Extent, ...]], expected: tuple[str, ...]
) -> None:
    """As on Debian's 7.3.4, which told of 256 KiB: the third I/O ended first, and blocks 4 to 6
    became one extent before 516 to 524 were mapped."""
    line = (
        f"pwrite a 0 1; chown a uid=1000; quota_set uid=1000 hard={hard}; fsync a; fzero a 4k 4k;"
        "pwrite a 20k 8k; fsync a; pwrite a 4k 16k; pwrite a 2056k 8k; pwrite a 2064k 34k;"
        "pwrite a 2109k 136k; fsync a"
    )
    ends = ((0, 4, 1304), (4, 7, 1816), (514, 516, 2326), (516, 525, 2332), (527, 562, 2343))
    seen = tuple(
        Extent(first << 12, (end - first) << 12, State.WRITTEN, place << 12)
        for first, end, place in ends
    )
    workload = make_workload(line, "quotabig16k@delalloc,usrquota")
    trace = placed(workload, {"a": seen, **supposed})
    assert file(trace.steps[-1]).blocks == 512
    assert trace.final is not None
    assert trace.final.warnings == expected
    assert "order of conversions: ext4_end_io_rsv_work" in trace.steps[-1].because


def test_a_rejected_copy_lay_elsewhere_than_what_was_written_then() -> None:
    """Blocks as 7.3.4 put those of the second try: the tree needs a block for them. The 32 of the
    first try were freed before anybody saw them, and can't be had again before a commit."""
    places, pieces = (2075, 2603, 2619, 2627, 2631), (16, 8, 4, 2, 1)
    extents, at = [], 0
    for place, blocks in zip(places, pieces, strict=True):
        extents.append(Extent(at << 12, blocks << 12, State.WRITTEN, place << 12))
        at += blocks
    line = "chown a uid=1000; quota_set uid=1000 hard=32; pwrite_fault a 0 128k fault=124k"
    workload = make_workload(line, "quota4k@nodelalloc,usrquota")
    trace = placed(workload, {"a": tuple(extents)})
    assert file(trace.steps[-1]).blocks == 8 * (31 + 1)
    assert trace.final is not None and trace.final.warnings == (NOTHING,)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        ("12k 4k", [NOTHING]),  # the last block of a cluster alone
        ("0 4k", [NOTHING]),
        ("4k 8k", [NOTHING]),
        ("12k 20k", [BELOW, NOTHING]),  # that, after the whole cluster behind it
        ("12k 24k", [BELOW, NOTHING]),
    ],
)
def test_each_cluster_of_an_extent_is_told_of_once(write: str, expected: list[str]) -> None:
    """All seen on Debian's 7.3.4."""
    clusters = 32 if len(expected) > 1 else 16
    line = f"chown a uid=1000; quota_set uid=1000 hard={clusters}; pwrite a {write}; fsync a"
    final = placed(make_workload(f"{line}; truncate a 0", "quotabig16k@delalloc,usrquota")).final
    assert final is not None and list(final.warnings or ()) == expected


@pytest.mark.parametrize(
    ("supposed", "expected"),
    [({}, (BELOW, BELOW)), ({TURNS[0]: ()}, None)],
    ids=["in turn", "not"],
)
def test_where_tree_blocks_come_and_go_the_order_of_conversions_is_told(
    supposed: dict[str, tuple[Extent, ...]], expected: tuple[str, ...] | None
) -> None:
    """Five extents need a tree block, which reaches the limit. It goes when a conversion leaves
    four. Before the last extent is mapped one I/O has to be converted: the first one takes the
    block for a moment. As on Debian's 7.3.4, which told it twice."""
    line = (
        "pwrite a 0 4k; falloc a 8k 16k; pwrite a 28k 4k; fsync a; chown a uid=1000;"
        "quota_set uid=1000 hard=232; pwrite a 4k 4k; pwrite a 8k 16k; pwrite a 24k 4k;"
        "pwrite a 32k 64k; pwrite a 220k 132k; fsync a"
    )
    there = {"a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),)}
    workload = make_workload(line, CONFIG)
    placement = ({**there, **supposed},) * (len(workload.ops) + 1)
    trace = Model(Behaviour(iomap=False), geometry).run(workload, placement)
    assert trace.final is not None
    assert trace.final.warnings == expected
    assert "order of conversions: ext4_end_io_rsv_work" in trace.steps[-1].because
