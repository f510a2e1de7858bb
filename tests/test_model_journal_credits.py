"""Conversions that come while writeback maps the next extents, since the journal's credits for them
run out."""

from __future__ import annotations

import pytest
from fakes import make_workload
from modelled import file, geometry, in_one_piece

from harness.running.suppositions import ANY_ORDER
from harness.trace import TURNS, Extent, Step
from model import Behaviour, Model
from model.journal_credits import journal_blocks, most_waiting
from model.mount import Mount
from model.placement import Placer
from workloads.images import Image
from workloads.program import config_of


@pytest.mark.parametrize(
    ("config", "waiting"),
    [
        ("4k@delalloc", 3),
        ("quotabig16k@delalloc,usrquota", 3),
        ("2k@delalloc", 5),
        ("1k@delalloc", 12),
        ("1kbigalloc8k@delalloc", 7),
        ("nojournal@delalloc", None),
    ],
)
def test_half_a_transaction_may_be_reserved(config: str, waiting: int | None) -> None:
    """43, 46, 32, 54 and 89 credits for each, of 169, 168 or 670."""
    chosen = config_of(config)
    mount = Mount(chosen, geometry(chosen.image), Behaviour(), Placer(None, 0))
    assert most_waiting(mount.sb) == waiting


def test_small_pages_have_fewer_blocks_to_convert() -> None:
    chosen = config_of("4k@delalloc")
    behaviour = Behaviour(max_folio=4096)
    mount = Mount(chosen, geometry(chosen.image), behaviour, Placer(None, 0))
    assert most_waiting(mount.sb) == 169 // (11 + 1 + 11 + 6)


@pytest.mark.parametrize(
    ("options", "sha256", "blocks", "length"),
    [
        (("-b", "4096"), "", 16384, 1024),
        (("-b", "1024"), "", 49152, 4096),
        (("-b", "1024"), "ab" * 32, 49152, 1024),
        (("-b", "1024", "-J", "size=2"), "", 49152, 2048),
    ],
)
def test_the_journal_is_as_long_as_mke2fs_makes_it(
    options: tuple[str, ...], sha256: str, blocks: int, length: int
) -> None:
    image = Image("i", blocks * int(options[1]), options, sha256)
    assert journal_blocks(image, blocks) == length


def filled(
    config: str, block: int, count: int, supposed: dict[str, tuple[Extent, ...]] | None = None,
    *, end: str = "fsync a", first: str = "", **switches: object,
) -> Step:  # fmt: skip
    """Every second block of `block` KiB is written, `count` of them, then those between them; all
    lie in one piece. Both are written back by `end`, or the former by `first`."""
    odd = "; ".join(f"pwrite a {2 * block * at}k {block}k" for at in range(count))
    even = "; ".join(f"pwrite a {2 * block * at + block}k {block}k" for at in range(count - 1))
    workload = make_workload(f"size: 16m; {odd}; {first or end}; {even}; {end}", config)
    placement = tuple({**step, **(supposed or {})} for step in in_one_piece(workload, a=12))
    behaviour = Behaviour(iomap=False, **switches)  # type: ignore[arg-type]
    return Model(behaviour, geometry).run(workload, placement).steps[-1]


def test_extents_that_merge_meanwhile_need_no_second_leaf() -> None:
    """A leaf holds 340 extents; 330 and the 329 between them are never more at a time. As on
    Debian's 7.3.4."""
    step = filled("4k@delalloc", 4, 330)
    assert file(step).disk_blocks == 659 * 8


def test_without_a_journal_all_are_mapped_first() -> None:
    """As on Debian's 7.3.4: 180 extents and those between them need a second leaf."""
    assert file(filled("4k@delalloc", 4, 180)).disk_blocks == 359 * 8
    assert file(filled("nojournal@delalloc", 4, 180)).disk_blocks == (359 + 2) * 8


@pytest.mark.parametrize(
    ("count", "turn", "tree"), [(79, None, 2), (80, None, 2), (81, None, 3), (81, TURNS[0], 2)]
)
def test_the_order_may_show_in_the_tree(count: int, turn: str | None, tree: int) -> None:
    """A leaf holds 84 extents, a page two of those between them. As on Debian's 7.3.4, where the
    first three I/Os ended the other way round."""
    step = filled("1k@delalloc", 1, count, {turn: ()} if turn else {})
    assert file(step).disk_blocks == (2 * count - 1 + tree) * 2
    assert ANY_ORDER in step.because


@pytest.mark.parametrize(
    ("count", "end", "preempted", "tree"),
    [
        (76, "fsync a", True, 0), (77, "fsync a", True, 2), (78, "fsync a", True, 2),
        (78, "sync", True, 0), (79, "sync", True, 2), (80, "sync", True, 2),
        (78, "fsync a", False, 0), (79, "fsync a", False, 2),
    ],
)  # fmt: skip
def test_where_the_worker_is_not_preempted_it_converts_all_that_wait(
    count: int, end: str, preempted: bool, tree: int
) -> None:
    """Three I/Os of two blocks each wait at most, and no fourth one, if the flusher thread writes
    back, or a task that is not of a real-time class. With `preempted` as on Debian's 7.3.4."""
    step = filled("1k@delalloc", 1, count, end=end, waker_preempted=preempted)
    assert file(step).disk_blocks == (2 * count - 1 + tree) * 2


@pytest.mark.parametrize(("first", "end", "tree"), [("sync", "fsync a", 2), ("fsync a", "sync", 0)])
def test_only_what_the_flusher_thread_itself_writes_back_is_not_preempted(
    first: str, end: str, tree: int
) -> None:
    """78 extents, as above: whoever wrote back before says nothing of who does now."""
    step = filled("1k@delalloc", 1, 78, first=first, end=end)
    assert file(step).disk_blocks == (2 * 78 - 1 + tree) * 2
