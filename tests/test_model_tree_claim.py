"""Tree blocks that can't be had: what is undone, what is zeroed instead, and what is refused."""

from __future__ import annotations

import hashlib

import pytest
from fakes import make_workload
from modelled import FREE, file, geometry, placed, results, run, states

from harness.errors import NotModelledError
from harness.running.suppositions import UNSEEN
from harness.trace import APART, EventKind, Extent, State, Trace
from model import Behaviour, Model
from model.errors import OpError
from model.extent_status import Run
from model.inode import Inode
from model.mount import Mount
from model.placement import Placer
from model.tree_claim import may_lack_tree_block, split_at
from model.units import WRITTEN
from workloads.images import Geometry
from workloads.program import config_of

AT_ONCE = "quota4k@nodelalloc,usrquota"
KIB = 1024
FAR = {
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
    trace = placed(make_workload(f"falloc fill 0 {4 * fill}k; {FIVE}", config), FAR)
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


@pytest.mark.parametrize(("supposed", "result"), [({}, 4096), ({APART: ()}, "EDQUOT")])
def test_a_place_that_nobody_saw_is_behind_the_block_before_or_apart(
    supposed: dict[str, tuple[Extent, ...]], result: object
) -> None:
    """Behind block 0 the new block merges; anywhere else it is the fifth extent."""
    writes = "; ".join(f"user_write a {32 * at}k 4k uid=1000" for at in range(4))
    line = f"truncate a 0; chown a uid=1000; quota_set uid=1000 hard=20; {writes}; "
    apart = tuple(
        Extent(32768 * at, 4096, State.WRITTEN, (1 << 30) + 131072 * at) for at in range(4)
    )
    workload = make_workload(line + "user_write a 4k 4k uid=1000", AT_ONCE)
    trace = placed(workload, {"a": apart, **supposed})
    assert results(trace)[-1] == result
    assert UNSEEN in trace.steps[-1].because


@pytest.mark.parametrize(("hard", "result"), [(20, "EDQUOT"), (24, 4096)])
def test_a_tree_block_that_a_merge_makes_superfluous_has_to_be_had_first(
    hard: int, result: object
) -> None:
    """Block 5 goes to a leaf before it merges with the unwritten block 6, whose left neighbour
    is block 4; then four extents are left, and the leaf goes."""
    writes = "; ".join(f"user_write a {8 * at}k 4k uid=1000" for at in range(3))
    line = f"truncate a 0; chown a uid=1000; quota_set uid=1000 hard={hard}; {writes}; fsync a; "
    there = [(at, State.WRITTEN, 200 * at) for at in (0, 2, 4)] + [(6, State.UNWRITTEN, 901)]
    seen = tuple(Extent(4096 * at, 4096, state, 4096 * place) for at, state, place in there)
    new = Extent(5 * 4096, 4096, State.UNWRITTEN, 4096 * 900)
    line += "falloc a 24k 4k; user_write a 20k 4k uid=1000"
    workload = make_workload(line, AT_ONCE + ",buffered_iomap")
    trace = placed(workload, {"a": (*seen[:3], new, seen[3])}, iomap=True)
    assert results(trace)[-1] == result
    assert file(trace.steps[-1]).blocks == (40 if result == 4096 else 32)


def test_a_place_that_the_file_has_already_is_none() -> None:
    """The blocks follow each other on the device, so none can be behind block 0."""
    writes = "; ".join(f"user_write a {32 * at}k 4k uid=1000" for at in range(4))
    line = f"truncate a 0; chown a uid=1000; quota_set uid=1000 hard=20; {writes}; "
    close = tuple(Extent(32768 * at, 4096, State.WRITTEN, (1 << 30) + 4096 * at) for at in range(4))
    trace = placed(make_workload(line + "user_write a 4k 4k uid=1000", AT_ONCE), {"a": close})
    assert results(trace)[-1] == "EDQUOT"


def _full(names: str, step: int, clusters: int, *, quirk: bool, then: str = "") -> Trace:
    """Each file has five delayed blocks, `step` KiB apart, in `clusters` clusters, and needs
    another for its tree; the device is full but for these and the two that are kept. All are
    synced, and `then` is done."""
    image = Geometry(
        blocks=16 * 128, free_blocks=16 * (2 + 128 + len(names) * clusters), reserved_blocks=0,
        block_size=4 * KIB, cluster_size=64 * KIB,
    )  # fmt: skip
    apart = {
        name: tuple(
            Extent(step * KIB * at, 4 * KIB, State.WRITTEN, (1 << 40 + nth) + step * KIB * at)
            for at in range(5)
        )
        for nth, name in enumerate(names)
    }
    writes = "; ".join(f"pwrite {name} {step * at}k 4k" for name in names for at in range(5))
    syncs = "; ".join(f"fsync {name}" for name in names)
    workload = make_workload(
        f"{writes}; falloc fill 0 {64 * 128}k; {syncs}{then}", "bigalloc64k@delalloc"
    )
    quirks = frozenset({"reserved_blocks_run_out"} if quirk else ())
    placement = tuple({**apart, "fill": FAR["fill"]} for _ in range(len(workload.ops) + 1))
    return Model(Behaviour(iomap=False, quirks=quirks), lambda _: image).run(workload, placement)


def test_delayed_blocks_that_find_no_space_are_lost_as_a_known_bug_only() -> None:
    """Four files need eight clusters; there are the four that they reserved, and two."""
    strict, followed = (_full("abcd", 8, 1, quirk=quirk) for quirk in (False, True))
    for trace in (strict, followed):
        assert results(trace)[-5:] == [0, 0, 0, 0, 0]
    assert file(strict.steps[-1], "d").blocks == 256
    assert file(followed.steps[-1], "d").blocks == 0
    assert [len(states(followed.steps[-1], name)) for name in "abcd"] == [5, 5, 5, 0]
    assert [e.kind for e in followed.steps[-1].events or ()] == [EventKind.RELEASE]
    assert followed.final is not None
    assert followed.final.observation.files["d"].size == 0
    assert not strict.steps[-1].quirks and followed.steps[-1].quirks


@pytest.mark.parametrize(
    ("then", "disksize"), [("", 0), ("drop_caches; ", 36 << 10)], ids=["cached", "dropped"]
)
def test_the_folios_of_lost_blocks_stay_cached(then: str, disksize: int) -> None:
    """The last one decides how long the first chunk of the next write is: one page, so that it
    is not past EOF and nothing is trimmed when it fails. A new folio has both pages."""
    trace = _full("abcd", 8, 1, quirk=True, then=f"; {then}pwrite d 32k 8k")
    assert trace.steps[-1].result == "ENOSPC"
    assert (file(trace.steps[-1], "d").size, file(trace.steps[-1], "d").disksize) == (
        36 << 10,
        disksize,
    )


def test_writeback_that_never_ends_is_refused() -> None:
    """The third file's last block finds a cluster, its tree block none."""
    with pytest.raises(NotModelledError, match="for ever"):
        _full("abc", 128, 5, quirk=True)
    assert results(_full("abc", 128, 5, quirk=False))[-1] == 0


@pytest.mark.parametrize(
    ("left", "zero", "expected"),
    [
        (0, "fzero_keep a 40k 8k", ["written"] * 4),
        (1, "fzero_keep a 40k 8k", ["written", "unwritten", *["written"] * 4]),
        (0, "fzero_keep a 160k 4k", ["written", "unwritten", "written", "written"]),
    ],
)
def test_zero_range_in_an_extent_that_cannot_be_split_zeroes_on_disk(
    left: int, zero: str, expected: list[str]
) -> None:
    """Four extents fill the inode; the tree block may not come out of the 327 kept blocks."""
    fill = FREE - 16384 // 50 - 35 - left
    line = (
        "pwrite a 0 128k; pwrite a 160k 4k; pwrite a 200k 4k; pwrite a 240k 4k; fsync a;"
        f"falloc fill 0 {4 * fill}k; {zero}; pread a 40k 8k; pread a 160k 4k"
    )
    trace = placed(
        make_workload(line),
        {
            "a": (Extent(0, 1 << 30, State.WRITTEN, 1 << 31),),
            "fill": FAR["fill"],
        },
    )
    assert [state for _, _, state in states(trace.steps[6])] == expected
    zeros = run_md5(8 * KIB) if "40k" in zero else run_md5(4 * KIB)
    assert results(trace)[7 if "40k" in zero else 8] == zeros


def run_md5(count: int) -> str:
    """Of so many zero bytes."""
    return hashlib.md5(bytes(count)).hexdigest()


@pytest.mark.parametrize(("supposed", "result"), [({}, 0), ({APART: ()}, "ENOSPC")])
def test_what_is_behind_the_last_block_seen_is_contiguous_or_apart(
    supposed: dict[str, tuple[Extent, ...]], result: object
) -> None:
    """Two blocks can be had, and are asked for at once; the first is the fourth extent. The other
    merges with it, or needs a tree block."""
    writes = "; ".join(f"pwrite a {32 * at}k 4k" for at in range(3))
    seen = tuple(Extent(32 * KIB * at, 4 * KIB, State.WRITTEN, (1 << 30) + (at << 24))
                 for at in range(4))  # fmt: skip
    fill = FREE - 16384 // 50 - 5
    workload = make_workload(
        f"falloc fill 0 {4 * fill}k; {writes}; falloc a 96k 8k", "4k@nodelalloc"
    )
    trace = placed(workload, {"a": seen, "fill": FAR["fill"], **supposed})
    assert results(trace)[-1] == result
    assert UNSEEN in trace.steps[-1].because


LONG = (
    "pwrite a 0 128k; pwrite a 160k 4k; pwrite a 200k 4k; pwrite a 240k 4k; fsync a;"
    " falloc fill 0 60m; fzero_keep a {}; pread a 40k 64k; drop_caches; pread a 48k 16k"
)


@pytest.mark.parametrize(
    ("block", "zeroed", "length", "result"),
    [
        ("4k", "40k", "32k", 0),
        ("4k", "40k", "36k", "ENOSPC"),
        ("4k", "42k", "34k", 0),
        ("1k", "40k", "32k", 0),
        ("1k", "40k", "33k", "ENOSPC"),
    ],
)
def test_zero_range_that_may_not_split_zeroes_no_more_than_32_kib(
    block: str, zeroed: str, length: str, result: object
) -> None:
    """Of an extent in a full root, on a full file system (extent_max_zeroout_kb). What was not
    zeroed on disk is there again once the page cache is dropped."""
    trace = placed(make_workload(LONG.format(f"{zeroed} {length}"), f"{block}@delalloc"))
    assert results(trace)[5:7] == ["ENOSPC", result]
    zeros = hashlib.md5(bytes(16 * KIB)).hexdigest()
    assert (results(trace)[-1] == zeros) is (result == 0)
    assert (0, 128 * KIB, "written") in states(trace.steps[6])


def test_a_failed_zero_range_leaves_zeros_in_a_page_that_it_covers_in_part() -> None:
    """With blocks of 1 KiB: 43k to 44k are read as zeros until the page goes; then nobody
    knows, here."""
    line = (
        "pwrite a 0 128k; pwrite a 160k 4k; pwrite a 200k 4k; pwrite a 240k 4k; fsync a;"
        " falloc fill 0 60m; fzero_keep a 43k 34k; pread a 43k 1k; pread a 44k 1k; drop_caches;"
        " pread a 43k 1k"
    )
    trace = placed(make_workload(line, "1k@delalloc"))
    zeros = hashlib.md5(bytes(KIB)).hexdigest()
    assert results(trace)[6] == "ENOSPC"
    assert results(trace)[7] == zeros
    assert results(trace)[8] != zeros
    assert "result" in trace.steps[-1].unpredicted
    assert "result" not in trace.steps[7].unpredicted


WAITING = (
    "pwrite a 0 64k; pwrite a 512k 4k; pwrite a 640k 4k; pwrite a 768k 4k; falloc f 0 400k;"
    " falloc g 0 64m; sync; unlink f; pwrite b 0 324k; sync_range b 0 0; "
)
"""Four extents in the root of `a`; what is kept is used, and what is free waits for a commit."""


def waiting(line: str, *, iomap: bool = False, quirk: bool = False, before: str = WAITING) -> Trace:
    """All of `line`, and of `before` it."""
    places = {
        name: (Extent(0, 1 << 30, State.WRITTEN, 1 << power),)
        for name, power in (("a", 31), ("b", 35), ("f", 40), ("g", 45))
    }
    quirks = frozenset({"failed_insert_range_grows_file"} if quirk else ())
    config = "small4k@delalloc" + ",buffered_iomap" * iomap
    workload = make_workload(WAITING + line, config)
    model = Model(Behaviour(iomap=iomap, quirks=quirks), geometry)
    return model.run(workload, (places,) * (len(workload.ops) + 1))


SPLITS = ("fpunch a 8k 4k", "fcollapse a 8k 4k", "finsert a 8k 4k")


@pytest.mark.parametrize("iomap", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_a_split_waits_for_no_commit(split: str, iomap: bool) -> None:
    """It fails at once, and leaves everything as it was; after the next commit it succeeds."""
    read = "pread a 0 64k"
    trace = waiting(f"{read}; {split}; {read}; fsync a; {split}", iomap=iomap)
    before, failed, after, _, done = results(trace)[-5:]
    assert (failed, done) == ("ENOSPC", 0)
    assert before == after
    assert file(trace.steps[-4]) == file(trace.steps[-5])
    assert "no tree block for a split: ext4_force_split_extent_at" in trace.steps[-4].because


@pytest.mark.parametrize("split", ["fpunch a 0 64k", "fcollapse a 0 64k", "finsert a 512k 4k"])
def test_what_begins_or_ends_with_an_extent_needs_no_split(split: str) -> None:
    assert results(waiting(split))[-1] == 0


@pytest.mark.parametrize("quirk", [False, True])
def test_a_failed_insert_grows_the_file_with_a_known_bug_only(quirk: bool) -> None:
    trace = waiting("finsert a 8k 4k", quirk=quirk)
    seen, grown = file(trace.steps[-1]), 4 * KIB * quirk
    assert (seen.size, seen.disksize) == (772 * KIB + grown, 772 * KIB + grown)
    assert bool(trace.steps[-1].quirks) is quirk


def test_a_failed_punch_loses_what_is_not_on_disk() -> None:
    """The page cache of the range is gone by then: nobody knows what was on disk of a block that
    had been written over, and of one that was delayed there is nothing."""
    trace = waiting("pwrite a 8k 4k; fpunch a 8k 4k; pread a 8k 4k; pread a 12k 4k")
    assert results(trace)[-3] == "ENOSPC"
    assert "result" in trace.steps[-2].unpredicted
    assert "result" not in trace.steps[-1].unpredicted


def test_where_a_shift_has_allocated_before_it_failed_the_model_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OpError("ENOSPC")

    monkeypatch.setattr("model.shift_range.split_at", refuse)
    for shift in ("fcollapse a 8k 4k", "finsert a 8k 4k"):
        line = f"pwrite a 0 64k; fsync a; {{}}{shift}"
        assert results(placed(make_workload(line.format(""))))[-1] == "ENOSPC"
        with pytest.raises(NotModelledError, match="a shift that has allocated delayed blocks"):
            placed(make_workload(line.format("pwrite a 100k 4k; ")))


def _nearly_full(left: int) -> Inode:
    """A file with blocks 0 to 7, in a file system with `left` free clusters, all of them among
    the 327 that are kept for conversions if there are no more."""
    config = config_of("4k@delalloc")
    mount = Mount(config, geometry(config.image), Behaviour(), Placer(None, 4 * KIB))
    inode = mount.file("a")
    inode.es.set(Run(0, 8, WRITTEN, 100))
    inode.tree.insert(0, 8, 100, False)
    sb = mount.sb
    sb.free.add(left - sb.free.sum())
    return inode


@pytest.mark.parametrize(("left", "lacks"), [(427, False), (5, False), (4, True), (0, True)])
def test_a_split_may_use_what_is_kept_for_conversions(left: int, lacks: bool) -> None:
    """A tree is five levels deep at most, and gets no more blocks by one split."""
    assert may_lack_tree_block(_nearly_full(left)) is lacks


def test_only_a_split_inside_an_extent_needs_to_know_the_tree() -> None:
    inode = _nearly_full(0)
    inode.tree_unknown = "nobody looked"
    split_at(inode, 0)
    split_at(inode, 8)
    with pytest.raises(NotModelledError, match="where the kernel put it is not known"):
        split_at(inode, 4)


@pytest.mark.parametrize("iomap", [False, True])
@pytest.mark.parametrize("quirk", [False, True])
def test_blocks_past_eof_have_no_room_for_an_insert(quirk: bool, iomap: bool) -> None:
    """A program at the limits stopped the model here; i_size alone is looked at for EFBIG. Seen on
    7.3.4, and on both paths with the series: EINVAL, and the file has grown."""
    quirks = frozenset({"failed_insert_range_grows_file"} if quirk else ())
    line = "pwrite a 0 100; falloc_keep a 64k 20000; finsert a 0 {}; pread a 0 8k"
    config = "4k@delalloc" + ",buffered_iomap" * iomap
    room = 0xFFFFFFFF * 4 - 64 - 20
    for length, done in ((room, True), (room + 4, False)):
        trace = run(line.format(f"{length}k"), config, iomap=iomap, quirks=quirks)
        assert results(trace)[2] == (0 if done else "EINVAL")
        seen = file(trace.steps[2])
        assert seen.size == 100 + length * KIB * (done or quirk)
        assert seen.extents is not None
        assert (seen.extents[0].start == 0) is not done
        assert (results(trace)[3] == results(run("truncate a 8k; pread a 0 8k"))[1]) is done
