"""What a store of results holds: nights, rows, findings and coverage.

A **row** is one program that ran on one configuration and path of one kernel: the digest of
its verdict, which program it was, and where its time went. Each kind of record knows how two
of the same key become one (`better`, and so on). These choices are the larger of two in a
fixed order, so they do not depend on who comes first: files of several machines can be merged
in any order, and twice.
"""

from __future__ import annotations

import msgspec

from harness.verdict import Outcome
from reports.summary import Digest

__all__ = [
    "Covered", "Finding", "Night", "Row", "Spent", "better", "fuller", "later", "program_key",
    "row_key",
]  # fmt: skip

TELLING = (
    Outcome.BROKEN, Outcome.UNUSABLE, Outcome.NOT_MODELLED, Outcome.AGREE, Outcome.INTENDED,
    Outcome.KNOWN, Outcome.MISMATCH,
)  # fmt: skip
"""Outcomes, those last that say most of the kernel: a mismatch is not undone by a second run
that agrees, but one that agrees replaces one whose machinery failed."""


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a program's time went: seconds of a monotonic clock, which no clock that is set
    can change.

    `boot` is making the guest ready (boot, or restore of a snapshot), `run` the guest's time
    with the workload, `model` the model's, `compare` the comparison's, `image` that of making
    canonical forms of images.
    """

    boot: float = 0.0
    run: float = 0.0
    model: float = 0.0
    compare: float = 0.0
    image: float = 0.0


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One program's result in one night.

    `kind` is that of `harness.generated.Batch` (`random`, `swarm`, `exhaustive`), with its
    `seed` (None for exhaustive ones) and `number`; another word, `catalogue` say, is for
    programs that have a name only. `finished` is the time of day in UTC, to be read by
    people: nothing is ordered by it.
    """

    night: str
    kind: str
    digest: Digest
    seed: int | None = None
    number: int | None = None
    spent: Spent = Spent()
    shard: str = ""
    worker: str = ""
    finished: str = ""

    @property
    def program(self) -> str:
        """The program, as one would ask for it again: `random:7:12`, or its test's name."""
        return program_key(self.kind, self.seed, self.number, self.digest.name)

    @property
    def key(self) -> str:
        """What says that two rows of a night are the same: program, configuration and path.
        The kernel is the night's; a program whose guest broke down does not know it."""
        return row_key(self.program, self.digest.config, self.digest.path)


class Night(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run of a campaign, resumed or not.

    `id` is unique in the world. `order` is what nights are sorted by (the store gives
    it). `line` says what is tested, as asked for (`debian:trixie-backports against model`,
    say): nights of one line follow each other, though the kernel's build changes. `began` and
    `ended` are times of day in UTC for people, `ended` empty while it runs or if it was cut
    off; `seconds` is its time at work, by monotonic clocks, over all times it was resumed.
    `plan` and `kernel` (identity) are JSON, for programs.
    """

    id: str
    line: str = ""
    order: int = 0
    seed: int | None = None
    began: str = ""
    ended: str = ""
    seconds: float = 0.0
    machine: str = ""
    accel: str = ""
    version: str = ""
    plan: str = "{}"
    kernel: str = "{}"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a signature beside its rows, for good: artifacts may be dropped.

    `program` is the smallest program known to show it, as a workload file; `steps` its
    number of operations (0: none is known). `picture` is a block map in SVG of some program
    that does, `artifact` one's evidence.
    """

    signature: str
    text: str
    program: str = ""
    steps: int = 0
    picture: str = ""
    artifact: str = ""


class Covered(msgspec.Struct, frozen=True):
    """How many steps of a shard reached something: a `rule` of the model, an `operation`."""

    night: str
    shard: str
    what: str
    name: str
    count: int


def program_key(kind: str, seed: int | None, number: int | None, name: str) -> str:
    """What `Row.program` says, of a program that is still to run."""
    if number is None:
        return f"{kind}:{name}"
    return f"{kind}:{number}" if seed is None else f"{kind}:{seed}:{number}"


def row_key(program: str, config: str, path: str) -> str:
    """What `Row.key` says, of a row that is still to come."""
    return f"{program} {config} {path}"


def better(one: Row, other: Row) -> Row:
    """The row that stays of two with one key: that which tells more, then a fixed choice."""
    return max(one, other, key=lambda row: (TELLING.index(row.digest.outcome), _text(row)))


def fuller(one: Finding, other: Finding) -> Finding:
    """What stays of two findings of a signature: the shortest program, the smallest picture
    and an artifact, each by itself, so that one without a picture does not take one away."""
    shortest = max(one, other, key=_shortness)
    return Finding(
        one.signature,
        max(one.text, other.text),
        shortest.program,
        shortest.steps,
        max(one.picture, other.picture, key=_smallness),
        max(one.artifact, other.artifact, key=_smallness),
    )


def _shortness(finding: Finding) -> tuple[bool, int, int, str]:
    """The larger, the better a program is to look at."""
    text = finding.program
    return bool(text), -finding.steps, -len(text), text


def _smallness(text: str) -> tuple[bool, int, str]:
    return bool(text), -len(text), text


def later(one: Night, other: Night) -> Night:
    """What stays of two states of a night: that which was longer at work, or has ended."""
    return max(one, other, key=lambda night: (night.seconds, night.ended, _text(night)))


def _text(record: Row | Night) -> bytes:
    return msgspec.json.encode(record)
