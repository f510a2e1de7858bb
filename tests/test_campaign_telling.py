"""A worker tells of a program and waits for the scheduler's answer, whatever becomes of either."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import msgspec
import pytest
from campaign_kernel import BuggyKernel
from test_campaign import PLAN, SECONDS, Place, assert_complete, assert_nothing_runs, place

from harness import pairs
from harness.campaign.bench import Done
from harness.campaign.plan import Plan, Rest, Shard
from harness.campaign.worker import Setup, Workshop, run_shard, topic
from harness.cli import main
from harness.errors import AGREE, INTERRUPTED
from harness.sides.side import Choice
from harness.trace import Trace
from harness.verdict import Outcome

__all__ = ["place"]

NIGHT = "a-night"
SHARD = Shard("random", 11, 0, 3)
SETUP = Setup(NIGHT, Plan(11, configs=("4k@delalloc",)), "model", Choice(), strict=False)
JUDGED = {Outcome.AGREE, Outcome.KNOWN}
Handler = Callable[..., None]


class Here:
    """A scheduler with one worker, threads of this process; `happened` is in its order."""

    def __init__(self, cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster, self.happened = cluster, list[str]()
        self.heard = threading.Event()
        (self.worker,) = cluster.workers.values()
        self.kept: Handler = cluster.scheduler.handlers["log_event"]
        monkeypatch.setitem(pairs.MAKERS, "kernel", self._kernel)

    def _kernel(self, _spec: str | None, _choice: Choice) -> BuggyKernel:
        happened = self.happened

        class Kernel(BuggyKernel):
            def run(self, *words: Any, **more: Any) -> Trace:
                happened.append("begun")
                return super().run(*words, **more)

        return Kernel()

    def answers(self, answer: Callable[[str, Any], Awaitable[None]]) -> None:
        """The scheduler does `answer` to what is told."""

        async def handler(topic: str, msg: Any) -> None:
            await answer(topic, msg)

        self.cluster.scheduler.handlers["log_event"] = handler

    def stop(self) -> None:
        """Tell the worker that the night is over."""
        self.worker.plugins[topic(NIGHT)].stopped.set()

    def run(self) -> tuple[int | None, list[Done]]:
        """What became of `SHARD`, and the programs that a client heard of."""
        told: list[Done] = []

        def hear(event: tuple[float, bytes]) -> None:
            told.append(msgspec.msgpack.decode(event[1], type=Done))
            self.happened.append("heard")

        with distributed.Client(self.cluster, set_as_default=False) as client:
            client.register_plugin(Workshop(SETUP))
            client.subscribe_topic(topic(NIGHT), hear)
            future = client.submit(run_shard, NIGHT, Rest(SHARD))
            rows = future.result(SECONDS)
            return rows, told


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Here]:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield Here(cluster, monkeypatch)


def test_no_program_begins_before_the_scheduler_has_the_one_before(here: Here) -> None:
    """Else a worker that dies is told to have died at a program that was done."""

    async def slowly(topic: str, msg: Any) -> None:
        await asyncio.sleep(0.3)
        here.kept(topic, msg)
        here.happened.append("there")

    here.answers(slowly)
    rows, told = here.run()
    assert rows == len(told) == 3
    order = [what for what in here.happened if what != "heard"]
    assert order == ["begun", "there"] * 3


def test_a_worker_that_is_stopped_while_it_tells_has_told(here: Here) -> None:
    async def late(topic: str, msg: Any) -> None:
        here.stop()
        await asyncio.sleep(0.3)
        here.kept(topic, msg)

    here.answers(late)
    rows, told = here.run()
    assert rows is None
    assert [done.row.digest.outcome in JUDGED for done in told] == [True]
    assert here.happened.count("begun") == 1


@pytest.mark.parametrize("arrived", [False, True])
def test_an_answer_that_does_not_come_has_the_rest_run_again(
    place: Place, here: Here, arrived: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection breaks before a program has arrived, or before the answer has."""
    left = [3]

    async def breaks(topic: str, msg: Any) -> None:
        left[0] -= 1
        if left[0] or arrived:
            here.kept(topic, msg)
        if not left[0]:
            raise OSError("the connection broke")

    here.answers(breaks)
    words = ("--scheduler", here.cluster.scheduler_address, "--results", str(place.results))
    assert main(["campaign", *PLAN, *words]) == AGREE
    assert "the plan is done" in capsys.readouterr().out
    assert_complete(place)
    runs = here.happened.count("begun")
    assert runs == len(place.rows()) + (0 if arrived else 1)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_that_dies_while_it_tells_is_followed_by_one_that_goes_on(
    place: Place, moment: str
) -> None:
    place.environment["EXT4DIFF_TEST_KILL_AT_TELLING"] = moment
    place.hold.touch()
    running = place.campaign(*PLAN, "-j", "1")
    place.wait_for_rows(5)
    place.kill.touch()
    place.hold.unlink()
    output, _ = running.communicate(timeout=SECONDS)
    assert not place.kill.exists()  # a worker did die
    assert running.returncode == AGREE, output
    assert_complete(place)
    assert {row.digest.outcome for row in place.rows()} <= JUDGED
    assert_nothing_runs(place)
    assert list(place.temporary.iterdir()) == []


def test_a_worker_that_answers_nothing_does_not_hold_up_the_end(place: Place) -> None:
    """A process that is stopped: dask waited for its answer until it gave the worker up, some
    minutes later, and Ctrl-C seemed to do nothing."""
    place.environment["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "1h"
    place.environment["EXT4DIFF_TEST_SLOW"] = "0.05"
    place.environment["PYTHONPATH"] = str(Path(__file__).parent)
    plan = ("--seed", "11", "--time", "1h", "--on", "4k@delalloc", "-j", "2")
    running = place.start("hasty", "campaign", *plan, "--results", str(place.results))
    place.wait_for_rows(6)
    workers = [pid for pid in place.of_ours() if b"spawn_main" in command(pid)]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGSTOP)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == INTERRUPTED, output
    assert re.search(rf"\b{len(place.rows())} programs in .*; interrupted", output)
    assert "Traceback" not in output
    assert_nothing_runs(place)
    assert list(place.temporary.iterdir()) == []


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
