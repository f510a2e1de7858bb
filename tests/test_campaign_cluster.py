"""A cluster of our own keeps its workers, also where dask gives one up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import distributed
import pytest

from harness.campaign.cluster import NoWorkersError, SchedulerError, connected
from harness.campaign.engine import Engine, Limits
from harness.campaign.plan import Plan
from harness.campaign.worker import Setup
from harness.sides.side import Choice

SECONDS = 900
"""After which something hangs."""


def wait_for_workers(client: distributed.Client, count: int) -> None:
    end = time.monotonic() + SECONDS
    while len(client.nthreads()) != count:
        assert time.monotonic() < end, f"{len(client.nthreads())} workers, not {count}"
        time.sleep(0.2)


def test_a_worker_that_dask_gave_up_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    with connected(None, 2) as client:
        wait_for_workers(client, 2)
        before = set(client.nthreads())
        nanny = client.cluster.workers[0]
        client.cluster.sync(nanny.close)
        end = time.monotonic() + SECONDS
        while set(client.nthreads()) == before and time.monotonic() < end:
            time.sleep(0.05)
        wait_for_workers(client, 2)
        assert client.submit(sum, [1, 2]).result(SECONDS) == 3


class GivenUp:
    """A client whose scheduler went away: dask's `status` is another one after the question that
    it did not answer, and what it raises is what it happened to be at."""

    def __init__(self, status: str, error: BaseException) -> None:
        self.status, self._then, self._error = "running", status, error
        self.asked = 0

    def nthreads(self) -> dict[str, int]:
        self.asked += 1
        self.status = self._then
        raise self._error

    def run(self, *_words: object) -> None:
        self.asked += 1
        raise self._error


def engine_with(client: object) -> Engine:
    setup = Setup("night", Plan(1, count=1), "model", Choice(), strict=False)
    anything: Any = None
    given: Any = client
    return Engine(given, setup, anything, set())


def worked(client: GivenUp) -> None:
    engine_with(client).run(Limits(), lambda: None)


@pytest.mark.parametrize("status", ["connecting", "closing", "closed"])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("ConnectionPool is closed"),
        AttributeError("'NoneType' object has no attribute 'broadcast'"),
        asyncio.CancelledError(),
        OSError("Timed out trying to connect"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_scheduler_that_dask_gives_up_went_away_and_is_not_asked_again(
    status: str, error: BaseException
) -> None:
    client = GivenUp(status, error)
    with pytest.raises(SchedulerError, match="the scheduler went away"):
        worked(client)
    assert client.asked == 1


def test_what_goes_wrong_while_the_scheduler_is_there_is_told_as_it_is() -> None:
    with pytest.raises(AttributeError, match="no attribute"):
        worked(GivenUp("running", AttributeError("no attribute")))


class Leaving:
    """A client whose one worker goes away as soon as it is to make ready."""

    status = "running"
    nothing = staticmethod(lambda *_words: None)
    register_plugin = subscribe_topic = unsubscribe_topic = unregister_worker_plugin = nothing
    run = nothing

    def __init__(self) -> None:
        self.workers = {"tcp://worker": 1}

    def nthreads(self) -> dict[str, int]:
        return self.workers

    def submit(self, *_words: object, pure: bool) -> Leaving:
        assert not pure
        self.workers = {}
        return self

    def add_done_callback(self, _call: object) -> None:
        """Never done."""


def test_workers_that_go_away_while_they_get_ready_are_not_waited_for_for_ever() -> None:
    engine = engine_with(Leaving())
    with (
        pytest.raises(NoWorkersError, match=r"none came for 0\.5 s"),
        engine.at_work(Limits(alone=0.5)),
    ):
        pass
    assert engine.workers == 0
    assert engine.alone is not None
