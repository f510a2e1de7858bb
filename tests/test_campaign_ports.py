"""A campaign opens the ports that its processes need to talk to each other, and no others."""

from __future__ import annotations

import subprocess
import time

import psutil
from test_campaign import SECONDS, Place, assert_nothing_runs, place

__all__ = ["place"]


def listening(process: subprocess.Popen[str]) -> list[tuple[str, int]]:
    """Address and port of each socket on which it, or a process below it, waits for others."""
    whole = psutil.Process(process.pid)
    return [
        found.laddr[:2]
        for one in (whole, *whole.children(recursive=True))
        for found in one.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    ]


def test_no_dashboard_is_opened_and_all_is_on_loopback(place: Place) -> None:
    place.environment["EXT4DIFF_TEST_SLOW"] = "0.2"
    running = place.campaign("--seed", "11", "--time", "1h", "--on", "4k@delalloc", "-j", "1")
    place.wait_for_rows(1)
    found = listening(running)
    # the scheduler, the worker's process and the one that starts it again
    assert len(found) == 3, found
    assert {address for address, _ in found} == {"127.0.0.1"}
    assert 8787 not in {port for _, port in found}
    running.terminate()
    running.communicate(timeout=SECONDS)
    assert_nothing_runs(place)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        ports = {c.laddr[1] for c in psutil.net_connections("tcp") if c.status == "LISTEN"}
        if not ports & {port for _, port in found}:
            return
        time.sleep(0.2)
    raise AssertionError("a port is still open")
