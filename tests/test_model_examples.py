"""The worked examples of the specification, with their numbers."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, geometry, placed, results, run, states

from harness.trace import State, Step
from model import Behaviour, Model
from model.balloc import has_free_clusters, nonda_switch
from model.percpu_counter import PerCpuCounter
from model.placement import Placer
from model.superblock import Superblock

KIB = 1024
HOLE_FILE = "truncate a 64k"


def sectors(steps: tuple[Step, ...]) -> list[int | None]:
    """st_blocks of `a` after each step."""
    return [file(step).blocks for step in steps]


def blocks(step: Step, size: int = 4096) -> str:
    """Extents of `a` in blocks, as the specification writes them: D[0,4)."""
    shown = []
    for extent in file(step).extents or ():
        end = (extent.start + extent.length) // size
        shown.append(f"{extent.state[0].upper()}[{extent.start // size},{end})")
    return " ".join(shown)


def superblock(free: int, dirty: int, nr_cpu: int) -> Superblock:
    """A file system with these counters, whose writeback does nothing."""
    config = make_workload("sync").config
    sb = Superblock(config, geometry(config.image), Behaviour(nr_cpu=nr_cpu), Placer(None, 4096))
    sb.free, sb.dirty = PerCpuCounter(free), PerCpuCounter(dirty)
    sb.writeback_all = lambda: None
    return sb


# --- low space --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "dirty", "expected"), [(7667, 7400, True), (10000, 6700, True), (10000, 6600, False)]
)
def test_low_space_switch(free: int, dirty: int, expected: bool) -> None:
    assert nonda_switch(superblock(free, dirty, nr_cpu=2)) is expected


def test_root_may_not_take_what_is_kept_for_conversions() -> None:
    sb = superblock(free=400, dirty=0, nr_cpu=1)
    assert sb.resv == 327
    assert has_free_clusters(sb, 73)
    assert not has_free_clusters(sb, 74)
    assert has_free_clusters(sb, 400, use_reserved=True)


def test_cheap_reads_of_a_counter_miss_less_than_a_batch() -> None:
    counter = PerCpuCounter(100)
    counter.add_ones(31)
    assert (counter.approx(), counter.sum()) == (100, 131)
    counter.add_ones(1)
    assert (counter.approx(), counter.sum()) == (132, 132)


# --- failed writes (table 2.8): 6000 readable bytes, here 4096 by whole pages ----------------


def failing(setup: str, fault: int, config: str, **switches: object) -> tuple[Step, ...]:
    """Steps of a 16 KiB write at 0 that faults, and of an fsync; `setup` comes first."""
    line = f"{setup}; pwrite_fault a 0 16k {fault} tag=1; fsync a".removeprefix("; ")
    return run(line, config, **switches).steps[-2:]  # type: ignore[arg-type]


def test_buffer_heads_keep_the_surplus_of_a_short_write() -> None:
    wrote, synced = failing("", 6000, "4k@delalloc")
    assert (wrote.result, blocks(wrote)) == (4096, "D[0,4)")
    assert (blocks(synced), synced.observation.delalloc) == ("W[0,1) D[1,4)", 3)


def test_iomap_gives_the_surplus_back() -> None:
    wrote, synced = failing("", 6000, "4k@delalloc,buffered_iomap", iomap=True)
    assert (wrote.result, blocks(wrote)) == (4096, "D[0,1)")
    kinds = [(event.kind.value, event.count) for event in wrote.events or ()]
    assert kinds == [("reserve", 4), ("release", 3), ("reserve", 3), ("release", 3)]
    assert (blocks(synced), synced.observation.delalloc) == ("W[0,1)", 0)


def test_without_the_new_flag_the_surplus_leaks_and_is_allocated() -> None:
    switches = {"iomap": True, "da_map_sets_new": False}
    wrote, synced = failing("", 6000, "4k@delalloc,buffered_iomap", **switches)
    assert blocks(wrote) == "D[0,4)"
    assert (blocks(synced), synced.observation.delalloc) == ("W[0,1) U[1,4)", 0)


def test_iomap_without_delalloc_leaves_unwritten_blocks() -> None:
    wrote, synced = failing("", 6000, "4k@nodelalloc,buffered_iomap", iomap=True)
    assert (blocks(wrote), blocks(synced)) == ("U[0,4)", "W[0,1) U[1,4)")


def test_nothing_readable() -> None:
    wrote, synced = failing("", 0, "4k@delalloc")
    assert (wrote.result, file(wrote).size, blocks(synced)) == ("EFAULT", 0, "D[0,4)")
    wrote, synced = failing("", 0, "4k@delalloc,buffered_iomap", iomap=True)
    assert (wrote.result, file(wrote).size, blocks(synced)) == ("EFAULT", 0, "")


def test_short_write_into_a_hole() -> None:
    assert blocks(failing(HOLE_FILE, 6000, "4k@delalloc")[1]) == "W[0,4)"
    assert blocks(failing(HOLE_FILE, 6000, "4k@delalloc,buffered_iomap", iomap=True)[1]) == "W[0,1)"


def test_a_failed_write_past_eof_moves_the_size_only_as_a_known_bug() -> None:
    line = "pwrite a 0 4k; pwrite_fault a 20000 8k 0 tag=1"
    strict = run(line).steps[1]
    assert (file(strict).size, strict.quirks) == (4096, ())
    quirk = "efault_beyond_eof_moves_size"
    follows = run(line, quirks=frozenset({quirk})).steps[1]
    assert (file(follows).size, follows.quirks) == (20000, (quirk,))


def test_one_reservation_or_none() -> None:
    """buffer_head reserves block by block, iomap a whole hole in one step."""
    events = run("pwrite a 0 1m").steps[0].events or ()
    assert [event.count for event in events] == [1] * 256
    trace = run("pwrite a 0 1m", "4k@delalloc,buffered_iomap", iomap=True)
    assert [event.count for event in trace.steps[0].events or ()] == [256]


# --- fallocate and truncate --------------------------------------------------------------------


def test_chain_of_fallocate_modes() -> None:
    line = (
        "pwrite a 0 64k; fpunch a 8192 8192; fpunch a 20000 10000; fzero a 40960 8192; "
        "falloc a 8192 20480; fsync a; truncate a 50000; truncate a 0"
    )
    steps = placed(make_workload(line)).steps
    assert sectors(steps) == [128, 112, 96, 96, 128, 136, 112, 0]
    assert blocks(steps[4]) == "D[0,2) U[2,7) D[7,10) U[10,12) D[12,16)"
    assert file(steps[4]).reserved == 9


def test_chain_of_truncates() -> None:
    line = "pwrite a 0 20000; truncate a 9000; fsync a; truncate a 30000; pwrite a 35000 1"
    steps = placed(make_workload(line)).steps
    assert sectors(steps) == [40, 24, 24, 24, 32]
    assert [blocks(step) for step in steps] == [
        "D[0,5)", "D[0,3)", "W[0,3)", "W[0,3)", "W[0,3) D[8,9)",
    ]  # fmt: skip


def test_collapse_and_insert_flush_what_they_move() -> None:
    line = "pwrite a 0 40k; fcollapse a 8k 4k; pwrite a 40k 8k; finsert a 4k 8k"
    steps = placed(make_workload(line)).steps
    assert [blocks(step) for step in steps] == [
        "D[0,10)", "W[0,9)", "W[0,9) D[10,12)", "W[0,1) W[3,11) W[12,14)",
    ]  # fmt: skip


def test_append_in_a_written_block_moves_the_size_on_disk_at_once() -> None:
    steps = run("pwrite a 0 10000; fsync a; append a 100; append a 5000").steps
    assert [file(step).disksize for step in steps] == [0, 10000, 10100, 12288]


def test_direct_io_beside_preallocation() -> None:
    line = "falloc_keep a 0 32k; pwrite a 4k 4k; dwrite a 16k 8k; dwrite a 64k 8k; fsync a"
    steps = placed(make_workload(line)).steps
    assert blocks(steps[3]) == "U[0,4) W[4,6) U[6,8) W[16,18)"
    assert blocks(steps[4]) == "U[0,1) W[1,2) U[2,4) W[4,6) U[6,8) W[16,18)"


def test_a_store_dirties_its_page_up_to_eof() -> None:
    steps = run("truncate a 64k; mwrite a 0 100; mwrite a 20000 5000").steps
    assert [blocks(step) for step in steps[1:]] == ["D[0,1)", "D[0,1) D[4,7)"]


# --- bigalloc (table 6.2): 16 blocks a cluster ---------------------------------------------


def test_clusters_shared_by_delayed_and_mapped_blocks() -> None:
    def at(first: int, count: int) -> str:
        return f"{first * 4}k {count * 4}k"

    line = (
        f"pwrite a {at(0, 1)}; pwrite a {at(1, 3)}; fsync a; pwrite a {at(10, 1)}; "
        f"pwrite a {at(20, 21)}; pwrite a {at(14, 4)}; fpunch a {at(10, 1)}; "
        f"falloc a {at(18, 2)}; fpunch a {at(0, 4)}; truncate a 128k; fsync a; truncate a 0"
    )
    steps = placed(make_workload(line, "bigalloc64k@delalloc")).steps
    start = 14000 // 16
    seen = [
        (
            file(step).reserved,
            file(step).blocks,
            (step.observation.bfree or 0) // 16 - start,
        )
        for step in steps
    ]
    assert seen == [
        (1, 128, -1), (1, 128, -1), (0, 128, -1), (0, 128, -1), (2, 384, -3), (2, 384, -3),
        (2, 384, -3), (1, 384, -3), (2, 384, -3), (1, 256, -2), (0, 256, -2), (0, 0, 0),
    ]  # fmt: skip
    assert blocks(steps[10]) == "W[14,18) U[18,20) W[20,32)"


# --- the extent tree's blocks -----------------------------------------------------------------


def test_tree_grows_with_split_extents_and_folds_again() -> None:
    def write(block: int) -> str:
        return f"pwrite a {block * 4}k 4k; fsync a"

    odd = "; ".join(write(block) for block in range(1, 16, 2))
    even = "; ".join(write(block) for block in range(0, 16, 2))
    steps = placed(make_workload(f"falloc a 0 64k; {odd}; {even}")).steps
    counts = [file(step).blocks for step in steps if step.result == 0]
    assert counts[:3] == [128, 128, 136]
    assert counts[8] == 136
    assert counts[-1] == 128


def test_without_placement_the_tree_is_left_open_and_says_why() -> None:
    step = run("pwrite a 0 4k; fsync a").steps[1]
    assert file(step).blocks is None
    assert step.observation.bfree is None
    assert "placement" in step.unpredicted["a.blocks"]
    assert states(step) == [(0, 4096, "written")]
    assert file(step).reserved == 0


# --- size of folios ---------------------------------------------------------------------------


def test_without_large_folios_a_short_write_keeps_one_page() -> None:
    trace = run("truncate a 256k; pwrite_fault a 1000 60000 9000 tag=2", max_folio=4096)
    assert blocks(trace.steps[1]) == "D[0,3)"
    trace = run("truncate a 256k; pwrite_fault a 1000 60000 9000 tag=2")
    assert blocks(trace.steps[1]) == "D[0,8)"


def test_every_step_names_its_rules() -> None:
    trace = run("pwrite a 0 8k; fsync a; fpunch a 0 4k; truncate a 5000")
    assert any("ext4_punch_hole" in rule for rule in trace.steps[2].because)
    assert results(trace) == [8192, 0, 0, 0]


def test_model_is_a_subject() -> None:
    workload = make_workload("pwrite a 0 4k")
    trace = Model(Behaviour(), geometry).run(workload)
    assert (trace.subject, trace.workload, len(trace.steps)) == ("model", workload, 1)
    assert trace.final is not None
    extents = trace.final.observation.files["a"].extents or ()
    assert [extent.state for extent in extents] == [State.WRITTEN]
