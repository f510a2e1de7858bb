"""A cluster of our own keeps its workers, also where dask gives one up."""

from __future__ import annotations

import time

import distributed
import pytest

from harness.campaign.cluster import connected

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
