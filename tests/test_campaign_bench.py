"""A bench runs what is left of a shard, and tells only of what it could run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_kernel import buggy_pair

from harness.campaign.bench import Bench, Done
from harness.campaign.plan import Plan, Rest, Shard
from harness.errors import MachineryError
from harness.verdict import Compared, Outcome
from workloads.workload import Workload

SHARD = Shard("swarm", 11, 0, 3)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    plan = Plan(11, configs=("4k@delalloc", "1k@delalloc"), length=5)
    bench = Bench("night", plan, buggy_pair(), "w1", tmp_path)
    yield bench
    bench.close()


def run(bench: Bench, rest: Rest) -> tuple[int | None, list[Done]]:
    told: list[Done] = []
    return bench.run(rest, told.append, lambda: False), told


def test_what_is_kept_does_not_run_again_and_is_counted(bench: Bench) -> None:
    rows, told = run(bench, Rest(SHARD))
    keys = [done.row.key for done in told]
    assert rows == len(set(keys)) == len(keys) >= 3
    kept = frozenset(keys[:1] + keys[2:])
    again, rest = run(bench, Rest(SHARD, kept))
    assert again == rows
    assert [done.row.key for done in rest] == [keys[1]]
    assert run(bench, Rest(SHARD, frozenset(keys))) == (rows, [])


def test_the_first_that_is_left_is_given_up_the_others_run(bench: Bench) -> None:
    _, told = run(bench, Rest(SHARD))
    kept = frozenset({told[0].row.key})
    _, rest = run(bench, Rest(SHARD, kept, given_up="5 workers died"))
    assert [done.row.key for done in rest] == [done.row.key for done in told[1:]]
    assert rest[0].row.digest.reason == "5 workers died"
    outcomes = [done.row.digest.outcome for done in rest]
    assert (outcomes[0], outcomes.count(Outcome.BROKEN)) == (Outcome.BROKEN, 1)
    assert (rest[0].reached, rest[1].reached) == ((), told[2].reached)
    operations = [count for what, _, count in told[2].reached if what == "operation"]
    assert 0 < sum(operations) == told[2].row.digest.steps


def test_what_breaks_because_the_night_is_ended_is_not_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.prepare()
    ended = threading.Event()

    def breaks(_workload: Workload) -> Compared:
        ended.set()
        raise MachineryError("the guest is gone")

    monkeypatch.setattr(bench._lab, "run", breaks)
    told: list[Done] = []
    assert bench.run(Rest(SHARD), told.append, ended.is_set) is None
    assert told == []
    ended.clear()
    assert bench.run(Rest(SHARD), told.append, lambda: False) == len(told)
    assert {done.row.digest.outcome for done in told} == {Outcome.BROKEN}
