"""What comes in twice counts once, and a full disk loses no row."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.campaign import keeper as keepers
from harness.campaign import night as nights
from harness.campaign.bench import Done
from harness.campaign.keeper import Keeper
from harness.campaign.shelf import Shelf
from harness.campaign.store import Store
from harness.campaign.store_file import StoreError
from harness.verdict import Outcome
from reports.rows import Finding, Night, Row
from reports.summary import Digest


def done(number: int, outcome: Outcome = Outcome.AGREE, archive: bytes = b"") -> Done:
    where = f"artifacts/s/{number}.tar.zst" if archive else None
    digest = Digest(f"p{number}", "4k@delalloc", "bh", outcome, 0.1, "said", steps=25,
                    kept_in=where)  # fmt: skip
    row = Row("night", "random", digest, seed=1, number=number, shard="random:1:0:20")
    finding = Finding("s", "a finding", artifact=where or "") if archive else None
    return Done(row, finding, archive)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "results.sqlite")
    store.begin(Night("night"))
    return store


class FullDisk:
    """A store that takes nothing while `full`."""

    def __init__(self, store: Store) -> None:
        self._store, self.full = store, True

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def update(self, night) -> None:
        self._check()
        self._store.update(night)

    def keep(self, row, reached) -> None:
        self._check()
        self._store.keep(row, reached)

    def _check(self) -> None:
        if self.full:
            raise StoreError("no space is left on the disk")


def test_a_program_that_comes_twice_counts_once(store: Store, tmp_path: Path) -> None:
    keeper = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    one = done(1, Outcome.MISMATCH, b"archive")
    assert keeper.take(one)
    assert not keeper.take(one)
    assert keeper.kept["random:1:0:20"] == {one.row.key}
    keeper.take(done(2))
    assert keeper.outcomes.total() == 2
    assert store.count("night") == 2
    again = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    assert again.outcomes == {Outcome.MISMATCH: 1, Outcome.AGREE: 1}
    assert not again.take(one)  # known from the run before
    assert again.outcomes.total() == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [(Outcome.BROKEN, Outcome.AGREE), (Outcome.BROKEN, Outcome.MISMATCH),
     (Outcome.AGREE, Outcome.MISMATCH)],
)  # fmt: skip
def test_a_program_that_ends_otherwise_the_second_time_counts_once(
    store: Store, tmp_path: Path, one: Outcome, other: Outcome
) -> None:
    """In either order, by what tells more, and the line of progress counts what is kept: a
    worker that dask has given up may tell of programs that another one has run."""
    keeper = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    for number, outcomes in enumerate([(one, other), (other, one)]):
        for outcome in outcomes:
            keeper.take(done(number, outcome))
    assert +keeper.outcomes == {other: 2}
    assert [row.digest.outcome for row in store.rows()] == [other, other]


def test_rows_wait_for_space_and_a_shard_is_not_done_before_them(
    store: Store, tmp_path: Path
) -> None:
    full = FullDisk(store)
    keeper = Keeper("night", full, Shelf(tmp_path, 1 << 20))  # type: ignore[arg-type]
    found = [done(n) for n in range(3)]
    for each in found:
        keeper.take(each)
    keeper.finish("random:1:0:20")
    assert (keeper.backlog, store.count("night")) == (3, 0)
    assert store.finished("night") == set()
    full.full = False
    keeper.retry()
    assert (keeper.backlog, store.count("night")) == (0, 3)
    assert store.finished("night") == {"random:1:0:20"}


def test_a_full_disk_does_not_end_the_night_but_its_end_tells_of_it(
    store: Store, tmp_path: Path
) -> None:
    full = FullDisk(store)
    keeper = Keeper("night", full, Shelf(tmp_path, 1 << 20))  # type: ignore[arg-type]
    clock = nights._Clock(full, Night("night"))  # type: ignore[arg-type]
    keeper.take(done(1))
    clock.note(end=True)
    assert store.nights()[0].ended == ""
    with pytest.raises(StoreError, match=r"1 programs are not in .*--resume"):
        nights._check_kept(keeper, tmp_path)
    full.full = False
    keeper.retry()
    clock.note(end=True)
    assert store.nights()[0].ended
    nights._check_kept(keeper, tmp_path)


def test_artifacts_wait_as_far_as_memory_goes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "_HELD", 100)
    full = FullDisk(store)
    keeper = Keeper("night", full, Shelf(tmp_path, 1 << 20))  # type: ignore[arg-type]
    found = [done(number, Outcome.MISMATCH, bytes(60)) for number in range(3)]
    for each in found:
        keeper.take(each)
    full.full = False
    keeper.retry()
    rows = {row.number: row.digest.kept_in for row in store.rows()}
    assert rows == {0: "artifacts/s/0.tar.zst", 1: None, 2: None}
    assert keeper.trouble == {"an artifact, because the disk is full": 2}
    assert len(list(tmp_path.glob("artifacts/*/*"))) == 1
    digest = msgspec.structs.replace(found[1].row.digest, seconds=0.2)
    row = msgspec.structs.replace(found[1].row, digest=digest)
    keeper.take(msgspec.structs.replace(found[1], row=row))  # a second run; this time it is kept
    kept = {row.number: row.digest.kept_in for row in store.rows()}
    assert kept == rows | {1: "artifacts/s/1.tar.zst"}
    assert (tmp_path / "artifacts/s/1.tar.zst").exists()


def test_what_a_program_reached_counts_once_and_is_there_before_its_shard_is_done(
    store: Store, tmp_path: Path
) -> None:
    keeper = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    for number, count in ((1, 3), (2, 4), (1, 3)):
        reached = (("operation", "pwrite", count), ("rule", f"r{number}", 1))
        keeper.take(msgspec.structs.replace(done(number), reached=reached))
    found = {covered.name: covered.count for covered in store.coverage()}
    assert found == {"pwrite": 7, "r1": 1, "r2": 1}
    assert store.finished("night") == set()


def test_a_resumed_night_runs_again_what_broke_of_a_shard_that_was_not_done(
    store: Store, tmp_path: Path
) -> None:
    keeper = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    fine, broken = done(1), done(2, Outcome.BROKEN)
    for each in (fine, broken):
        keeper.take(each)
    assert keeper.kept["random:1:0:20"] == {fine.row.key, broken.row.key}
    again = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    assert again.kept["random:1:0:20"] == {fine.row.key}


def test_what_comes_over_the_wire_is_what_was_sent() -> None:
    sent = done(7, Outcome.MISMATCH, b"\x00\xff" * 100)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Done) == sent
