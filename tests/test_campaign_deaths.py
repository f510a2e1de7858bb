"""Workers that die again and again: what is done stays done, and one program ends no night."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import msgspec
import pytest
from stored import make_row
from test_campaign import PLAN, SECONDS, Place, assert_complete, assert_nothing_runs, place

from harness.campaign.bench import Done
from harness.campaign.engine import Engine, Limits
from harness.campaign.keeper import Keeper
from harness.campaign.plan import Plan, Rest
from harness.campaign.shelf import Shelf
from harness.campaign.store import Store
from harness.campaign.worker import Setup
from harness.errors import MACHINERY, MachineryError, UsageError
from harness.sides.side import Choice
from harness.verdict import Outcome
from reports.rows import Night

__all__ = ["place"]

COUNT = 12
WORDS = ("--count", str(COUNT), "-j", "1")


def test_workers_that_die_again_and_again_end_no_night_and_one_program_is_named(
    place: Place,
) -> None:
    place.environment["EXT4DIFF_TEST_LIFE"] = "5"
    place.environment["EXT4DIFF_TEST_POISON"] = "random-11-000001"
    output, _ = (running := place.campaign(*PLAN, *WORDS)).communicate(timeout=SECONDS)
    assert running.returncode == MACHINERY, output
    assert "the plan is done" in output
    assert_complete(place, COUNT)
    (broken,) = [row for row in place.rows() if row.digest.outcome is Outcome.BROKEN]
    assert broken.program == "random:11:1"
    assert "5 workers died at this program" in str(broken.digest.reason)
    assert "5 workers died at this program" in output
    assert_nothing_runs(place)
    assert list(place.temporary.iterdir()) == []


# --- the engine, without dask -------------------------------------------------------------------

Tell = Callable[[int, Outcome], None]
"""Tells of program `number`."""


class Future:
    """What became of a shard: its number of rows, or what it failed of."""

    def __init__(self, became: int | Exception) -> None:
        self._became = became
        self.status = "error" if isinstance(became, Exception) else "finished"

    def add_done_callback(self, call: Callable[[Future], None]) -> None:
        call(self)

    def result(self) -> int | Exception:
        return self._became

    def exception(self) -> int | Exception:
        return self._became


class Workers:
    """A client of dask whose one worker does at once as `work` says."""

    status = "running"

    def __init__(self, work: Callable[[Rest, Tell], int | Exception], store: Store) -> None:
        self._work = work
        self.rests: list[Rest] = []
        self.keeper = Keeper("night", store, Shelf(store.path.parent, 1 << 20))
        plan = Plan(7, kinds=("random",), count=3)
        setup = Setup("night", plan, "model", Choice(), strict=False)
        client: Any = self
        self.engine = Engine(client, setup, self.keeper, set())

    def nthreads(self) -> dict[str, int]:
        return {"tcp://worker": 1}

    def run(self, *_words: object) -> None:
        """Of stopping workers."""

    def submit(self, _run: object, _night: str, rest: Rest, key: str) -> Future:
        assert key.startswith("night-random:7:0:3-")
        self.rests.append(rest)
        assert len(self.rests) < 1000
        return Future(self._work(rest, self._tell))

    def _tell(self, number: int, outcome: Outcome) -> None:
        row = make_row(number, "night", outcome=outcome)
        row = msgspec.structs.replace(row, shard="random:7:0:3")
        self.engine._told((0.0, msgspec.msgpack.encode(Done(row))))

    def work(self) -> list[Outcome]:
        """What becomes of the programs."""
        self.engine.run(Limits(), lambda: None)
        return list(self.keeper.outcomes.elements())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.sqlite") as store:
        store.begin(Night("night"))
        yield store


def killed(allowed: int = 0) -> Exception:
    worker: Any = "tcp://worker"
    return distributed.KilledWorker("a shard", worker, allowed)


def given_up(rest: Rest, tell: Tell) -> None:
    """What a worker does first if it is told so."""
    if rest.given_up:
        tell(len(rest.kept), Outcome.BROKEN)


def test_only_what_is_missing_runs_again(store: Store) -> None:
    def work(rest: Rest, tell: Tell) -> int | Exception:
        assert not rest.given_up
        tell(len(rest.kept), Outcome.AGREE)
        return killed() if len(rest.kept) < 2 else 3

    workers = Workers(work, store)
    assert workers.work() == [Outcome.AGREE] * 3
    assert [len(rest.kept) for rest in workers.rests] == [0, 1, 2]
    assert store.finished("night") == {"random:7:0:3"}


@pytest.mark.parametrize(("allowed", "tries"), [(0, 5), (3, 2)])
def test_a_program_is_given_up_when_five_workers_died_at_it(
    store: Store, allowed: int, tries: int
) -> None:
    """dask may try itself before it tells of a death; its tries count."""

    def work(rest: Rest, tell: Tell) -> int | Exception:
        given_up(rest, tell)
        return 3 if len(rest.kept) == 2 and rest.given_up else killed(allowed)

    workers = Workers(work, store)
    assert workers.work() == [Outcome.BROKEN] * 3
    at = [len(rest.kept) for rest in workers.rests if not rest.given_up]
    # the worker that tells of one that was given up dies at the next
    assert at == [0] * tries + [1] * (tries - 1) + [2] * (tries - 1)


def test_a_worker_that_dies_whatever_it_runs_ends_the_night(store: Store) -> None:
    def work(rest: Rest, tell: Tell) -> int | Exception:
        return killed()  # even before it has told that it gives a program up

    workers = Workers(work, store)
    with pytest.raises(MachineryError, match="one worker after the other dies; if their machine"):
        workers.work()
    assert len(workers.rests) == 50


def test_want_of_guests_ends_the_night_but_not_if_some_come_up(store: Store) -> None:
    def none(_rest: Rest, _tell: Tell) -> int | Exception:
        return MachineryError("on w1: no guest comes up")

    workers = Workers(none, store)
    with pytest.raises(MachineryError, match="on w1"):
        workers.work()
    assert len(workers.rests) == 3
    turns: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (0, 1, 2) * 3:
        turns.put(number)

    def some(rest: Rest, tell: Tell) -> int | Exception:
        if turns.get_nowait() < 2:
            return MachineryError("on w1: no guest comes up")
        tell(len(rest.kept), Outcome.AGREE)
        return 3 if len(rest.kept) == 2 else killed()

    workers = Workers(some, store)
    assert workers.work() == [Outcome.AGREE] * 3
    assert len(workers.rests) == 9


def test_a_row_that_got_lost_on_its_way_is_asked_for_again(store: Store) -> None:
    def work(rest: Rest, tell: Tell) -> int | Exception:
        for number in range(3):
            if number != 1 or rest.kept:
                tell(number, Outcome.AGREE)
        return 3

    workers = Workers(work, store)
    assert workers.work() == [Outcome.AGREE] * 3
    assert [len(rest.kept) for rest in workers.rests] == [0, 2]


@pytest.mark.parametrize(
    ("error", "told_as", "tries"),
    [(ValueError("what is this"), MachineryError, 3), (UsageError("what is this"), UsageError, 1)],
)
def test_a_fault_that_stays_ends_the_night_and_is_told(
    store: Store, error: Exception, told_as: type[Exception], tries: int
) -> None:
    workers = Workers(lambda _rest, _tell: error, store)
    with pytest.raises(told_as, match="what is this"):
        workers.work()
    assert len(workers.rests) == tries
