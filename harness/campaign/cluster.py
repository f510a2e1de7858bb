"""The workers: of a cluster of our own on this machine, or of one that runs already."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import dask
import distributed
from distributed.comm.core import CommClosedError
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from harness.campaign.steady import go_steady
from harness.errors import MachineryError
from vm.scratch import scratch, semaphores_named

__all__ = ["LOST", "NoWorkersError", "SchedulerError", "connected"]

CONNECT = 20.0
"""Seconds in which a scheduler has to answer."""
LOST = (CommClosedError, OSError, TimeoutError)
"""What dask raises when the scheduler does not answer."""
_LOOK = 2.0
"""Seconds after which it is looked whether all workers are there."""


class SchedulerError(MachineryError):
    """The scheduler does not answer, or has no workers."""


class NoWorkersError(SchedulerError):
    """All workers went away, and none came for as long as one is waited for."""


@contextlib.contextmanager
def connected(scheduler: str | None, workers: int) -> Iterator[distributed.Client]:
    """A client of the cluster at `scheduler`, or of one with `workers` processes of its own.

    Those end with the context, and with this process. Raises `SchedulerError`.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    go_steady()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch())
        stack.enter_context(semaphores_named(folder))
        settings = {
            "distributed.scheduler.allowed-failures": 0,  # the engine tries again what is left
            "distributed.comm.timeouts.connect": f"{CONNECT}s",
            "distributed.worker.daemon": False,
            "distributed.deploy.lost-worker-timeout": "60s",  # to come up again, if it is busy
            "temporary-directory": str(folder),
        }
        stack.enter_context(dask.config.set(settings))
        address: Any = scheduler
        if scheduler is None:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0,
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                )
            )  # fmt: skip
            address.sync(_without_dashboard, address.scheduler)
            stack.enter_context(_kept_complete(address, workers))
        try:
            client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
        except LOST as error:
            raise SchedulerError(
                f"the scheduler at {scheduler} does not answer within {CONNECT:g} s ({error});"
                " is its address right, and are its versions of dask and Python ours?"
            ) from error
        stack.enter_context(client)
        try:
            yield client
        except SchedulerError:
            # that is told already; what dask still tries is broken off, of which it would tell
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
            raise


async def _without_dashboard(scheduler: distributed.Scheduler) -> None:
    """Close the port on which dask tells of its work; nobody has asked for it (that of a worker
    is closed by `harness.campaign.worker`)."""
    scheduler.http_server.stop()


@contextlib.contextmanager
def _kept_complete(cluster: distributed.LocalCluster, workers: int) -> Iterator[None]:
    """Give `cluster` another worker for each that is gone for good.

    dask starts a worker again that dies, but not one that dies, or takes too long, while it
    comes up.
    """

    def look() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del cluster.workers[name]
        cluster.scale(workers)

    async def start() -> PeriodicCallback:
        callback = PeriodicCallback(look, _LOOK * 1000)
        callback.start()
        return callback

    async def stop(callback: PeriodicCallback) -> None:
        callback.stop()

    callback = cluster.sync(start)
    try:
        yield
    finally:
        cluster.sync(stop, callback)
