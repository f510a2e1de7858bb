"""A clock that jumps, in all processes of a campaign: nothing is lost, and no budget is over."""

from __future__ import annotations

import time
from typing import cast

import pytest
from distributed import batched
from test_campaign import SECONDS, Place, assert_complete, assert_nothing_runs, place
from tornado.ioloop import IOLoop

from harness.campaign.steady import go_steady

__all__ = ["place"]

SITE = """\
import os, time

_read, _next, _offset = time.time, 0.0, 0.0

def jumping():
    global _next, _offset
    if time.monotonic() > _next:
        _next = time.monotonic() + 0.05
        try:
            with open(os.environ["EXT4DIFF_TEST_CLOCK"]) as file:
                _offset = float(file.read() or _offset)
        except OSError:
            pass
    return _read() + _offset

time.time = jumping
"""
DAY = 86400


def test_a_clock_that_jumps_both_ways_loses_nothing_and_ends_nothing(place: Place) -> None:
    clock = place.folder / "clock"
    site = place.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    paths = place.environment.get("PYTHONPATH", "")
    place.environment["PYTHONPATH"] = f"{site}:{paths}".rstrip(":")
    place.environment["EXT4DIFF_TEST_CLOCK"] = str(clock)
    place.environment["EXT4DIFF_TEST_SLOW"] = "0.1"
    place.environment["XDG_CACHE_HOME"] = str(place.folder / "cache")  # others use the usual one
    words = ("--seed", "11", "--count", "24", "--on", "4k@delalloc")
    running = place.campaign(*words, "--time", "12h", "-j", "2")
    for rows, days in ((2, 400), (8, -400), (16, 1)):
        place.wait_for_rows(rows)
        clock.write_text(str(days * DAY))
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, output
    assert "the plan is done" in output
    assert_complete(place, 24)
    (night,) = place.nights()
    assert 0 < night.seconds < SECONDS
    assert all(0 <= row.digest.seconds < SECONDS for row in place.rows())
    assert_nothing_runs(place)


def test_messages_are_sent_and_timers_run_though_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(IOLoop, "time", IOLoop.time)
    monkeypatch.setattr(batched, "time", batched.time)
    before = time.time()
    go_steady()
    monkeypatch.setattr(time, "time", lambda: before - 400 * DAY)
    assert abs(IOLoop.time(cast("IOLoop", None)) - before) < SECONDS
    assert abs(batched.time() - before) < SECONDS
