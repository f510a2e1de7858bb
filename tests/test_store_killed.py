"""A writer that is killed at any moment loses nothing that it said it had kept."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.campaign.store import Store

KILLS = 25
LONG = 10.0
"""Seconds after which a writer that has done nothing does not get on at all."""


def killed_after(seconds: float, writers: subprocess.Popen[str], first: int) -> int:
    """The last row that a writer acknowledged before `kill -9`, or `first - 1`."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    writers.stdin.write(f"{first}\n")
    writers.stdin.flush()
    writer = int(writers.stdout.readline().removeprefix("writer "))
    time.sleep(seconds)
    os.kill(writer, signal.SIGKILL)
    said = []
    while (line := writers.stdout.readline()) != "killed\n":
        assert line.endswith("\n"), "the helper died"
        said.append(line)
    return int(said[-1]) if said else first - 1


@pytest.fixture
def writers(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("stored.py")), str(tmp_path / "store")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process


def test_no_acknowledged_row_is_lost_to_kill_9(tmp_path, writers):
    path, chance = tmp_path / "store", random.Random(8)
    last, kills, progress, longest = -1, 0, 0, 0.05
    # on a busy machine a writer takes longer
    while kills < KILLS or (progress <= KILLS // 2 and longest < LONG):
        kills += 1
        acknowledged = killed_after(chance.uniform(0, longest), writers, last + 1)
        with Store.read(path) as store:
            numbers = sorted(row.number for row in store.rows())
        # all that was said, and perhaps one more pair whose word did not get out
        assert numbers == list(range(len(numbers)))
        assert acknowledged < len(numbers) <= acknowledged + 3
        if len(numbers) - 1 > last:
            progress += 1
        else:
            longest *= 1.5
        last = len(numbers) - 1
    assert progress > KILLS // 2
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
