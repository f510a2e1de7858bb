"""Another try after ENOSPC: the write asks for no more than the folio of the last try held."""

from __future__ import annotations

from itertools import groupby

import pytest
from fakes import make_workload
from modelled import FREE, geometry, in_one_piece, placed

from harness.trace import Event, EventKind, Step
from model import Behaviour, Model
from model.page_cache import PageCache

KEPT = 960
"""Blocks kept for conversions of 48 MiB in blocks of 1 KiB (s_resv_clusters, 2 %), rounded."""


def write(pos: int, config: str) -> Step:
    """64 KiB at byte `pos` of `b`, where 39 KiB or a little more are free."""
    probe = placed(make_workload(f"falloc a 0 {FREE - KEPT - 200}k", config)).steps[0]
    assert probe.observation.bavail is not None
    filled = FREE - KEPT - 200 + probe.observation.bavail - 39
    return placed(make_workload(f"falloc a 0 {filled}k; pwrite b {pos} 64k", config)).steps[1]


def counts(events: tuple[Event, ...] | None) -> list[int]:
    """Clusters reserved, adjacent events added up, or released (below 0)."""
    found = []
    for kind, group in groupby(events or (), lambda event: event.kind):
        total = sum(event.count for event in group)
        found.append(total if kind is EventKind.RESERVE else -total)
    return found


@pytest.mark.parametrize("config", ["1k@delalloc", "1k@nodelalloc"])
def test_a_smaller_folio_fits_where_the_first_did_not(config: str) -> None:
    assert write(100, config).result == 32768 - 100


def test_a_folio_that_held_all_is_asked_for_again() -> None:
    """At offset 0 nothing is cut off, so each try fails."""
    assert write(0, "1k@delalloc").result == "ENOSPC"


def test_each_folio_is_tried_four_times() -> None:
    """The second try of the first folio has space for 32 blocks; the next folio never."""
    assert counts(write(100, "1k@delalloc").events) == [39, -39, 39, -7, 7, -7, 7, -7, 7, -7]


@pytest.mark.parametrize(("config", "wrote"), [("4k@nodelalloc", "ENOSPC"), ("4k@delalloc", 512)])
def test_a_folio_that_begins_before_eof_is_held_between_tries(config: str, wrote: object) -> None:
    """256 KiB of direct I/O, then 4 MiB over it where 400 KiB are free: one folio of 2 MiB. With
    delayed allocation it is split at EOF after the first try, and what is left is written."""
    kept = 16384 // 50
    line = f"dwrite a 0 256k; falloc b 0 {(FREE - 64 - kept - 100) * 4}k; pwrite a 0 4m"
    result = placed(make_workload(line, config)).steps[-1].result
    assert result == (wrote if isinstance(wrote, str) else wrote * 1024)


@pytest.mark.parametrize(("dirty", "stays"), [(0b1, True), (0b100, False), (0, False)])
def test_a_folio_that_is_held_stays_whole_if_what_is_left_is_dirty_else_it_goes(
    dirty: int, *, stays: bool
) -> None:
    """It can't be split, and nobody needs what is clean; what was dirty behind the cut was so for
    the failed write only (truncate_inode_partial_folio, try_to_free_buffers)."""
    cache = PageCache(4096, 2 << 20)
    folio = cache.add(0, 3)
    folio.buffers, cache.pinned = True, folio
    cache.mark_dirty(folio, dirty)
    cache.truncate(8192)
    assert cache.get(0) is (folio if stays else None)


@pytest.mark.parametrize(("call", "calls"), [("splice", 3), ("sendfile", 2), ("copy_range", 2)])
def test_what_a_pipe_still_holds_after_an_error_is_tried_again(call: str, calls: int) -> None:
    """Folios of 4, 8 and 16 KiB fit, the next does not; the write is called again for what is
    left, and splice(2), which has told of the first three, is too. Seen on 7.3.4."""
    free = (FREE - 16 - 16384 // 50 - 10) * 4
    line = f"pwrite a 0 64k; fsync a; falloc f 0 {free}k; {call} a 0 64k b 4k"
    workload = make_workload(line, "4k@delalloc")
    places = in_one_piece(workload, a=19, b=23, f=28)
    step = Model(Behaviour(iomap=False), geometry).run(workload, places).steps[-1]
    released = [event for event in step.events or () if event.kind is EventKind.RELEASE]
    assert step.result == 28672
    assert len(released) == 4 * calls
