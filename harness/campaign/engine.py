"""A night's work: shards to the workers, rows to the store, until it is time to stop.

dask holds the queue, finds workers for shards, and gives those of a worker that died to
another. Here shards are chosen, and what comes back is kept. Everything arrives in one
place: programs that are done, as the workers tell of them, and shards that are.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable, Iterator

import distributed
import msgspec

from harness.campaign.bench import Done, NoGuestError, ShardDone
from harness.campaign.cluster import LOST, SchedulerError
from harness.campaign.keeper import Keeper
from harness.campaign.plan import Plan, Shard, shards
from harness.campaign.worker import Ready, Setup, Workshop, prepare, run_shard, stop, topic
from harness.errors import Ext4diffError, MachineryError

__all__ = ["DONE", "Engine", "Limits"]

DONE = "the plan is done"
_AHEAD = 2
"""Shards for each worker that are with dask at a time: one that runs and one that waits."""
_TRIES = 3
"""Shards in a row that may fail for want of a guest before the night is given up."""
_TICK = 1.0
_WAIT = 30.0
"""Seconds that workers get to end the programs that they are at."""


class Limits(msgspec.Struct, frozen=True):
    """When to stop: after so many seconds, so many signatures that were not known before."""

    seconds: float | None = None
    findings: int | None = None


class Engine:
    """Runs what of `setup.plan` is left (not in `finished`), and hands it to `keeper`."""

    def __init__(
        self, client: distributed.Client, setup: Setup, keeper: Keeper, finished: set[str]
    ) -> None:
        self._client, self._setup, self._keeper = client, setup, keeper
        self._shards = _left(setup.plan, finished)
        self._inbox: queue.SimpleQueue[Done | distributed.Future[ShardDone]] = queue.SimpleQueue()
        self._running: dict[distributed.Future[ShardDone], Shard] = {}
        self._again: list[Shard] = []
        self._failed = 0
        self.workers = 0
        self.new = 0
        self.ended_by = DONE

    # --- the workers ----------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Ready]:
        """The workers with what they need; the night is over for them after the context.

        Raises what a worker raises that can't be made ready.
        """
        night = self._setup.night
        with self._scheduler_there():
            self._client.register_plugin(Workshop(self._setup))
            self._client.subscribe_topic(topic(night), self._told)
            self._count_workers()
            if not self.workers:
                raise SchedulerError("the scheduler has no workers; start some: dask worker ...")
        try:
            with self._scheduler_there():
                ready: Ready = self._client.submit(prepare, night, pure=False).result()
            yield ready
        finally:
            with contextlib.suppress(SchedulerError, ValueError), self._scheduler_there():
                self._stop_workers()
                self._client.unsubscribe_topic(topic(night))
                self._client.unregister_worker_plugin(topic(night))

    def _count_workers(self) -> None:
        self.workers = len(self._client.nthreads())

    def _told(self, event: tuple[float, bytes]) -> None:
        """Called by dask's thread with what a worker has told."""
        self._inbox.put(msgspec.msgpack.decode(event[1], type=Done))

    # --- the night ------------------------------------------------------------------------

    def run(self, limits: Limits, tick: Callable[[], None]) -> None:
        """Run until the plan is done or a limit is reached, calling `tick` every second or so.

        Raises `MachineryError` if it can't go on; what was done is kept then, too.
        """
        began = time.monotonic()
        try:
            while self._top_up():
                self._take_one()
                self._keeper.retry()
                tick()
                if self._reached(limits, time.monotonic() - began):
                    return
        finally:
            self._leave()
            tick()

    def _top_up(self) -> bool:
        """Give dask enough to do; whether there is anything to wait for."""
        with self._scheduler_there():
            self._count_workers()
            while len(self._running) < _AHEAD * max(1, self.workers):
                shard = self._again.pop() if self._again else next(self._shards, None)
                if shard is None:
                    break
                name = f"{self._setup.night}-{shard.name}-{self._failed}"
                future = self._client.submit(
                    run_shard, self._setup.night, shard, key=name, pure=False
                )
                self._running[future] = shard
                future.add_done_callback(self._inbox.put)
        return bool(self._running)

    def _take_one(self) -> None:
        """Take what comes within a tick, with all that is there already."""
        with contextlib.suppress(queue.Empty):
            found = self._inbox.get(timeout=_TICK)
            while True:
                if isinstance(found, Done):
                    self.new += self._keeper.take(found)
                else:
                    self._ended(found)
                found = self._inbox.get_nowait()

    def _ended(self, future: distributed.Future[ShardDone]) -> None:
        shard = self._running.pop(future, None)
        if shard is None:
            return
        if future.status == "finished":
            with self._scheduler_there():
                done: ShardDone = future.result()
            self._failed = 0
            if done.complete:
                self._keeper.finish(shard.name, done)
            return
        if future.status in ("cancelled", "lost"):
            raise SchedulerError(_GONE)
        self._failed += 1
        error = future.exception()
        if not isinstance(error, NoGuestError | distributed.KilledWorker) or (
            self._failed >= _TRIES * max(1, self.workers)
        ):
            raise error if isinstance(error, Ext4diffError) else MachineryError(str(error))
        self._again.append(shard)

    def _reached(self, limits: Limits, seconds: float) -> bool:
        if limits.seconds is not None and seconds >= limits.seconds:
            self.ended_by = "the time is over"
            return True
        if limits.findings is not None and self.new >= limits.findings:
            self.ended_by = f"{self.new} findings"
            return True
        return False

    def _leave(self) -> None:
        """Have the workers leave their shards, and keep what they still tell of."""
        with contextlib.suppress(SchedulerError), self._scheduler_there():
            self._stop_workers()
        end = time.monotonic() + _WAIT
        while self._running and time.monotonic() < end:
            with contextlib.suppress(Ext4diffError):
                self._take_one()

    def _stop_workers(self) -> None:
        self._client.run(stop, self._setup.night)

    @contextlib.contextmanager
    def _scheduler_there(self) -> Iterator[None]:
        """Raises `SchedulerError` for what dask raises when the scheduler does not answer, which
        may be anything while dask gives it up, and without asking a scheduler that is gone."""
        if self._client.status != "running":  # the work is cancelled, also if it comes back
            raise SchedulerError(_GONE)
        try:
            yield
        except (*LOST, asyncio.CancelledError) as error:
            raise SchedulerError(f"{_GONE} ({error})") from error
        except Exception as error:
            if isinstance(error, Ext4diffError) or self._client.status == "running":
                raise
            raise SchedulerError(f"{_GONE} ({error})") from error


_GONE = "the scheduler went away, or ended the work; what was done is kept"


def _left(plan: Plan, finished: set[str]) -> Iterator[Shard]:
    return (shard for shard in shards(plan) if shard.name not in finished)
