"""The search: candidate after candidate, and the simplest one that shows the mismatch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import msgspec

from harness.minimize.arguments import equal_numbers, simpler_calls, tidied, with_call
from harness.minimize.configs import simpler_configs
from harness.minimize.operations import Ops, fewer_operations
from harness.minimize.simplicity import measure
from harness.verdict import Place
from workloads.ops import Call, Parallel, calls
from workloads.sections import problem
from workloads.workload import Workload

__all__ = ["Ask", "Search"]

Ask = Callable[[Workload], Place | None]
"""Where a candidate shows the mismatch, None if it does not; an exception ends the search."""


class Search:
    """Makes `workload`, which shows the mismatch at `place`, as simple as it can.

    `best` and `place` are what it has so far, also after an exception of `ask`; `better` is
    called when there is a new best, `phase` says what it is at.
    """

    def __init__(
        self,
        workload: Workload,
        place: Place,
        ask: Ask,
        better: Callable[[], None] = lambda: None,
    ) -> None:
        self.best = workload
        self.place = place
        self.phase = "operations"
        self._ask = ask
        self._better = better
        self._measure = measure(workload)

    @property
    def ops(self) -> Ops:
        """The operations of the best so far."""
        return self.best.ops

    def run(self) -> None:
        """Fewer operations, simpler arguments, a simpler configuration, until nothing helps."""
        while True:
            before = self._measure
            self._operations()
            self.phase = "arguments"
            if self._all_calls():
                self._operations()
            self.phase = "arguments"
            self._each_call()
            self.phase = "configuration"
            while any(self._try(candidate) for candidate in simpler_configs(self.best)):
                pass
            if self._measure == before:
                return

    def try_ops(self, ops: Ops) -> bool:
        """Take `ops` for the best if they are simpler and show the mismatch."""
        return self._try(msgspec.structs.replace(self.best, ops=ops))

    def _try(self, candidate: Workload) -> bool:
        if any(isinstance(op, Parallel) and problem(op.threads) for op in candidate.ops):
            return False
        found = measure(candidate)
        if found >= self._measure:
            return False
        place = self._ask(candidate)
        if place is None:
            return False
        self.best, self.place, self._measure = candidate, place, found
        self._better()
        return True

    def _operations(self) -> None:
        self.phase = "operations"
        fewer_operations(self)

    def _all_calls(self) -> bool:
        """Simpler arguments of all calls at once; whether that has helped."""
        before = self._measure
        for candidates in (tidied, equal_numbers):
            while any(self.try_ops(ops) for ops in candidates(self.ops, self._block)):
                pass
        return self._measure != before

    def _each_call(self) -> None:
        """Simpler arguments of one call after the other."""
        for number in range(len(list(calls(self.ops)))):
            while any(self._call(number, call) for call in self._simpler_calls(number)):
                pass

    def _simpler_calls(self, number: int) -> Iterator[Call]:
        call = next(itertools.islice(calls(self.ops), number, None))
        return simpler_calls(call, self._block)

    def _call(self, number: int, call: Call) -> bool:
        return self.try_ops(with_call(self.ops, number, call))

    @property
    def _block(self) -> int:
        return self.best.config.image.block_size
