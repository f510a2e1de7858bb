"""The store's file: how it is made, opened and recognised, and what SQLite's errors mean.

It may come from elsewhere, so nothing in it may run: a file with views, triggers or tables of other
kinds than ours is refused.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.errors import MachineryError, UsageError

__all__ = [
    "FORMAT", "NotAStoreError", "StoreError", "check_file", "connect", "make_file", "remove_file",
    "told",
]  # fmt: skip

FORMAT = 1
"""The file's format. A field that is added to a record with a default is no new one."""
APPLICATION = 0x65346466
"""SQLite's application id of our files: `e4df`."""
BUSY = 30.0
"""Seconds that a writer waits for another process's transaction."""

_SCHEMA = f"""
CREATE TABLE nights (id TEXT PRIMARY KEY, night TEXT NOT NULL,
  "order" INTEGER GENERATED ALWAYS AS (json_extract(night, '$.order')) VIRTUAL);
CREATE TABLE rows (night TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL,
  outcome TEXT GENERATED ALWAYS AS (json_extract(row, '$.digest.outcome')) VIRTUAL,
  config TEXT GENERATED ALWAYS AS (json_extract(row, '$.digest.config')) VIRTUAL,
  path TEXT GENERATED ALWAYS AS (json_extract(row, '$.digest.path')) VIRTUAL,
  said TEXT GENERATED ALWAYS AS (json_extract(row, '$.digest.said')) VIRTUAL,
  PRIMARY KEY (night, key));
CREATE TABLE findings (id TEXT PRIMARY KEY, finding TEXT NOT NULL);
CREATE TABLE coverage (night TEXT NOT NULL, shard TEXT NOT NULL, what TEXT NOT NULL,
  name TEXT NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (night, shard, what, name)) WITHOUT ROWID;
CREATE TABLE shards (night TEXT NOT NULL, shard TEXT NOT NULL,
  PRIMARY KEY (night, shard)) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
"""

_ACTIVE = """
SELECT name FROM sqlite_schema
WHERE type NOT IN ('table', 'index') OR sql LIKE 'create virtual%'
"""
"""What a store may not have: it may come from elsewhere, and these run what they say."""


class StoreError(MachineryError):
    """The store could not be written or read: a full disk, a damaged file.

    What `add` was given is then not kept, what was kept before is; it may be tried again.
    """


class NotAStoreError(UsageError):
    """The file is no store, or one of another version of ext4diff."""


def make_file(path: Path) -> None:
    """A new store. Nobody sees one without its tables: it gets its name when it has them."""
    part = path.with_name(f".{path.name}.part")
    try:
        remove_file(part)
        with (
            told(path),
            contextlib.closing(connect(part, "rwc")) as db,
        ):
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        part.replace(path)
    except OSError as error:
        raise StoreError(f"cannot make {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            remove_file(part)


def remove_file(path: Path) -> None:
    """Remove the file, if it is there, with SQLite's log. Raises `OSError`."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def connect(path: Path, mode: Literal["ro", "rwc"]) -> sqlite3.Connection:
    """A connection that begins and ends its transactions itself, to read only or also to write.
    Raises `sqlite3.Error`."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)


def check_file(path: Path, db: sqlite3.Connection) -> None:
    """Refuse a file that is not ours. Raises `NotAStoreError`."""
    application, version = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        raise NotAStoreError(f"{path} is not a store of ext4diff's results")
    if version != FORMAT:
        newer = "a newer" if version > FORMAT else "an older"
        raise NotAStoreError(
            f"{path} is of {newer} version of ext4diff (format {version}; this one"
            f" knows {FORMAT}): read it with that version, or give another file"
        )
    if db.execute(_ACTIVE).fetchone() is not None:
        raise NotAStoreError(f"{path} has views, triggers or tables that ours has not")


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors in words: raises `StoreError` or `NotAStoreError` in their place."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise NotAStoreError(f"{path} is not a store of ext4diff's results") from error
        remedy = _REMEDIES.get(code, str(error))
        raise StoreError(f"{path}: {remedy}") from error


_REMEDIES = {
    sqlite3.SQLITE_FULL: "no space is left on the disk; free some, and go on",
    sqlite3.SQLITE_IOERR: "the disk does not take it; is it full? Free some space, and go on",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; `sqlite3 FILE .recover` saves what can be read",
    sqlite3.SQLITE_CANTOPEN: "cannot open it; does its directory exist, and is it yours?",
    sqlite3.SQLITE_READONLY: "it cannot be written; is it yours?",
    sqlite3.SQLITE_BUSY: f"another process has been writing to it for {BUSY:.0f} s",
}
"""What to say of SQLite's primary result codes, where its own words would not do."""
