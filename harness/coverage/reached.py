"""What a suite of workloads reaches: rules and lines of the model, operations, classes of
arguments and results, pairs of operations.

Only the model runs. Each workload runs on both paths of a kernel that has them, and the
model is told that every file's blocks are contiguous, so that extent trees are known. Then it
runs on both paths as on a kernel with all known bugs, in which the flusher thread comes
first, and once more without being told of places: there are rules about these, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import msgspec

from harness.coverage.partitions import classes, result_class
from harness.coverage.probe import Probe
from harness.errors import NotModelledError
from harness.sides.side import on_path
from harness.specification import Rule, specification
from harness.trace import Extent, Placement, State, Step, Trace
from model import QUIRKS, Behaviour, Model
from workloads.images import Geometry, Image
from workloads.ops import AnyOp, FileOp, calls
from workloads.workload import PATHS, Workload

__all__ = ["Coverage", "RuleReached", "contiguous", "novelty"]

NEWEST = "7.3"
"""The release that the model stands for: the newest that it knows."""

_STRICT = {path: Behaviour.of_release(NEWEST, iomap=path == "iomap") for path in PATHS}
_BUGGY = {
    path: Behaviour(iomap=path == "iomap", cyclic_sync=True, quirks=frozenset(QUIRKS))
    for path in PATHS
}

LONGEST = 1 << 44
"""Bytes of the longest file."""

Novelty = frozenset[tuple[str, ...]]


class RuleReached(msgspec.Struct, frozen=True):
    """How far a rule was reached. `programs` wrote one of its strings; `missing` are strings
    and functions of it that nothing reached; `first` is the first program that reached any."""

    name: str
    programs: int
    missing: tuple[str, ...]
    first: str | None

    @property
    def reached(self) -> bool:
        """Whether nothing of it is missing."""
        return not self.missing


class Coverage:
    """Adds up what workloads reach."""

    def __init__(self, geometry: Callable[[Image], Geometry]) -> None:
        self._geometry = geometry
        self.probe = Probe()
        """What of the model ran at all."""
        self.workloads = self.steps = 0
        self.rules: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.arguments: Counter[tuple[str, str, str]] = Counter()
        self.results: Counter[tuple[str, str]] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[str] = Counter()
        self.seen: set[tuple[str, ...]] = set()
        self._first: dict[str, str] = {}

    def add(self, workload: Workload, placement: Placement | None = None) -> Novelty:
        """Run the model on `workload`, on both paths; returns what no earlier one reached
        (see `novelty`)."""
        found: set[tuple[str, ...]] = set()
        before = len(self.probe.lines)
        known = set(self.probe.functions)
        places = placement or contiguous(workload)
        for path in PATHS:
            trace = self._run(on_path(workload, path), _STRICT[path], places)
            if trace is not None:
                self._count(trace, workload.name, once=path == PATHS[0])
                found |= novelty(trace)
        for path, told in (("bh", places), ("iomap", places), ("iomap", None)):
            trace = self._run(on_path(workload, path), _BUGGY[path], told)
            if trace is not None:
                self._note_rules(trace, workload.name)
        self.workloads += 1
        for name in self.probe.functions - known:
            self._first.setdefault(name, workload.name)
        fresh = found - self.seen
        self.seen |= found
        lines = len(self.probe.lines) - before
        return frozenset(fresh | ({("lines", str(lines))} if lines else set()))

    def _run(
        self, workload: Workload, behaviour: Behaviour, placement: Placement | None
    ) -> Trace | None:
        model = Model(behaviour, self._geometry)
        try:
            with self.probe.watching():
                return model.run(workload, placement)
        except NotModelledError as error:
            self.refused[str(error)] += 1
            return None

    def _count(self, trace: Trace, name: str, *, once: bool) -> None:
        """Rules on each path, operations and their arguments `once`."""
        self._note_rules(trace, name)
        for op, size, step in _sized(trace):
            word = op.WORD
            self.results[word, result_class(op, step.result)] += 1
            if once:
                self.steps += 1
                self.operations[word] += 1
                for argument, found in classes(op, size, trace.workload.config.image):
                    self.arguments[word, argument, found] += 1
        if once:
            words = [op.WORD for op in trace.workload.ops]
            self.pairs.update(pairwise(words))

    def _note_rules(self, trace: Trace, name: str) -> None:
        noted = {rule for step in trace.steps for rule in step.because}
        self.rules.update(noted)
        for rule in noted:
            self._first.setdefault(rule, name)

    def of_rules(self, rules: Iterable[Rule] | None = None) -> list[RuleReached]:
        """Each rule of docs/semantics.md. Raises `UsageError` if the page is not there."""
        return [self._of_rule(rule) for rule in rules or specification()]

    def _of_rule(self, rule: Rule) -> RuleReached:
        parts = (*rule.reports, *rule.model)
        missing = [
            part for part in parts if part not in self.rules and part not in self.probe.functions
        ]
        first = next((self._first[part] for part in parts if part in self._first), None)
        programs = max((self.rules[text] for text in rule.reports), default=0)
        return RuleReached(rule.name, programs, tuple(missing), first)


def _sized(trace: Trace) -> Iterator[tuple[AnyOp, int, Step]]:
    """Each operation with its file's size (bytes) before it, and its outcome."""
    files = trace.start.files
    for op, step in zip(trace.workload.ops, trace.steps, strict=True):
        # a copy writes to `to`, but its offsets are the source's
        file = files.get(op.file) if isinstance(op, FileOp) else None
        yield op, (file.size or 0) if file is not None else 0, step
        files = step.observation.files


def novelty(trace: Trace) -> frozenset[tuple[str, ...]]:
    """What tells programs apart: for each step the operation with the set of rules that it
    exercised, and each pair of rules of one step and the step before."""
    found: set[tuple[str, ...]] = set()
    before: tuple[str, ...] = ()
    for op, step in zip(trace.workload.ops, trace.steps, strict=True):
        rules = step.because
        found.add((op.WORD, *sorted(rules)))
        found |= {(first, "then", second) for first in before for second in rules}
        before = rules
    return frozenset(found)


def contiguous(workload: Workload) -> Placement:
    """A placement in which every file is in one piece, far from the others."""
    fields = (
        getattr(op, field) for op in calls(workload.ops) for field in ("file", "to")
        if hasattr(op, field)
    )  # fmt: skip
    placed: dict[str, tuple[Extent, ...]] = {
        name: (Extent(0, LONGEST, State.WRITTEN, 4 * LONGEST * number),)
        for number, name in enumerate(sorted(set(fields)), start=1)
    }
    return (placed,) * (len(workload.ops) + 1)
