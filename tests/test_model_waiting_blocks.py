"""Freed blocks wait for a commit before anyone gets them; the device's end cuts what is set aside.

The numbers of pieces are as seen on Debian's 7.3.4, on 16 MiB of which a file had all but 88
blocks, then was unlinked: 14, 74 and then all of the rest.
"""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import FREE, geometry, placed, results

from harness.trace import EventKind, Extent, State, Step, Trace
from model import Behaviour, Model

KIB = 1024
BLOCK = 4 * KIB


def pieces(step: Step) -> list[int]:
    """Blocks of each allocation of delayed ones in the step."""
    return [event.count for event in step.events or () if event.kind is EventKind.UPDATE]


def split(line: str, at: int, config: str = "4k@delalloc") -> Trace:
    """The trace of `line` with the blocks of `a` contiguous but for a jump at block `at`."""
    extents = (
        Extent(0, at * BLOCK, State.WRITTEN, 1 << 31),
        Extent(at * BLOCK, 1 << 30, State.WRITTEN, 1 << 35),
    )
    far = (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),)
    return placed(make_workload(line, config), {"a": extents, "b": far})


SMALL_FOLIOS = "; ".join(f"pwrite a {at}k 64k" for at in range(64, 2560, 64))
"""Blocks 16 to 640, in folios of 16."""


def test_writeback_that_waits_for_a_commit_gathers_anew() -> None:
    """It does not go on with the rest of the folio in which it was cut, as it does where the
    allocator found less in one place."""
    start = f"falloc b 0 {(FREE - 600) * 4}k; pwrite a 0 64k; fsync a; unlink b; "
    waiting = split(f"{start}{SMALL_FOLIOS}; fsync a", 600).steps[-1]
    assert pieces(waiting) == [496, 88, 40]
    assert "commit for writeback: ext4_do_writepages" in waiting.because
    committed = split(f"{start}sync; {SMALL_FOLIOS}; fsync a", 600).steps[-1]
    assert pieces(committed) == [496, 88, 8, 32]


def test_a_write_that_needs_freed_blocks_commits_and_gets_them() -> None:
    line = f"falloc b 0 {(FREE - 400) * 4}k; fsync b; unlink b; pwrite a 0 4m"
    wrote = placed(make_workload(line, "4k@nodelalloc")).steps[-1]
    assert wrote.result == 4 << 20
    assert "freed blocks wait for a commit: ext4_mb_free_metadata" in wrote.because


@pytest.mark.parametrize("config", ["nojournal@nodelalloc", "4k@nodelalloc,data=writeback"])
def test_nothing_waits_without_a_journal_or_with_data_writeback(config: str) -> None:
    line = f"falloc b 0 {(FREE - 400) * 4}k; fsync b; unlink b; pwrite a 0 4m"
    wrote = placed(make_workload(line, config)).steps[-1]
    assert not any("commit" in rule for rule in wrote.because)


def test_a_piece_that_the_device_cuts_is_no_longer_than_that() -> None:
    """32 blocks would be set aside, but the device has 28; what follows is a piece of 2 MiB."""
    trace = split("pwrite a 0 100k; fsync a; pwrite a 100k 3900k; fsync a", 28)
    assert [pieces(step) for step in trace.steps[1::2]] == [[25], [3, 484, 488]]


def test_a_direct_write_that_fails_past_eof_leaves_no_bytes() -> None:
    line = f"falloc b 0 {(FREE - 400) * 4}k; dwrite a 64k 4m; truncate a 200k; pread a 64k 8k"
    after = results(placed(make_workload(line)))
    plain = results(placed(make_workload("truncate a 200k; pread a 64k 8k")))
    assert after[1] == "ENOSPC"
    assert after[3] == plain[1]


@pytest.mark.parametrize(
    ("between", "waits"),
    [("fsync c", True), ("pwrite c 0 1; fsync c", False), ("sync", False), ("fdatasync a", True)],
)
def test_only_a_file_that_has_changed_makes_fsync_commit(between: str, waits: bool) -> None:
    line = f"pwrite c 0 4k; falloc b 0 {(FREE - 400) * 4}k; pwrite a 0 1; sync; unlink b; "
    wrote = placed(make_workload(f"{line}{between}; pwrite d 0 4m", "4k@nodelalloc")).steps[-1]
    assert wrote.result == 4 << 20
    assert ("freed blocks wait for a commit: ext4_mb_free_metadata" in wrote.because) is waits


def test_a_block_that_nobody_saw_is_not_where_one_was_freed_before_the_commit() -> None:
    """Block 9 is allocated and freed by each of the last two writes, the second time not behind
    block 8 any more: that is a fifth extent. So it was on Debian's 7.3.4."""
    line = "pwrite a 0 16k; pwrite a 16k 4k; pwrite a 20k 12k; pwrite_fault a 32k 8k fault=4k"
    apart = tuple(
        Extent(start * KIB, length * KIB, State.WRITTEN, (1 << 31) + start * KIB * 3)
        for start, length in ((0, 16), (16, 4), (20, 12), (32, 4))
    )
    for between, blocks in (("", 80), ("pwrite c 0 1; fsync c; ", 72)):
        again = f"{line}; {between}pwrite_fault a 32k 8k fault=4k"
        trace = placed(make_workload(again, "4k@nodelalloc"), {"a": apart})
        assert [trace.steps[at].observation.files["a"].blocks for at in (3, -1)] == [72, blocks]


@pytest.mark.parametrize(("left", "refused"), [(3, True), (5, True), (6, False)])
def test_a_tree_block_that_waits_for_a_commit_has_its_blocks_given_back(
    left: int, refused: bool
) -> None:
    """`left` blocks can be had before a commit. The five delayed ones are a fifth extent, so
    the tree needs a block: with 3 left these are allocated and given back, and all five are
    had after the commit."""
    kept = 81  # of 4096 blocks, for conversions
    apart = tuple(
        Extent(at * 8 * KIB, BLOCK, State.WRITTEN, (1 << 31) + (at << 20)) for at in range(4)
    )
    places = {
        "a": (*apart, Extent(32 * KIB, 20 * KIB, State.WRITTEN, 1 << 32)),
        "b": (Extent(0, 1 << 30, State.WRITTEN, 1 << 40),),
        "f": (Extent(0, 1 << 30, State.WRITTEN, 1 << 45),),
    }
    start = "; ".join(f"pwrite a {at * 8}k 4k" for at in range(4))
    rest = f"falloc f 0 {(FREE - 4 - kept) * 4}k; sync; unlink f; pwrite b 0 {(kept - left) * 4}k"
    line = f"{start}; sync; {rest}; sync_range b 0 0; pwrite a 32k 20k; sync_range a 0 0"
    step = placed(make_workload(line, "small4k@delalloc"), places).steps[-1]
    assert pieces(step) == [5]
    assert ("tree block refused: ext4_ext_new_meta_block" in step.because) == refused


def test_what_a_failed_write_leaves_within_the_eof_that_it_moved_is_where_it_was_seen() -> None:
    """With a known bug EOF moves up to the offset before all past it is trimmed."""
    quirks = frozenset({"efault_beyond_eof_moves_size"})
    workload = make_workload("pwrite_fault a 20000 8k fault=0", "4k@nodelalloc")
    placement = ({"a": (Extent(16384, 4096, State.WRITTEN, 1 << 31),)},)
    _, mount = Model(Behaviour(quirks=quirks), geometry).play(workload, placement)
    assert [(e.lblk, e.pblk) for e in mount.files["a"].tree.extents()] == [(4, (1 << 31) >> 12)]
