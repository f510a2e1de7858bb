"""What differs between kernels: each switch of `Behaviour`, and which release sets it."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import make_trace, make_workload
from modelled import file, run, states

from harness.sides import model_side
from harness.sides.model_side import ModelSide
from harness.sides.side import Side
from harness.trace import Trace
from model import Behaviour
from workloads.workload import Workload

IOMAP = "4k@delalloc,buffered_iomap"


def iomap(line: str, config: str = IOMAP, **switches: object) -> Any:
    """Steps of a line of operations on the iomap path."""
    return run(line, config, iomap=True, **switches).steps


def kinds(step: Any) -> list[tuple[str, int]]:
    """Kind and count of the step's reservation events."""
    return [(event.kind.value, event.count) for event in step.events or ()]


# --- by release --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "expected"),
    [("7.2.13", False), ("7.3.4+deb13-cloud-amd64", True), ("7.3.0-rc1", True), ("8.0.1", True)],
)
def test_since_7_3_two_orders_differ(release: str, expected: bool) -> None:
    behaviour = Behaviour.of_release(release)
    assert behaviour.write_ends_at_fault is expected
    assert behaviour.zero_range_edges_first is expected


def test_without_a_release_the_defaults_hold() -> None:
    assert Behaviour.of_release(None, iomap=False) == Behaviour(iomap=False)


def test_what_is_no_release_is_refused() -> None:
    with pytest.raises(ValueError, match="not a kernel release"):
        Behaviour.of_release("next-20261122")


def test_the_model_asks_the_kernel_that_it_meets_for_its_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Spy:
        def __init__(self, behaviour: Behaviour, *_: object) -> None:
            asked.append(behaviour)

        def play(self, workload: Workload, *_: object) -> tuple[Trace, None]:
            return make_trace(workload, final=None), None

    class Kernel(Side):
        def release(self) -> str:
            return "7.3.4-amd64"

    asked: list[Behaviour] = []
    monkeypatch.setattr(model_side, "Model", Spy)
    side = ModelSide()
    side.run(make_workload("sync"))
    side.meet(Kernel())
    side.run(make_workload("sync"))
    assert [behaviour.write_ends_at_fault for behaviour in asked] == [False, True]


# --- a fault after progress --------------------------------------------------------------


def test_after_a_fault_7_2_maps_once_more() -> None:
    step = iomap("pwrite_fault a 0 64k 8k tag=1")[0]
    assert kinds(step) == [("reserve", 16), ("release", 14), ("reserve", 14), ("release", 14)]


def test_after_a_fault_7_3_ends_the_call() -> None:
    step = iomap("pwrite_fault a 0 64k 8k tag=1", write_ends_at_fault=True)[0]
    assert (step.result, kinds(step)) == (8192, [("reserve", 16), ("release", 14)])


def test_a_fault_at_once_is_an_error_in_both() -> None:
    for ends in (False, True):
        step = iomap("pwrite_fault a 0 64k 0 tag=1", write_ends_at_fault=ends)[0]
        assert (step.result, states(step)) == ("EFAULT", [])


# --- edges of a zeroed range ----------------------------------------------------------------

EDGES = ("pwrite a 0 16k; fzero a 5000 5000; fsync a", "1k@delalloc,buffered_iomap")


def test_edges_zeroed_last_meet_a_folio_without_state_of_its_blocks() -> None:
    """It is split into pages, of which those at the edges stay dirty as a whole."""
    assert states(iomap(*EDGES)[-1]) == [(0, 16384, "written")]


def test_edges_zeroed_first_give_the_folio_a_state_for_each_block() -> None:
    """So that the blocks between become clean one by one, and stay unwritten."""
    assert states(iomap(*EDGES, zero_range_edges_first=True)[-1]) == [
        (0, 5120, "written"), (5120, 4096, "unwritten"), (9216, 7168, "written"),
    ]  # fmt: skip


# --- the zeroed EOF block ---------------------------------------------------------------------

STALE_SIZE = "pwrite a 0 5000; fsync a; append a 100; {}"


@pytest.mark.parametrize("line", ["pwrite a 20000 100", "truncate a 20000", "falloc a 20000 100"])
def test_a_written_eof_block_is_written_again_at_once(line: str) -> None:
    """Its rule is named, and on this path the size on disk follows what was written."""
    rule = "write zeroed EOF block: ext4_block_zero_eof"
    assert rule in iomap(STALE_SIZE.format(line))[-1].because
    assert rule not in iomap(STALE_SIZE.format(line), eof_zero_flush="truncate_down")[-1].because
    assert rule not in run(STALE_SIZE.format(line)).steps[-1].because


def test_size_on_disk_after_a_write_past_eof() -> None:
    line = STALE_SIZE.format("pwrite a 20000 100")
    assert [file(step).disksize for step in iomap(line)] == [0, 5000, 5000, 5100]
    later = iomap(line, eof_zero_flush="truncate_down")
    assert [file(step).disksize for step in later] == [0, 5000, 5000, 5000]


def test_a_delayed_eof_block_stays_delayed() -> None:
    cut = iomap("pwrite a 0 5000; truncate a 4500")[-1]
    assert states(cut) == [(0, 8192, "delayed")]
    extended = iomap("pwrite a 0 5000; truncate a 20000")[-1]
    assert states(extended) == [(0, 8192, "delayed")]


def test_truncate_down_alone_writes_a_delayed_block_too() -> None:
    cut = iomap("pwrite a 0 5000; truncate a 4500", eof_zero_flush="truncate_down")[-1]
    assert states(cut) == [(0, 4096, "delayed"), (4096, 4096, "written")]
    extended = iomap("pwrite a 0 5000; truncate a 20000", eof_zero_flush="truncate_down")[-1]
    assert states(extended) == [(0, 8192, "delayed")]


def test_edges_of_a_punched_range_wait_for_writeback() -> None:
    line = "falloc a 0 16k; pwrite a 0 16k; fpunch a 5000 1000"
    assert states(iomap(line)[-1]) == [(0, 16384, "unwritten")]


# --- stale memory of a rejected copy -------------------------------------------------------------


def test_a_rejected_copy_leaves_stale_blocks_that_keep_the_folio_uptodate() -> None:
    """The known bug shows although the copy is done again with fewer bytes: the blocks
    behind it hold stale memory, and are given back one by one, as data would be."""
    line = "truncate a 256k; pwritev a 100000 6000,8k:4k,4k tag=2; pread a 108k 8k"
    config = "1k@delalloc,buffered_iomap"
    quirk = "stale_folio_after_short_copy"
    wrote, read = iomap(
        line, config, quirks=frozenset({quirk}), write_ends_at_fault=True
    )[1:]  # fmt: skip
    assert kinds(wrote) == [("reserve", 19), *[("release", 1)] * 4, ("release", 4)]
    assert (wrote.result, wrote.quirks) == (10096, (quirk,))
    assert "undefined" in read.unpredicted["result"]
    wrote, read = iomap(line, config, write_ends_at_fault=True)[1:]
    assert kinds(wrote) == [("reserve", 19), ("release", 8)]
    assert wrote.quirks == ()
    assert "result" not in read.unpredicted
