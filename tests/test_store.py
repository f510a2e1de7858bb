"""The store keeps what it said it kept, and says plainly what it can't."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest
from stored import make_row

from harness.campaign.store import Store
from harness.campaign.store_file import FORMAT, NotAStoreError, StoreError
from harness.errors import MACHINERY, USAGE
from harness.verdict import Outcome
from reports.rows import Covered, Finding, Night

AGREE, MISMATCH, BROKEN = Outcome.AGREE, Outcome.MISMATCH, Outcome.BROKEN


@pytest.fixture
def path(tmp_path):
    return tmp_path / "night.sqlite"


def outcomes(path):
    with Store.read(path) as store:
        return [row.digest.outcome for row in store.rows()]


def test_what_was_added_comes_back_the_same(path):
    row = make_row(
        3, outcome=MISMATCH, not_compared=(("blocks", "tree", 2),), intended={"x": (1, 2)}
    )
    row = msgspec.structs.replace(row, shard="random:7:0:50")
    with Store.open(path) as store:
        night = store.begin(Night("n1", line="model", seed=7, began="2026-11-22T01:00:00Z"))
        store.keep(row, [("rule", "r", 4)])
        store.find(Finding("abc", "size: larger"))
        store.finish("n1", "random:7:0:50")
    with Store.read(path) as store:
        assert list(store.rows()) == [row]
        assert store.nights() == [night]
        assert store.findings() == [Finding("abc", "size: larger")]
        assert list(store.coverage()) == [Covered("n1", "random:7:0:50", "rule", "r", 4)]
        assert store.finished("n1") == {"random:7:0:50"}
        assert store.finished("n2") == set()
        assert store.count("n1") == 1


def test_a_closed_store_is_a_single_file(path):
    with Store.open(path) as store:
        store.add([make_row()])
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_store_has_its_tables_before_it_has_its_name(path, monkeypatch):
    replace, seen = Path.replace, []

    def looked_at(part, target):
        seen.append(target.exists())
        shutil.copy(part, path.with_name("copy"))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", looked_at)
    Store.open(path).close()
    assert seen == [False]
    with Store.read(path.with_name("copy")) as store:
        assert list(store.rows()) == []
    with pytest.raises(NotAStoreError, match="is not a store"):
        (path.parent / "empty").touch()
        Store.read(path.parent / "empty")


def test_a_program_that_ran_twice_counts_once_and_the_more_telling_row_stays(path):
    with Store.open(path) as store:
        for outcome in (BROKEN, AGREE, MISMATCH, AGREE, BROKEN):
            kernel = None if outcome is BROKEN else "7.3.4"  # a guest that broke down has none
            store.add([make_row(outcome=outcome, kernel=kernel)])
    assert outcomes(path) == [MISMATCH]


def test_configurations_paths_and_nights_are_rows_of_their_own(path):
    rows = [
        make_row(),
        make_row(config="1k@delalloc"),
        make_row(path="iomap"),
        make_row(night="n2"),
    ]
    with Store.open(path) as store:
        store.add(rows + rows)
        assert len(list(store.rows())) == len(rows)


def test_a_transaction_is_kept_whole_or_not_at_all(path):
    def rows():
        yield make_row(1)
        raise KeyboardInterrupt

    with Store.open(path) as store:
        with pytest.raises(KeyboardInterrupt):
            store.add(rows())
        store.add([make_row(2)])
        assert [row.number for row in store.rows()] == [2]


def test_a_reader_sees_one_state_while_another_writes(path):
    with Store.open(path) as store:
        store.add([make_row(1)])
        with Store.read(path) as reader:
            store.add([make_row(2)])
            assert [row.number for row in reader.rows()] == [1]
            assert reader.count("n1") == 1


def test_nights_keep_their_order_when_the_clock_jumps(path, monkeypatch):
    clock = iter([2_000_000, 1_000, 9_000_000, 3])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    with Store.open(path) as store:
        for name in ("d", "a", "c", "b"):
            store.begin(Night(name))
        assert [night.id for night in store.nights()] == ["d", "a", "c", "b"]


def test_a_resumed_night_keeps_its_place_and_its_time_at_work_only_grows(path):
    with Store.open(path) as store:
        first = store.begin(Night("a", began="1"))
        store.update(msgspec.structs.replace(first, seconds=9.0))
        store.begin(Night("b"))
        assert store.begin(Night("a", began="2")) == msgspec.structs.replace(first, seconds=9.0)
        store.update(msgspec.structs.replace(first, seconds=4.0))
        assert [(night.id, night.seconds) for night in store.nights()] == [("a", 9.0), ("b", 0.0)]


def test_a_finding_keeps_its_shortest_program_and_a_picture(path):
    long = Finding("abc", "t", "x" * 9, steps=9, picture="svg", artifact="a")
    short = Finding("abc", "t", "x", steps=1)
    with Store.open(path) as store:
        for finding in (Finding("abc", "t"), long, short, Finding("abc", "t", picture="larger")):
            store.find(finding)
        assert store.findings() == [Finding("abc", "t", "x", 1, "svg", "a")]


def test_bytes_of_a_log_that_are_no_text_do_not_stop_a_night(path):
    with Store.open(path) as store:
        store.add([make_row(said="BUG: \udcff in ext4")])
        assert [row.digest.said for row in store.rows()] == ["BUG: ? in ext4"]


# --- what is refused ------------------------------------------------------------------


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path):
    Store.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    before = path.read_bytes()
    for way in (Store.open, Store.read):
        with pytest.raises(NotAStoreError, match="a newer version of ext4diff") as caught:
            way(path)
        assert caught.value.exit_status == USAGE
    assert path.read_bytes() == before


def test_other_files_are_refused(path, tmp_path):
    path.write_text("a text, and long enough that SQLite reads it\n" * 50)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    for file in (path, other):
        for way in (Store.open, Store.read):
            with pytest.raises(NotAStoreError, match=r"is not a store"):
                way(file)
    with pytest.raises(NotAStoreError, match="no such file"):
        Store.read(tmp_path / "none.sqlite")
    with pytest.raises(StoreError, match="does its directory exist"):
        Store.open(tmp_path / "none" / "x.sqlite")


def test_a_damaged_file_is_said_to_be_damaged(path):
    with Store.open(path) as store:
        store.add(make_row(number) for number in range(300))
    with path.open("r+b") as file:  # the schema stays readable, the rows do not
        file.seek(8 * 4096)
        file.write(b"\xff" * 100_000)
    with Store.read(path) as store, pytest.raises(StoreError, match="damaged") as caught:
        list(store.rows())
    assert caught.value.exit_status == MACHINERY


def test_a_record_of_another_shape_is_said_to_be_damaged(path):
    with Store.open(path) as store:
        store._db.execute("INSERT INTO rows (night, key, row) VALUES ('n', 'k', '{\"a\": 1}')")
        with pytest.raises(StoreError, match="a record of the store is damaged"):
            list(store.rows())


def test_a_full_disk_refuses_rows_but_keeps_those_before_and_later_ones(path):
    """The limit on a file's size stands for the disk's: SQLite sees a write that fails."""
    kept = 0
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(path) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limit[1]))
        try:
            with pytest.raises(StoreError):
                while kept < 10_000:
                    store.add([make_row(kept)])
                    kept += 1
            with pytest.raises(StoreError):
                store.add(make_row(100_000 + number) for number in range(2000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert 10 < kept < 10_000
        store.add([make_row(kept)])
        assert [row.number for row in sorted(store.rows(), key=lambda row: row.number or 0)] == [
            *range(kept + 1)
        ]
    assert_sound(path)


def assert_sound(path):
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
