"""Work that is done by several processes: it comes to an end whatever becomes of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time

import pytest

from harness.collector import collect_seldom
from harness.errors import MachineryError
from harness.recordings.pool import each


def _half(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def _killed(number: int) -> int:
    if number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _slow(number: int) -> int:
    time.sleep(number)
    return number


def _threshold(_number: int) -> int:
    return gc.get_threshold()[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_all_is_done_in_order_and_errors_come_through(processes: int) -> None:
    assert list(each(_half, range(0, 40, 2), processes)) == list(range(20))
    with pytest.raises(ValueError, match="3 is odd"):
        list(each(_half, [0, 2, 4, 3, 6], processes))
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_told_of() -> None:
    with pytest.raises(MachineryError, match="one of 2 processes died"):
        list(each(_killed, range(100), 2))
    assert not multiprocessing.active_children()


def test_who_stops_asking_leaves_nothing_running() -> None:
    """One process, which takes four at a time, is to sleep by then."""
    doing = each(_slow, [0, 0, 0, 0, 600, 600, 600, 600, 600], 2)
    assert next(doing) == 0
    del doing
    assert not multiprocessing.active_children()


def test_processes_look_for_garbage_as_seldom_as_the_command_line() -> None:
    """With Python's own threshold the model takes a twentieth longer."""
    before = gc.get_threshold()
    try:
        collect_seldom()
        assert {gc.get_threshold()[0]} == set(each(_threshold, range(8), 2))
        assert gc.get_threshold()[0] > 100 * 700
    finally:
        gc.set_threshold(*before)
