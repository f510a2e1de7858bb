"""The process that collects quota warnings in the guest: started in time, late, broken, asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm.agent import main, quota, setup
from vm.agent.main import Agent
from vm.agent.quota import QuotaWarnings


def listener(folder: Path, commands: str) -> str:
    """A program that stands for the guest's Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/bash\n{commands}\n")
    path.chmod(0o755)
    return str(path)


def test_a_drain_ends_with_the_answer_and_not_with_a_pause(tmp_path: Path) -> None:
    """What comes late, but before the answer, belongs to it."""
    answers = "read -r -n 1 asked; echo one; sleep 1; echo two; echo all"
    again = "read -r -n 1 asked; echo all"
    warnings = QuotaWarnings(300, listener(tmp_path, f"echo ready; {answers}; {again}"))
    try:
        assert warnings.drain() == ["one", "two"]
        assert warnings.forget()
        assert not warnings.forget(), "it has ended"
    finally:
        warnings.close()


def test_one_that_has_ended_is_an_error_and_not_taken_for_silence(tmp_path: Path) -> None:
    warnings = QuotaWarnings(300, listener(tmp_path, "echo ready; echo one; exit 1"))
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="has ended; the console says why"):
                warnings.drain()
    finally:
        warnings.close()


class Served:
    """The listener's loop, on a socket of datagrams that stand for the kernel's messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel, self.warned = socket.socketpair(type=socket.SOCK_DGRAM)
        self.asked, self.ask = os.pipe()
        self.said: list[str] = []
        monkeypatch.setattr(quota, "_say", self.said.append)

    def serve(self) -> None:
        """Until nobody can ask any more."""
        os.close(self.ask)
        quota._serve(self.warned.fileno(), self._parse, self.asked)

    def _parse(self, data: bytes) -> Iterator[dict[str, int]]:
        for code in data:
            yield {"QUOTA_NL_A_WARNING": code, "QUOTA_NL_A_EXCESS_ID": 1000}


def test_a_question_is_answered_once_all_that_came_before_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = Served(monkeypatch)
    os.write(served.ask, b"??")  # the order in which they are looked at is not that of arrival
    for messages in (b"\x04\x05", b"\x0a"):
        served.kernel.send(messages)
    served.serve()
    told = [quota.warning_text(code, 1000) for code in (4, 5, 10)]
    assert served.said == [*told, quota.ALL, quota.ALL]
    assert "below the block soft limit again" in told[-1]


def test_one_that_is_not_ready_in_time_is_late(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"not ready after 0\.1 s"):
        QuotaWarnings(0.1, listener(tmp_path, "exec /bin/sleep 999"))


@pytest.mark.parametrize("commands", ["exit 1", "echo other; exec /bin/sleep 999"])
def test_one_that_ends_or_says_something_else_is_not_late(tmp_path: Path, commands: str) -> None:
    with pytest.raises(OSError, match="ended at once") as error:
        QuotaWarnings(300, listener(tmp_path, commands))
    assert not isinstance(error.value, TimeoutError)


class Guest:
    """The agent in a guest whose kernel knows quota or not, and the listeners that it starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, knows_quota: bool) -> None:
        self.started: list[FakeWarnings] = []
        self.poisoned = 0
        self.agent = Agent(-1, None)
        monkeypatch.setattr(quota, "QuotaWarnings", self._start)
        monkeypatch.setattr(setup, "poison_memory", self._poison)
        monkeypatch.setattr(main.os.path, "exists", lambda _path: knows_quota)

    def _start(self, _seconds: float) -> FakeWarnings:
        self.started.append(FakeWarnings())
        return self.started[-1]

    def _poison(self) -> None:
        self.poisoned += 1

    def listen(self, **asked: bool) -> None:
        assert self.agent._listen({"seconds": 1.0, **asked}) == {}


class FakeWarnings:
    """A listener that does as it is told."""

    def __init__(self) -> None:
        self.runs = True
        self.closed = False
        self.forgotten = 0

    def forget(self) -> bool:
        self.forgotten += 1
        return self.runs

    def close(self) -> None:
        self.closed = True


def test_one_that_was_started_ahead_is_kept_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, knows_quota=True)
    guest.listen(ahead=True)
    assert guest.poisoned == 1, "its start has used memory that was filled"
    guest.listen(ahead=False)
    guest.listen()
    (first,) = guest.started
    assert first.forgotten == 2
    first.runs = False
    guest.listen()
    assert first.closed
    assert (len(guest.started), guest.poisoned) == (2, 1)


def test_a_kernel_without_quota_gets_none_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, knows_quota=False)
    guest.listen(ahead=True)
    assert (guest.started, guest.poisoned) == ([], 0)
    guest.listen()  # a workload needs it: that it does not start is to be told
    assert len(guest.started) == 1
