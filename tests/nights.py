"""Nights with findings, as frames: what tests of reports are about."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from stored import make_digest

from harness.signature import Signature
from harness.verdict import Outcome
from reports.frames import Frames, frames_of
from reports.rows import Covered, Finding, Night, Row, Spent
from reports.since import Since, since_last_night

DAY = 24 * 60 * 60
LINE = "debian:sid against model"
EVIL = "</pre><script>alert(1)</script>\"'&\x00\x1b[31m|`*_#"
"""What a kernel's log may say."""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><path d="M0 0h9"/></svg>'


def make_signature(name: str) -> Signature:
    return Signature(rules=("write.size",), fields=(name,), shape=("larger",), op="write")


def night(number: int, line: str = LINE, machine: str = "lab", **fields: object) -> Night:
    """The night of day `number`."""
    began = f"2026-11-{number:02}T01:30:00+00:00"
    plan = '{"plan": {}, "kernel": "debian:sid"}'
    given = {"began": began, "seconds": 60.0, "plan": plan, **fields}
    name = f"{line}-{machine}-{number}"
    return Night(name, line=line, order=number * DAY, machine=machine, **given)  # type: ignore[arg-type]


def row(of: Night, number: int, shows: str | None = None, **fields: object) -> Row:
    """A row of a night; with `shows` it is a mismatch of that signature."""
    given = dict(fields)
    if shows is not None:
        given |= {"outcome": Outcome.MISMATCH, "signature": make_signature(shows)}
        given.setdefault("said", f"random-7-{number}: model and guest differ: {shows}")
    spent = Spent(boot=0.3, run=0.1, model=0.05)
    return Row(of.id, "random", make_digest(number, **given), 7, number, spent, worker="w1")


def frames(rows: Iterable[Row], *nights: Night, **others: Iterable[object]) -> Frames:
    return frames_of(nights, rows, **others)  # type: ignore[arg-type]


def since(rows: Iterable[Row], *nights: Night) -> Since:
    return since_last_night(frames(rows, *nights))


def a_week() -> Frames:
    """Two nights of two lines with a bit of everything, and a title that means harm."""
    one, two = night(1), night(2, accel="tcg", version="0.1", kernel='{"guest release": "7.3.4"}')
    iomap = night(2, line="series:x.mbox on tree:~/linux against model")
    rows = [
        row(one, 0, "blocks"),
        row(one, 1, "extents"),
        row(two, 0, "blocks"),
        row(two, 1, "size", kept_in="artifacts/abc/random-1.tar.zst", complaints=(EVIL,)),
        row(two, 2, EVIL, kept_in="javascript:alert(1)", said=EVIL),
        row(two, 3, outcome=Outcome.KNOWN, known=("efault-beyond-eof-moves-size",)),
        row(two, 4, outcome=Outcome.BROKEN, kernel=None, reason="BootError: silent"),
        row(two, 5, outcome=Outcome.NOT_MODELLED, reason="quota"),
        row(two, 6, not_compared=(("blocks", "tree blocks unknown", 3),)),
        row(iomap, 0, "size", path="iomap", config="4k@delalloc,buffered_iomap"),
        row(iomap, 1, gone=("stale-folio-after-short-copy",), intended={"entry": (1, 2)}),
    ]
    kept = [
        Finding(make_signature("size").id, "size", "pwrite a 0 4k\n", 1, PICTURE),
        Finding(make_signature(EVIL).id, EVIL, EVIL, 1),
    ]
    reached = [
        Covered(two.id, "s1", "rule", "write.size", 4),
        Covered(two.id, "s2", "rule", "write.size", 5),
        Covered(two.id, "s1", "operation", "pwrite", 7),
    ]
    return frames(rows, one, two, iomap, findings=kept, coverage=reached)


def many(count: int) -> list[Row]:
    """`count` rows of one night."""
    base = row(night(1), 0)
    change = msgspec.structs.replace
    return [
        change(base, number=n, digest=change(base.digest, name=f"random/seed-7/{n:06}::4k"))
        for n in range(count)
    ]
