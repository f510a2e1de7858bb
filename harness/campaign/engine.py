"""A night's work: shards to the workers, rows to the store, until it is time to stop.

dask finds workers for shards, and says which of them died. Here shards are chosen, and what
comes back is kept. Everything arrives in one place: programs that are done, as the workers
tell of them, and shards that are. Of a shard whose worker died another one gets what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

import distributed
import msgspec

from harness.campaign.bench import Done
from harness.campaign.cluster import LOST, NoWorkersError, SchedulerError
from harness.campaign.keeper import Keeper
from harness.campaign.plan import Plan, Rest, Shard, shards
from harness.campaign.worker import Ready, Setup, Workshop, prepare, run_shard, stop, topic
from harness.errors import Ext4diffError, MachineryError, UsageError
from harness.verdict import Outcome

__all__ = ["ALONE", "DONE", "Engine", "Limits"]

_Run: TypeAlias = "distributed.Future[int | None]"
DONE = "the plan is done"
_DEATHS = 5
"""Workers that may die at one program before it is given up."""
_PATIENCE = {Exception: 3, distributed.KilledWorker: 10 * _DEATHS}
"""How often in a row, for each worker, a shard may fail without a program that could be judged
before the night is given up: of no guest that comes up, or any other fault; of workers that die."""
_WHY = "if their machine is short of memory, its kernel's log tells of it"
ALONE = 600.0
"""Seconds for which a night goes on without a worker, if nothing else is said: machines boot, and
people start workers again."""
_TICK = 1.0
_ANSWER = 10.0
"""Seconds that workers get to answer when the night is over."""
_WAIT = 30.0
"""Seconds that workers get to end the programs that they are at."""


class Limits(msgspec.Struct, frozen=True):
    """When to stop: after so many seconds, so many signatures that were not known before, and
    after no worker was there for so many seconds (`alone`)."""

    seconds: float | None = None
    findings: int | None = None
    alone: float = ALONE


class Engine:
    """Runs what of `setup.plan` is left (not in `finished`), and hands it to `keeper`."""

    def __init__(
        self, client: distributed.Client, setup: Setup, keeper: Keeper, finished: set[str]
    ) -> None:
        self._client, self._setup, self._keeper = client, setup, keeper
        self._shards = _left(setup.plan, finished)
        self._inbox: queue.SimpleQueue[Done | _Run] = queue.SimpleQueue()
        self._running: dict[_Run, Shard] = {}
        self._again: list[Shard] = []
        self._deaths: dict[Shard, tuple[int, int]] = {}
        """How many rows a shard had when a worker last died at it, and how many died there."""
        self._failed: Counter[type] = Counter()
        self._runs = itertools.count(1)
        self.workers = 0
        self._gone: float | None = None
        """When it was first seen that all workers were gone, by the monotonic clock."""
        self.new = 0
        self.ended_by = DONE

    # --- the workers ----------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self, limits: Limits) -> Iterator[Ready]:
        """The workers with what they need; the night is over for them after the context.

        Raises what a worker raises that can't be made ready, `NoWorkersError` if all went away.
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
                ready = self._ready(limits)
            yield ready
        finally:
            self._ask(self._client.run, stop, night)
            self._ask(self._client.unsubscribe_topic, topic(night))
            self._ask(self._client.unregister_worker_plugin, topic(night))

    def _ready(self, limits: Limits) -> Ready:
        for _ in range(_DEATHS):
            future = self._client.submit(prepare, self._setup.night, pure=False)
            ended = threading.Event()
            future.add_done_callback(lambda _future, ended=ended: ended.set())
            while not ended.wait(_TICK):
                self._count_workers()
                self._wait_for_workers(limits)
            with contextlib.suppress(distributed.KilledWorker):
                ready: Ready = future.result()
                return ready
        raise MachineryError(f"{_DEATHS} workers died while they got ready; {_WHY}")

    def _count_workers(self) -> None:
        self.workers = len(self._client.nthreads())
        if self.workers:
            self._gone = None
        elif self._gone is None:
            self._gone = time.monotonic()

    @property
    def alone(self) -> float | None:
        """Seconds for which no worker has been there; None if one is."""
        return None if self._gone is None else time.monotonic() - self._gone

    def _wait_for_workers(self, limits: Limits) -> None:
        """Raises `NoWorkersError` if none has been there for too long."""
        if self.alone is not None and self.alone >= limits.alone:
            raise NoWorkersError(
                f"all workers went away, and none came for {limits.alone:g} s"
                " (--wait-for-workers); what was done is kept"
            )

    def _told(self, event: tuple[float, bytes]) -> None:
        """Called by dask's thread with what a worker has told."""
        self._inbox.put(msgspec.msgpack.decode(event[1], type=Done))

    # --- the night ------------------------------------------------------------------------

    def run(self, limits: Limits, tick: Callable[[], None]) -> None:
        """Run until the plan is done or a limit is reached, calling `tick` every second or so.

        Raises `MachineryError` if it can't go on; what was done is kept then, too.
        `NoWorkersError` is one.
        """
        began = time.monotonic()
        try:
            while self._top_up():
                self._take_one()
                self._keeper.retry()
                tick()
                if self._reached(limits, time.monotonic() - began):
                    return
                self._wait_for_workers(limits)
        finally:
            self._leave()
            tick()

    def _top_up(self) -> bool:
        """Give dask enough to do; whether there is anything to wait for."""
        with self._scheduler_there():
            self._count_workers()
            # none waits behind another: of a worker that dies all count as dead to dask
            while len(self._running) < max(1, self.workers):
                shard = self._again.pop() if self._again else next(self._shards, None)
                if shard is None:
                    break
                night = self._setup.night
                name = f"{night}-{shard.name}-{next(self._runs)}"
                future = self._client.submit(run_shard, night, self._rest(shard), key=name)
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
                    if found.row.digest.outcome is not Outcome.BROKEN:
                        self._failed.clear()
                else:
                    self._ended(found)
                found = self._inbox.get_nowait()

    def _rest(self, shard: Shard) -> Rest:
        """What the keeper has not of `shard`."""
        kept = self._keeper.kept[shard.name]
        died = self._died(shard)
        why = f"{died} workers died at this program; {_WHY}" if died >= _DEATHS else ""
        return Rest(shard, frozenset(kept), why)

    def _died(self, shard: Shard) -> int:
        """How many workers died at the program that is the next of `shard`."""
        rows, deaths = self._deaths.get(shard, (0, 0))
        return deaths if rows == len(self._keeper.kept[shard.name]) else 0

    def _ended(self, future: _Run) -> None:
        shard = self._running.pop(future, None)
        if shard is None:
            return
        if future.status == "finished":
            with self._scheduler_there():
                rows = future.result()
            if rows == len(self._keeper.kept[shard.name]):
                self._keeper.finish(shard.name)
            elif rows is not None:  # what it told of one was lost
                self._again.append(shard)
            return
        if future.status in ("cancelled", "lost"):
            raise SchedulerError(_GONE)
        error = future.exception()
        kind: type = Exception
        if isinstance(error, distributed.KilledWorker):
            kind = distributed.KilledWorker
            deaths = self._died(shard) + 1 + error.allowed_failures
            self._deaths[shard] = len(self._keeper.kept[shard.name]), deaths
            error = MachineryError(f"one worker after the other dies; {_WHY}")
        self._failed[kind] += 1
        patience = _PATIENCE[kind] * max(1, self.workers)
        if self._failed[kind] >= patience or isinstance(error, UsageError):
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
        self._ask(self._client.run, stop, self._setup.night)
        end = time.monotonic() + (_WAIT if self.workers else 0.0)
        while self._running:
            with contextlib.suppress(Ext4diffError):
                self._take_one()
            if time.monotonic() >= end:
                break

    def _ask(self, question: Callable[..., object], *words: object) -> None:
        """Ask all workers, at the end, where no answer changes anything any more, without waiting
        for long for one that does not answer, a process that is stopped, say: dask itself waits
        until it gives the worker up."""

        def ask() -> None:
            with contextlib.suppress(Exception), self._scheduler_there():
                question(*words)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_ANSWER)

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
