"""One call of a campaign, from its store to its last row; a night can be resumed."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from harness.artifacts.manifest import harness_version
from harness.campaign.cluster import NoWorkersError, connected
from harness.campaign.engine import DONE, Engine, Limits
from harness.campaign.keeper import Keeper
from harness.campaign.plan import Plan
from harness.campaign.progress import Progress
from harness.campaign.shelf import Shelf
from harness.campaign.store import FILE, Store
from harness.campaign.store_file import StoreError
from harness.campaign.worker import Ready, Setup
from harness.errors import UsageError
from harness.sides.side import Choice
from harness.trace import Observe
from reports.rows import Night
from reports.summary import Digest
from vm.boot import MEMORY

__all__ = ["Asked", "Ended", "last_night", "new_night", "work"]

INTERRUPTED = "interrupted"
_SAVED = 20.0
"""Seconds after which the night's time at work is noted anew."""


class Asked(msgspec.Struct, frozen=True):
    """What a night tests: kept with it, so that `--resume` needs no other option."""

    plan: Plan
    against: str
    strict: bool
    kernel: str | None
    accel: str
    mirror: str | None
    always_boot: bool
    observe: Observe = Observe.STEPS
    memory: int = MEMORY
    program_time: float | None = None

    @property
    def choice(self) -> Choice:
        """The same for a pair of sides."""
        return Choice(
            self.kernel, self.accel, self.mirror, always_boot=self.always_boot,
            observe=self.observe, memory=self.memory, program_time=self.program_time,
        )  # fmt: skip


class Ended(msgspec.Struct, frozen=True):
    """How a night ended: its verdicts, those of earlier runs of it, too; how many programs
    `ran` in this one, in how many `seconds`; what of them was not kept."""

    digests: tuple[Digest, ...]
    ran: int
    programs: int
    seconds: float
    why: str
    dropped: int
    trouble: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether the plan is done."""
        return self.why == DONE

    @property
    def interrupted(self) -> bool:
        """Whether by Ctrl-C."""
        return self.why == INTERRUPTED


def new_night(asked: Asked, line: str) -> Night:
    """A night that begins now; `line` says what it tests, in the user's words."""
    return Night(
        id=f"{_now()[:10]}-{secrets.token_hex(4)}",
        line=line,
        seed=asked.plan.seed,
        began=_now(),
        machine=f"{platform.node()} ({platform.machine()}, Linux {platform.release()})",
        version=harness_version(),
        plan=msgspec.json.encode(asked).decode(),
    )


def last_night(store: Store) -> tuple[Night, Asked]:
    """The newest night of a store and what it tests. Raises `UsageError` if there is none."""
    nights = store.nights()
    if not nights:
        raise UsageError(f"{store.path} has no night to go on with; start one without --resume")
    night = nights[-1]
    try:
        return night, msgspec.json.decode(night.plan, type=Asked)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"night {night.id} of {store.path} can't be gone on with: its plan is of another"
            f" version of ext4diff ({night.version}); start a new one without --resume"
        ) from error


def work(
    folder: Path,
    night: Night,
    asked: Asked,
    limits: Limits,
    *,
    workers: int,
    scheduler: str | None,
    budget: int,
    tell: Callable[[str], None],
) -> Ended:
    """Run what is left of `night`, keeping all in `folder`; `tell` gets lines for people.

    `budget` are bytes of disk space for artifacts. Raises `Ext4diffError` if it can't go on;
    Ctrl-C ends it early. Whatever was done is kept, if the disk takes it at the end.
    """
    with Store.open(folder / FILE) as store, connected(scheduler, workers) as client:
        night = store.begin(night)
        shelf = Shelf(folder, budget)
        keeper = Keeper(night.id, store, shelf)
        parent = 0 if scheduler else os.getpid()
        setup = Setup(night.id, asked.plan, asked.against, asked.choice, asked.strict, parent)
        engine = Engine(client, setup, keeper, store.finished(night.id))
        progress = Progress(keeper, limits.seconds, asked.plan.total)
        clock, before = _Clock(store, night), keeper.counts
        with _told_how_to_go_on(folder, scheduler), engine.at_work(limits) as ready:
            for text in (*ready.header, f"night {night.id}, seed {asked.plan.seed}: {night.line}"):
                tell(text)
            clock.night = _described(night, ready)

            def tick() -> None:
                progress.show(engine.workers, engine.alone)
                clock.note()

            try:
                engine.run(limits, tick)
            except KeyboardInterrupt:
                engine.ended_by = INTERRUPTED
            finally:
                progress.show(engine.workers, engine.alone, end=True)
                keeper.retry()
                clock.note(end=True)
        _check_kept(keeper, folder)
        digests = tuple(row.digest for row in store.rows() if row.night == night.id)
        ran, programs = (now - then for now, then in zip(keeper.counts, before, strict=True))
        why = engine.ended_by
        return Ended(digests, ran, programs, clock.seconds, why, shelf.dropped, keeper.trouble)


@contextlib.contextmanager
def _told_how_to_go_on(folder: Path, scheduler: str | None) -> Iterator[None]:
    """Say what to do where all workers went away."""
    try:
        yield
    except NoWorkersError as error:
        resume, of = f"ext4diff campaign --resume {folder}", "dmesg may tell why they died; then"
        if scheduler is not None:
            of = f"start some (dask worker {scheduler} --nthreads 1), then"
            resume += f" --scheduler {scheduler}"
        raise NoWorkersError(f"{error}; {of} {resume}") from error


def _check_kept(keeper: Keeper, folder: Path) -> None:
    """Raises `StoreError` if programs are in memory only, at the end."""
    if keeper.backlog:
        raise StoreError(
            f"{keeper.backlog} programs are not in {folder / FILE}, because its disk is full;"
            f" make room, then ext4diff campaign --resume {folder} runs them again"
        )


class _Clock:
    """Notes in the store how long a night has been at work, by the monotonic clock."""

    def __init__(self, store: Store, night: Night) -> None:
        self._store, self.night = store, night
        self._began = self._noted = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of this run of the night."""
        return time.monotonic() - self._began

    def note(self, *, end: bool = False) -> None:
        """Note it if it is time for that, or the `end`; on a full disk the next time."""
        if not end and time.monotonic() - self._noted < _SAVED:
            return
        self._noted = time.monotonic()
        seconds = self.night.seconds + self.seconds
        ended = _now() if end else ""
        with contextlib.suppress(StoreError):
            self._store.update(msgspec.structs.replace(self.night, seconds=seconds, ended=ended))


def _described(night: Night, ready: Ready) -> Night:
    accel = next((v for k, v in ready.identity.items() if k.endswith(" accel")), "")
    kernel = json.dumps(ready.identity, sort_keys=True)
    return msgspec.structs.replace(night, accel=accel, kernel=kernel)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
