"""The store: one SQLite file that holds every result of every night.

    with Store.open(path) as store:
        night = store.begin(Night(id, line="debian:sid against model"))
        store.add([row, ...])

What `add` returned from is kept: SQLite's write-ahead log survives the death of any process at
any moment, `kill -9` included. `synchronous=NORMAL` does not wait for the disk at each commit:
a power cut (or a panic of the host) may lose the last commits, those since the log was last
written back, but not damage the file. Programs lost so run again, as their shard is not done.

One process writes, any number may read meanwhile. Rows have keys, so one that is added twice
counts once, and files of several machines can be merged in any order (`merge`).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from harness.campaign.store_file import (
    NotAStoreError,
    StoreError,
    check_file,
    connect,
    make_file,
    remove_file,
    told,
)
from reports.rows import Covered, Finding, Night, Row, better, fuller, later

__all__ = ["FILE", "Store", "merge"]

FILE = "results.sqlite"
"""What a campaign's store is called in the folder of its results."""

_COVER = "INSERT INTO coverage VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"

_Record = TypeVar("_Record", Row, Night, Finding)


class Store:
    """A store that is open. Every method raises `StoreError` if SQLite fails."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writes: bool) -> None:
        self.path = path
        self._db = connection
        self._writes = writes

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store at `path`, to be written; a new one if there is none.

        Raises `NotAStoreError` if something else is there, `StoreError` if it is damaged.
        """
        if path.exists() and not path.is_file():
            raise NotAStoreError(f"{path} is no regular file")
        if not path.exists():
            make_file(path)
        with told(path):
            store = cls(path, connect(path, "rwc"), writes=True)
        try:
            with told(path):
                check_file(path, store._db)
                store._db.execute("PRAGMA journal_mode = WAL")
                store._db.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            store._db.close()
            raise
        return store

    @classmethod
    def read(cls, path: Path) -> Self:
        """The store at `path`, to be read only, also while another process writes.

        Raises `NotAStoreError` if there is none.
        """
        if not path.is_file():
            raise NotAStoreError(f"{path}: there is no such file")
        with told(path):
            store = cls(path, connect(path, "ro"), writes=False)
        try:
            with told(path):
                store._db.execute("BEGIN")  # one state of the file, though others write
                check_file(path, store._db)
        except BaseException:
            store._db.close()
            raise
        return store

    # --- writing --------------------------------------------------------------------------

    def begin(self, night: Night) -> Night:
        """Note a night that begins, with its place in the order: after all that are here, and
        after those that other machines began before, as far as clocks can tell. A night
        that is here already (a resumed one) keeps its place."""
        with self._transaction():
            found = self._one(Night, "SELECT night FROM nights WHERE id = ?", night.id)
            if found is not None:
                return found
            last = self._db.execute('SELECT max("order") FROM nights').fetchone()[0]
            placed = msgspec.structs.replace(night, order=max((last or 0) + 1, int(time.time())))
            self._keep_night(placed)
        return placed

    def update(self, night: Night) -> None:
        """Note how far a night is: its `seconds` at work, its end."""
        with self._transaction():
            self._keep_night(night)

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows, all or none of them. One whose key is here already counts once."""
        with self._transaction():
            for row in rows:
                self._keep_row(row)

    def keep(self, row: Row, reached: Iterable[tuple[str, str, int]]) -> None:
        """Keep a row, and add what its program `reached` (`Covered.what`, `name`, `count`) to
        its shard's coverage, all at once. If its key is here already, that is counted."""
        with self._transaction():
            if self._keep_row(row):
                self._db.executemany(
                    f"{_COVER} count = count + excluded.count",
                    [(row.night, row.shard, *each) for each in reached],
                )

    def finish(self, night: str, shard: str) -> None:
        """Note that all of a shard's rows are here."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO shards VALUES (?, ?)", (night, shard))

    def find(self, finding: Finding) -> None:
        """Keep what is known of a signature; see `reports.rows.fuller`."""
        with self._transaction():
            self._keep_finding(finding)

    def absorb(self, other: Store) -> None:
        """Add all that `other` holds."""
        with self._transaction():
            for night in other.nights():
                self._keep_night(night)
            for row in other.rows():
                self._keep_row(row)
            for finding in other.findings():
                self._keep_finding(finding)
            for covered in other.coverage():
                self._db.execute(
                    f"{_COVER} count = max(count, excluded.count)", msgspec.structs.astuple(covered)
                )
            done = other._select("SELECT night, shard FROM shards")
            self._db.executemany("INSERT OR IGNORE INTO shards VALUES (?, ?)", done)

    def _keep_row(self, row: Row) -> bool:
        """Whether its key is new."""
        place = (row.night, row.key)
        found = self._one(Row, "SELECT row FROM rows WHERE night = ? AND key = ?", *place)
        if found is None:
            self._db.execute(
                "INSERT INTO rows (night, key, row) VALUES (?, ?, ?)", (*place, _json(row))
            )
        elif (kept := better(found, row)) != found:
            self._db.execute(
                "UPDATE rows SET row = ? WHERE night = ? AND key = ?", (_json(kept), *place)
            )
        return found is None

    def _keep_night(self, night: Night) -> None:
        found = self._one(Night, "SELECT night FROM nights WHERE id = ?", night.id)
        kept = night if found is None else later(found, night)
        self._db.execute(
            "INSERT OR REPLACE INTO nights (id, night) VALUES (?, ?)", (night.id, _json(kept))
        )

    def _keep_finding(self, finding: Finding) -> None:
        sql = "SELECT finding FROM findings WHERE id = ?"
        found = self._one(Finding, sql, finding.signature)
        kept = finding if found is None else fuller(found, finding)
        self._db.execute(
            "INSERT OR REPLACE INTO findings (id, finding) VALUES (?, ?)",
            (finding.signature, _json(kept)),
        )

    # --- reading --------------------------------------------------------------------------

    def nights(self) -> list[Night]:
        """All nights, in their order."""
        found = [_decoded(Night, text) for (text,) in self._select("SELECT night FROM nights")]
        return sorted(found, key=lambda night: (night.order, night.id))

    def rows(self) -> Iterator[Row]:
        """All rows, sorted by night and key."""
        for (text,) in self._select("SELECT row FROM rows ORDER BY night, key"):
            yield _decoded(Row, text)

    def count(self, night: str) -> int:
        """How many rows a night has."""
        return int(next(self._select("SELECT count(*) FROM rows WHERE night = ?", night))[0])

    def findings(self) -> list[Finding]:
        """What is kept of each signature."""
        found = self._select("SELECT finding FROM findings ORDER BY id")
        return [_decoded(Finding, text) for (text,) in found]

    def coverage(self) -> Iterator[Covered]:
        """What each shard reached."""
        for record in self._select("SELECT night, shard, what, name, count FROM coverage"):
            yield Covered(*record)

    def finished(self, night: str) -> set[str]:
        """The shards of a night that are done."""
        return {
            shard for (shard,) in self._select("SELECT shard FROM shards WHERE night = ?", night)
        }

    def close(self) -> None:
        """Close the file. If nobody else has it open, the write-ahead log is written back, and
        what is left is a single file, readable where nothing can be written."""
        with told(self.path):
            try:
                if self._writes:
                    self._db.execute("PRAGMA busy_timeout = 0")
                    self._db.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError:
                pass  # somebody reads it, or the disk is full: the log stays for the next one
            finally:
                self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- SQLite ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with told(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    def _select(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with told(self.path):
            yield from self._db.execute(sql, values)

    def _one(self, kind: type[_Record], sql: str, *values: object) -> _Record | None:
        found = next(self._select(sql, *values), None)
        return None if found is None else _decoded(kind, found[0])


def merge(sources: Sequence[Path], target: Path) -> Store:
    """A new store at `target` with all that is in `sources`, open for reading.

    It is there whole or not at all. Raises `NotAStoreError` if a source is none or `target`
    exists, `StoreError` if it can't be written.
    """
    if target.exists():
        raise NotAStoreError(f"{target} exists: give the name of a new file")
    part = target.with_name(f".{target.name}.part")
    remove_file(part)
    try:
        with Store.open(part) as made:
            for source in sources:
                with Store.read(source) as other:
                    made.absorb(other)
        part.replace(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        remove_file(part)
    return Store.read(target)


def _json(record: Row | Night | Finding) -> str:
    try:
        return msgspec.json.encode(record).decode()
    except UnicodeEncodeError:  # bytes of a log that are no text, escaped as surrogates
        text = json.dumps(msgspec.to_builtins(record), ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()


def _decoded(kind: type[_Record], text: str) -> _Record:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise StoreError(f"a record of the store is damaged: {error}") from error
