"""Keeps what comes in: rows in the store, artifacts on the shelf, also when the disk is full."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict, deque

import msgspec

from harness.campaign.bench import Done
from harness.campaign.shelf import Shelf
from harness.campaign.store import Store
from harness.campaign.store_file import StoreError
from harness.verdict import Outcome
from reports.rows import TELLING, Row

__all__ = ["Keeper"]

_HELD = 64 << 20
"""Bytes of artifacts that wait in memory while the disk is full; further ones are lost."""


class Keeper:
    """Writes to `store` and `shelf`; nobody else does.

    What the disk does not take is held back and tried again by `retry`: rows all, artifacts
    as far as memory goes. `outcomes` counts a program on each of its
    configurations and paths once, however often it comes.
    """

    def __init__(self, night: str, store: Store, shelf: Shelf) -> None:
        self._night, self._store, self._shelf = night, store, shelf
        self._waiting: deque[Done] = deque()
        self._shards: deque[str] = deque()
        self._held = 0
        rows = [row for row in store.rows() if row.night == night]
        self._seen = {row.key: row.digest.outcome for row in rows}
        self.kept: defaultdict[str, set[str]] = defaultdict(set)
        """The keys of each shard's rows; --resume runs broken ones of a shard once more."""
        for row in rows:
            if row.digest.outcome is not Outcome.BROKEN:
                self.kept[row.shard].add(row.key)
        self.programs = {_written(row) for row in rows}
        """The programs that have run, each once whatever its configurations and paths."""
        self.outcomes: Counter[Outcome] = Counter(self._seen.values())
        self.findings: set[str] = {finding.signature for finding in store.findings()}
        self.trouble: dict[str, int] = {}
        """What could not be kept, and how often."""

    @property
    def counts(self) -> tuple[int, int]:
        """Runs of programs on their configurations and paths, and programs."""
        return self.outcomes.total(), len(self.programs)

    @property
    def backlog(self) -> int:
        """Programs that are held back."""
        return len(self._waiting)

    def take(self, done: Done) -> bool:
        """Keep a program's row and artifact; whether it is the first of its signature."""
        row = done.row
        self.programs.add(_written(row))
        self.kept[row.shard].add(row.key)
        before, outcome = self._seen.get(row.key), row.digest.outcome
        if before is None or TELLING.index(before) < TELLING.index(outcome):  # as in the store
            if before is not None:
                self.outcomes[before] -= 1
            self.outcomes[outcome] += 1
            self._seen[row.key] = outcome
        if done.note:
            self._complain(done.note)
        if done.archive and self._held + len(done.archive) > _HELD:
            self._complain("an artifact, because the disk is full")
            done = _without_artifact(done)
        self._waiting.append(done)
        self._held += len(done.archive)
        self.retry()
        new = done.finding is not None and done.finding.signature not in self.findings
        if done.finding is not None:
            self.findings.add(done.finding.signature)
        return new

    def finish(self, shard: str) -> None:
        """Note that a shard is done, once all of its rows are kept."""
        self._shards.append(shard)
        self.retry()

    def retry(self) -> None:
        """Write what waits, until the disk is full."""
        with contextlib.suppress(StoreError):
            while self._waiting:
                self._keep(self._waiting[0])
                self._held -= len(self._waiting.popleft().archive)
            while self._shards:
                self._store.finish(self._night, self._shards[0])
                self._shards.popleft()

    def _keep(self, done: Done) -> None:
        """Raises `StoreError` if the disk takes nothing."""
        if done.archive:
            assert done.row.digest.kept_in is not None
            try:
                self._shelf.put(done.row.digest.kept_in, done.archive)
            except OSError as error:
                raise StoreError(f"cannot keep an artifact: {error}") from error
        self._store.keep(done.row, done.reached)
        if done.finding is not None:
            self._store.find(done.finding)

    def _complain(self, what: str) -> None:
        self.trouble[what] = self.trouble.get(what, 0) + 1


def _written(row: Row) -> str:
    """The program of a row, without configuration and path."""
    return row.program.partition("::")[0]


def _without_artifact(done: Done) -> Done:
    finding = done.finding and msgspec.structs.replace(done.finding, artifact="")
    digest = msgspec.structs.replace(done.row.digest, kept_in=None)
    row = msgspec.structs.replace(done.row, digest=digest)
    return msgspec.structs.replace(done, row=row, finding=finding, archive=b"")
