"""What runs in a worker of dask: one bench a process, made when the first shard comes.

dask starts workers and gives them shards.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from distributed import WorkerPlugin, get_worker
from distributed.utils import sync

from harness.campaign.bench import Bench, Done
from harness.campaign.plan import Plan, Rest
from harness.campaign.steady import go_steady
from harness.collector import collect_seldom
from harness.pairs import make_pair
from harness.sides.side import Choice

__all__ = ["Ready", "Setup", "Workshop", "prepare", "run_shard", "stop", "topic"]


_LOOK = 0.5
"""Seconds after which a worker looks whether its parent is there."""


class Setup(msgspec.Struct, frozen=True):
    """All that a worker has to know of a campaign.

    `parent` is the process whose end ends a worker, 0 for workers of somebody's cluster.
    """

    night: str
    plan: Plan
    against: str
    choice: Choice
    strict: bool
    parent: int = 0


class Ready(msgspec.Struct, frozen=True):
    """What a worker says once it can run: header and identity of its sides."""

    header: tuple[str, ...]
    identity: dict[str, str]


def topic(night: str) -> str:
    """Where the workers of `night` tell of programs that are done (`Done`, as msgpack)."""
    return f"ext4diff-{night}"


class Workshop(WorkerPlugin):
    """Holds a worker's bench, and ends its guests when the worker or the night ends."""

    def __init__(self, setup: Setup) -> None:
        self.name = topic(setup.night)
        self._setup = setup
        self._lock = threading.Lock()
        self._bench: Bench | None = None
        self.stopped = threading.Event()

    def __getstate__(self) -> Setup:
        return self._setup

    def __setstate__(self, setup: Setup) -> None:
        self.__init__(setup)  # type: ignore[misc]

    def setup(self, worker: Any) -> None:
        """Leave Ctrl-C to the parent, and end with it, however it ends; no port for browsers.

        A worker of somebody's cluster is left as it is.
        """
        go_steady()
        if self._setup.parent:
            collect_seldom()
            worker.http_server.stop()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            watch = threading.Thread(target=_end_with, args=(self._setup.parent,), daemon=True)
            watch.start()

    def bench(self, worker: Any) -> Bench:
        """The bench of dask's `worker`, made if need be. Raises `UsageError`."""
        with self._lock:
            if self._bench is None:
                setup = self._setup
                pair = make_pair(setup.against, setup.choice, strict=setup.strict)
                scratch = Path(worker.local_directory)  # which dask removes, also after a kill
                self._bench = Bench(setup.night, setup.plan, pair, str(worker.name), scratch)
            return self._bench

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - dask gives it
        """End the guests."""
        self.stopped.set()
        with self._lock:
            if self._bench is not None:
                self._bench.close()


def _end_with(parent: int) -> None:
    """End this process, and so its guests, once `parent` is not its parent any more."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def _workshop(night: str) -> Workshop:
    plugin = get_worker().plugins[topic(night)]
    assert isinstance(plugin, Workshop)
    return plugin


def prepare(night: str) -> Ready:
    """Fetch, build and probe what the sides need. Raises `Ext4diffError`."""
    bench = _workshop(night).bench(get_worker())
    header = bench.prepare()
    return Ready(tuple(header), bench.identity())


def run_shard(night: str, rest: Rest) -> int | None:
    """Run what is left of a shard, telling of each program at once: `Bench.run`.

    The scheduler has a program before the next begins: if the worker dies then, it died at that
    one. Raises `MachineryError`, and what dask raises when the scheduler does not answer.
    """
    worker, workshop = get_worker(), _workshop(night)

    def tell(done: Done) -> None:
        message = msgspec.msgpack.encode(done)
        sync(worker.loop, worker.scheduler.log_event, topic=topic(night), msg=message)

    return workshop.bench(worker).run(rest, tell, workshop.stopped.is_set)


def stop(night: str, dask_worker: Any) -> None:
    """Make a worker leave its shard after the program that it is at; run by `Client.run`."""
    plugin = dask_worker.plugins.get(topic(night))
    if plugin is not None:
        plugin.stopped.set()
