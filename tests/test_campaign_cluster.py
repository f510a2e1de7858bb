"""A cluster of our own keeps its workers, also where dask gives one up."""

from __future__ import annotations

import time
from typing import Any

import distributed
import pytest

from harness.campaign.cluster import SchedulerError, connected
from harness.campaign.engine import Engine, Limits
from harness.campaign.plan import Plan
from harness.campaign.worker import Setup
from harness.sides import Choice

SECONDS = 90


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
        while set(client.nthreads()) == before:
            time.sleep(0.05)
        wait_for_workers(client, 2)
        assert client.submit(sum, [1, 2]).result(SECONDS) == 3


class GivenUp:
    """A client of a scheduler that is gone: dask has closed its connections."""

    def __init__(self, status: str) -> None:
        self.status = status

    def nthreads(self) -> dict[str, int]:
        raise RuntimeError("ConnectionPool is closed")

    def run(self, *_words: object) -> None:
        raise RuntimeError("ConnectionPool is closed")


@pytest.mark.parametrize(
    ("status", "error"), [("closed", SchedulerError), ("running", RuntimeError)]
)
def test_a_scheduler_that_dask_gave_up_went_away(status: str, error: type[Exception]) -> None:
    client: Any = GivenUp(status)
    setup = Setup("night", Plan(1, count=1), "model", Choice(), strict=False)
    nothing_to_keep: Any = None
    engine = Engine(client, setup, nothing_to_keep, set())
    with pytest.raises(error, match="ConnectionPool is closed"):
        engine.run(Limits(), lambda: None)
