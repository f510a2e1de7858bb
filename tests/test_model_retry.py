"""Another try after ENOSPC: the write asks for no more than the folio of the last try held."""

from __future__ import annotations

from itertools import groupby

import pytest
from fakes import make_workload
from modelled import FREE, placed

from harness.trace import Event, EventKind, Step

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
