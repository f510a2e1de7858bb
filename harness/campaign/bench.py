"""A worker's bench: it runs a shard program by program, and tells of each as it is done."""

from __future__ import annotations

import datetime
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.artifacts.archive import SUFFIX, pack
from harness.artifacts.artifact import folder_name, program_of, try_keep
from harness.campaign.plan import Item, Plan, Rest, Shard, items
from harness.errors import MachineryError
from harness.lab import Lab
from harness.pairs import Pair
from harness.specification import rule_noted
from harness.verdict import Compared, Outcome, Verdict
from reports.rows import Finding, Row, Spent, program_key, row_key
from reports.summary import digest
from reports.svg import picture_svg
from workloads.syntax import format_program

__all__ = ["Bench", "Done"]

ARTIFACTS_EACH = 2
"""Artifacts that a bench keeps of one signature: one to look at, one to compare it with."""


class Done(msgspec.Struct, frozen=True):
    """A program that has run: its row, what it reached (`reports.rows.Covered`: what, name,
    count), and what a mismatch left.

    `archive` is the packed artifact, to be kept as the row's `digest.kept_in` says; `note`
    says what of it could not be kept.
    """

    row: Row
    finding: Finding | None = None
    archive: bytes = b""
    note: str = ""
    reached: tuple[tuple[str, str, int], ...] = ()


class Bench:
    """A pair of sides at work for the night `night`; `close` ends them.

    What is made on the way to an artifact lies in `scratch`: somebody else removes it if
    `worker`, whose process this is, is killed.
    """

    def __init__(self, night: str, plan: Plan, pair: Pair, worker: str, scratch: Path) -> None:
        self._night, self._plan, self._worker = night, plan, worker
        self._scratch = scratch
        self._pair = pair
        self._lab = Lab(pair)
        self._kept: Counter[str] = Counter()

    def prepare(self) -> list[str]:
        """Fetch, build and probe what the sides need; the lines that say what they are.

        Raises `Ext4diffError`.
        """
        if not self._lab.prepared:
            self._lab.prepare()
        return self._pair.header()

    def identity(self) -> dict[str, str]:
        """What the sides are."""
        return self._pair.identity()

    def run(
        self, rest: Rest, tell: Callable[[Done], None], stopped: Callable[[], bool]
    ) -> int | None:
        """Run all of `rest`, and `tell` of each program, until `stopped` (then None); how many
        rows its shard has, those that were kept before among them.

        Raises `MachineryError` if no guest comes up any more.
        """
        self.prepare()
        shard, kept, given_up = rest.shard, set(rest.kept), rest.given_up
        for item in items(self._plan, shard, self._lab):
            if _key(item, shard) in kept:
                continue
            if stopped():
                return None
            done = self._one(item, shard, given_up)
            if stopped() and done.row.digest.outcome is Outcome.BROKEN:
                return None  # its guest may have been ended with the night
            if not self._pair.usable():
                reason = done.row.digest.reason or "no guest comes up"
                raise MachineryError(f"on {self._worker}: {reason}")
            given_up = ""
            kept.add(done.row.key)
            tell(done)
        return len(kept)

    def _one(self, item: Item, shard: Shard, given_up: str) -> Done:
        before = _Times.of(self._pair)
        began = time.monotonic()
        compared = self._broken(item, given_up) if given_up else self._compared(item)
        seconds = time.monotonic() - began
        spent = _Times.of(self._pair).since(before, seconds)
        found = digest(compared.verdict, item.name, seconds - spent.boot)
        row = Row(
            night=self._night, kind=shard.kind, digest=found, seed=shard.seed,
            number=item.number, spent=spent, shard=shard.name, worker=self._worker,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        done = Done(row)
        if found.outcome is Outcome.MISMATCH:
            done = self._keep(compared, row, item)
        return msgspec.structs.replace(done, reached=_reached(compared))

    def _compared(self, item: Item) -> Compared:
        """What the sides show; a fault of this program is told as broken machinery, so that it
        is counted, and the night goes on."""
        try:
            return self._lab.run(item.workload)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            said = f"a fault of ext4diff, {type(error).__name__} at {place}: {error}"
            return self._broken(item, said)

    def _broken(self, item: Item, said: str) -> Compared:
        names = (self._pair.expected.name, self._pair.actual.name)
        return Compared(Verdict(item.workload, names, broken=said))

    def _keep(self, compared: Compared, row: Row, item: Item) -> Done:
        """The row of a mismatch with its finding, and its artifact if there are few yet."""
        signature = row.digest.signature
        assert signature is not None
        program = format_program(program_of(item.workload))
        steps = len(item.workload.ops)
        finding = Finding(signature.id, signature.text, program, steps)
        if self._kept[signature.id] >= ARTIFACTS_EACH:
            return Done(row, finding)
        self._kept[signature.id] += 1
        finding = msgspec.structs.replace(finding, picture=picture_svg(compared) or "")
        with tempfile.TemporaryDirectory(prefix="ext4diff-", dir=self._scratch) as scratch:
            name = folder_name(item.name)
            folder, note = try_keep(compared, self._pair, Path(scratch) / name)
            if folder is None:
                return Done(row, finding, note=note.strip())
            archive = folder.with_name(name + SUFFIX)
            pack(folder, archive)
            where = f"artifacts/{signature.id}/{archive.name}"
            kept = msgspec.structs.replace(row.digest, kept_in=where)
            row = msgspec.structs.replace(row, digest=kept)
            finding = msgspec.structs.replace(finding, artifact=where)
            return Done(row, finding, archive.read_bytes())

    def close(self) -> None:
        """End the sides."""
        self._lab.close()


class _Times(msgspec.Struct, frozen=True):
    """The clocks of a pair's sides, in seconds."""

    boot: float
    run: float
    model: float
    image: float

    @classmethod
    def of(cls, pair: Pair) -> _Times:
        models = [side for side in pair.sides if side.is_model]
        kernels = [side for side in pair.sides if not side.is_model]
        return cls(
            pair.starting,
            sum(side.working for side in kernels),
            sum(side.working for side in models),
            sum(side.imaging for side in pair.sides),
        )

    def since(self, before: _Times, seconds: float) -> Spent:
        """What went where in `seconds`; what is left is the comparison's."""
        boot, run, model, image = (
            now - then
            for now, then in zip(
                msgspec.structs.astuple(self), msgspec.structs.astuple(before), strict=True
            )
        )
        return Spent(boot, run, model, max(0.0, seconds - boot - run - model - image), image)


def _key(item: Item, shard: Shard) -> str:
    """`Row.key` of the row that `item` will have."""
    config = item.workload.config
    program = program_key(shard.kind, shard.seed, item.number, item.name)
    return row_key(program, config.name, config.path)


def _reached(compared: Compared) -> tuple[tuple[str, str, int], ...]:
    """How often an operation, and a rule of the model, is in the steps that were compared."""
    trace = compared.expected
    if trace is None or not compared.verdict.steps:
        return ()
    reached: Counter[tuple[str, str]] = Counter()
    for op, step in zip(trace.workload.ops, trace.steps, strict=False):
        reached["operation", op.WORD] += 1
        rules = {rule_noted(note) for note in step.because}
        reached.update(("rule", rule.name) for rule in rules if rule is not None)
    return tuple((what, name, count) for (what, name), count in sorted(reached.items()))
