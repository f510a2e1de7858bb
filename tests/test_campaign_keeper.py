"""What comes in twice counts once, and a full disk loses no row."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.campaign import keeper as keepers
from harness.campaign import night as nights
from harness.campaign.bench import Done, ShardDone
from harness.campaign.keeper import Keeper
from harness.campaign.shelf import Shelf
from harness.store import Store
from harness.store_file import StoreError
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
        self.add(())
        self._store.update(night)

    def add(self, rows) -> None:
        if self.full:
            raise StoreError("no space is left on the disk")
        self._store.add(rows)


def test_a_program_that_comes_twice_counts_once(store: Store, tmp_path: Path) -> None:
    keeper = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    one = done(1, Outcome.MISMATCH, b"archive")
    assert keeper.take(one)
    assert not keeper.take(one)
    keeper.finish("random:1:0:20", ShardDone((one.row, done(2).row), (), complete=True))
    assert keeper.outcomes.total() == 1
    assert store.count("night") == 2
    again = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    assert again.outcomes == {Outcome.MISMATCH: 1, Outcome.AGREE: 1}
    assert not again.take(one)  # known from the run before
    assert again.outcomes.total() == 2


def test_a_program_that_ends_otherwise_the_second_time_counts_once(
    store: Store, tmp_path: Path
) -> None:
    keeper = Keeper("night", store, Shelf(tmp_path, 1 << 20))
    keeper.take(done(1, Outcome.BROKEN))
    keeper.take(done(1, Outcome.AGREE))
    assert +keeper.outcomes == {Outcome.AGREE: 1}
    assert [row.digest.outcome for row in store.rows()] == [Outcome.AGREE]


def test_rows_wait_for_space_and_a_shard_is_not_done_before_them(
    store: Store, tmp_path: Path
) -> None:
    full = FullDisk(store)
    keeper = Keeper("night", full, Shelf(tmp_path, 1 << 20))  # type: ignore[arg-type]
    found = [done(n) for n in range(3)]
    for each in found:
        keeper.take(each)
    keeper.finish("random:1:0:20", ShardDone(tuple(d.row for d in found), (), complete=True))
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
    for number in range(3):
        keeper.take(done(number, Outcome.MISMATCH, bytes(60)))
    full.full = False
    keeper.retry()
    rows = {row.number: row.digest.kept_in for row in store.rows()}
    assert rows == {0: "artifacts/s/0.tar.zst", 1: None, 2: None}
    assert keeper.trouble == {"an artifact, because the disk is full": 2}
    assert len(list(tmp_path.glob("artifacts/*/*"))) == 1


def test_a_row_that_comes_again_does_not_name_an_artifact_that_was_dropped(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "_HELD", 100)
    full = FullDisk(store)
    keeper = Keeper("night", full, Shelf(tmp_path, 1 << 20))  # type: ignore[arg-type]
    found = [done(number, Outcome.MISMATCH, bytes(60)) for number in range(2)]
    for each in found:
        keeper.take(each)
    full.full = False
    keeper.finish("random:1:0:20", ShardDone(tuple(d.row for d in found), (), complete=True))
    rows = {row.number: row.digest.kept_in for row in store.rows()}
    assert rows == {0: "artifacts/s/0.tar.zst", 1: None}
    digest = msgspec.structs.replace(found[1].row.digest, seconds=0.2)
    row = msgspec.structs.replace(found[1].row, digest=digest)
    keeper.take(msgspec.structs.replace(found[1], row=row))  # a second run; this time it is kept
    keeper.finish("random:1:0:20", ShardDone((row,), (), complete=True))
    rows = {row.number: row.digest.kept_in for row in store.rows()}
    assert rows == {0: "artifacts/s/0.tar.zst", 1: "artifacts/s/1.tar.zst"}
    assert (tmp_path / "artifacts/s/1.tar.zst").exists()


def test_what_comes_over_the_wire_is_what_was_sent() -> None:
    sent = done(7, Outcome.MISMATCH, b"\x00\xff" * 100)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Done) == sent
