"""The recorded workloads, and which lines of the model each runs.

A mutant can only show in a workload that runs its line, so the others need not be tried. What
each runs is found once, with the model as it is, and kept in the cache as long as neither the
model nor the recordings change.
"""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness.coverage.probe import MODEL, Probe, lines_of
from harness.mutants.herd import spread
from harness.mutants.listing import Mutant
from harness.recordings.recheck import Job, jobs_of
from harness.recordings.recording import SUFFIX
from harness.whole_file import write_whole
from vm import cache

__all__ = ["Case", "Reach", "cases_of", "reach_of"]

_JUDGES = (
    "comparison", "running", "recordings", "coverage/probe.py", "known.py", "known_issue.py",
    "trace.py", "verdict.py",
)  # fmt: skip
"""What in harness/ is asked: that what is found here follows from, beside the model."""
_PIECE = 24
"""Cases that one process looks at before another takes its place."""


class Case(msgspec.Struct, frozen=True):
    """A recorded workload: `name` is `RECORDING:WORKLOAD`."""

    name: str
    job: Job


class Reach(msgspec.Struct, frozen=True):
    """What the model, as it is, does in one case: the lines that run (a bit each, by the order
    of `lines_of`), how many fields were left uncompared, whether it agrees, and the seconds of
    CPU that it takes while it is watched."""

    lines: bytes
    left_open: int
    agrees: bool
    seconds: float = 0.5

    def has(self, bits: int) -> bool:
        """Whether one of the lines in `bits` runs."""
        return bool(int.from_bytes(self.lines, "little") & bits)


def cases_of(folders: Iterable[Path]) -> list[Case]:
    """Every workload of the recordings in `folders` (or files). Raises `UsageError`."""
    files = [
        file
        for path in folders
        for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])
    ]
    return [Case(f"{job.source}:{job.name}", job) for file in files for job in jobs_of(file)]


class Lines:
    """Numbers the lines of the model."""

    def __init__(self) -> None:
        every = [(module, line) for module, lines in sorted(lines_of().items()) for line in lines]
        self._numbers = {line: number for number, line in enumerate(sorted(every))}

    def bits(self, lines: Iterable[tuple[str, int]]) -> int:
        """A bit for each of `lines`; others than those of functions count for nothing."""
        return sum(1 << self._numbers[line] for line in set(lines) if line in self._numbers)

    def of(self, mutant: Mutant) -> int:
        """The lines of a mutant's change."""
        return self.bits(mutant.lines)


def reach_of(cases: Sequence[Case], workers: int) -> Iterator[tuple[str, Reach]]:
    """What each case runs, by name as it becomes known; from the cache where it is there."""
    recordings: dict[str, list[Case]] = {}
    for case in cases:
        recordings.setdefault(case.job.source, []).append(case)
    for group in recordings.values():
        yield from _reach_of_one(group, workers)


def _reach_of_one(cases: Sequence[Case], workers: int) -> Iterator[tuple[str, Reach]]:
    target = cache.cache_root() / "mutants" / f"{_key(cases)}.json.gz"
    if target.is_file():
        with gzip.open(target) as file:
            yield from msgspec.json.decode(file.read(), type=dict[str, Reach]).items()
        return
    found: dict[str, Reach] = {}
    pieces = [cases[at : at + _PIECE] for at in range(0, len(cases), _PIECE)]
    for piece in spread(_look, pieces, workers):
        reached = msgspec.json.decode(piece, type=dict[str, Reach])
        found |= reached
        yield from reached.items()
    with cache.disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, gzip.compress(msgspec.json.encode(found)))


def _look(cases: Sequence[Case]) -> bytes:
    lines = Lines()
    found = {}
    for case in cases:
        probe, began = Probe(), time.process_time()
        with probe.watching():
            checked = case.job.check()
        seconds = time.process_time() - began
        bits = lines.bits(probe.lines)
        found[case.name] = Reach(
            bits.to_bytes(bits.bit_length() // 8 + 1, "little"),
            sum(checked.not_compared.values()),
            not checked.tally.mismatched and checked.refused is None,
            seconds,
        )
    return msgspec.json.encode(found)


def _key(cases: Sequence[Case]) -> str:
    """Changes with the model, with what compares, and with the recordings."""
    digest = hashlib.sha256()
    harness = Path(__file__).parent.parent
    for folder in [MODEL, *(harness / name for name in _JUDGES)]:
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
            digest.update(path.read_bytes())
    for case in cases:
        line = case.job.line
        digest.update(case.name.encode())  # recordings of two kernels may hold the same lines
        digest.update(line.encode() if isinstance(line, str) else line)
    return digest.hexdigest()[:32]
