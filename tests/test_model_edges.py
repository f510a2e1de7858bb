"""Edges of the model's own parts that no workload tells from their neighbours.

Mutants have shown that nothing held them: what no kernel shows in a recorded workload is held
here, in a line each.
"""

from __future__ import annotations

import hashlib

import pytest
from modelled import results, run

from model.content import Content
from model.extent_status import ExtentStatus, Run
from model.units import DELAYED, EOF_BLOCK, HOLE, WRITTEN


def content(*pieces: tuple[int, bytes], lost: tuple[tuple[int, int], ...] = ()) -> Content:
    made = Content()
    for pos, data in pieces:
        made.write(pos, data)
    for low, high in lost:
        made.lose(low, high)
    return made


# --- content ------------------------------------------------------------------------------


def test_what_is_written_over_is_known_again_to_the_byte() -> None:
    made = content(lost=((10, 20), (30, 40)))
    made.write(10, b"x" * 10)
    assert made.lost == [(30, 40)]
    made.write(35, b"x" * 10)
    assert made.undefined(100) == ((30, 5),)


def test_of_what_is_lost_only_the_first_bytes_count() -> None:
    made = content(lost=((10, 20), (50, 60)))
    assert made.undefined(100) == ((10, 10), (50, 10))
    assert made.undefined(50) == ((10, 10),)
    assert made.undefined(15) == ((10, 5),)


def test_a_copy_loses_what_the_first_lost_and_no_more() -> None:
    first = content((0, b"abc"), lost=((5, 9),))
    twin = first.copy()
    first.lose(20, 30)
    assert twin.undefined(100) == ((5, 4),)
    assert twin.read(0, 3) == b"abc"


@pytest.mark.parametrize(("target", "lost"), [(0, ((0, 10),)), (30, ((30, 10),))])
def test_lost_bytes_move_with_the_others(target: int, lost: tuple[tuple[int, int], ...]) -> None:
    made = content((20, b"a" * 20), lost=((5, 30),))
    made.move(20, target, 40)
    assert tuple(part for part in made.undefined(100) if part[0] >= target) == lost


def test_digests_are_of_as_many_bytes_as_were_asked_for() -> None:
    made = content((0, b"a" * 5000))
    for size in (4096, 5000, 6000, 4096):
        data = (b"a" * 5000).ljust(6000, b"\0")[:size]
        assert made.sha256(size) == hashlib.sha256(data).hexdigest()
        assert set(made.checksums(size)) == ({0} if size == 4096 else {0, 1})


def test_zero_to_no_end_leaves_nothing() -> None:
    made = content((0, b"abc"), (1 << 40, b"def"))
    made.zero(2)
    assert made.read(0, 4) == b"ab\0\0"
    assert made.read(1 << 40, 3) == bytes(3)


# --- extent status ------------------------------------------------------------------------


def test_holes_reach_from_one_extent_to_the_next() -> None:
    status = ExtentStatus(1)
    assert status.lookup(7) == Run(0, EOF_BLOCK, HOLE)
    status.set(Run(4, 6, DELAYED))
    assert status.lookup(0) == Run(0, 4, HOLE)
    assert status.lookup(6) == Run(6, EOF_BLOCK, HOLE)


def test_pieces_cover_the_range_and_nothing_else() -> None:
    status = ExtentStatus(1)
    status.set(Run(4, 6, DELAYED))
    assert status.pieces(4, 6) == [Run(4, 6, DELAYED)]
    assert status.pieces(2, 8) == [Run(2, 4, HOLE), Run(4, 6, DELAYED), Run(6, 8, HOLE)]
    assert status.pieces(6, 6) == []


def test_a_cut_run_knows_where_its_blocks_are() -> None:
    run_ = Run(4, 10, WRITTEN, 100)
    assert run_.cut(4, 10) == run_.cut(0, 20) == run_
    assert run_.cut(6, 8) == Run(6, 8, WRITTEN, 102)


# --- vectors ------------------------------------------------------------------------------

MANY = ",".join(["1"] * 1024)


@pytest.mark.parametrize(
    ("begin", "usual"), [("pwrite a 0 4k; sync", 1024), ("pwrite a 0 4k; sync; shutdown 2", "EIO")]
)
def test_a_vector_has_1024_segments_at_most(begin: str, usual: object) -> None:
    assert results(run(f"{begin}; pwritev a 0 {MANY}"))[-1] == usual
    assert results(run(f"{begin}; pwritev a 0 {MANY},1"))[-1] == "EINVAL"
