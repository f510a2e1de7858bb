"""Settling: last while the kernel works, first again afterwards, and never for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vm.agent import settle
from vm.agent.settle import Settler


class Watched:
    """A block device whose count of requests follows `counts`, one a look."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "vda").mkdir()
        self._file = folder / "vda/inflight"
        self.counts: list[str] = []
        self.policies: list[int] = []
        self.looks = 0
        self._file.write_text("       0        0\n")
        monkeypatch.setattr(os, "sched_yield", self._look)
        monkeypatch.setattr(
            os, "sched_setscheduler", lambda _pid, policy, _param: self.policies.append(policy)
        )
        self.settler = Settler("vda", str(folder))

    def _look(self) -> None:
        self.looks += 1
        self._file.write_text(f"{self.counts.pop(0) if self.counts else '0 0'}\n")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


FIRST = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
LAST = os.SCHED_IDLE | os.SCHED_RESET_ON_FORK


def test_starved_kernel_threads_get_no_time_of_their_own(tmp_path: Path) -> None:
    """The fair server is what let the flusher in while sync(2) was at its start."""
    throttling = tmp_path / "proc/sys/kernel/sched_rt_runtime_us"
    server = tmp_path / "debug/sched/fair_server/cpu0/runtime"
    for path in (throttling, server):
        path.parent.mkdir(parents=True)
        path.touch()
    settle.never_preempt(str(tmp_path / "debug"), str(tmp_path / "proc"))
    assert (throttling.read_text(), server.read_text()) == ("-1", "0")
    settle.never_preempt(str(tmp_path / "none"), str(tmp_path / "none"))


def test_operations_run_before_kernel_threads(watched: Watched) -> None:
    assert watched.policies == [FIRST]
    watched.settler.settle()
    assert watched.policies == [FIRST, LAST, FIRST]


def test_quiet_is_looked_for_twice(watched: Watched) -> None:
    watched.settler.settle()
    assert watched.looks == 2


def test_requests_are_waited_for_also_if_they_lead_to_others(watched: Watched) -> None:
    watched.counts = ["0 3", "1 0", "0 0", "0 1", "0 0", "0 0"]
    watched.settler.settle()
    assert watched.counts == []
    assert watched.looks == 6


def test_a_device_that_is_never_quiet_ends_the_wait(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "_LONGEST", 0.05)
    watched.counts = ["0 1"] * 100000
    watched.settler.settle()
    assert watched.policies[-1] == FIRST
