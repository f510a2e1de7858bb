"""Parallel sections are judged by all orders of their calls, and by no others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from fakes import make_workload
from modelled import geometry

from harness.running import orders
from harness.running.orders import in_some_order
from harness.running.runner import Runner
from harness.trace import Placement, Ran, Trace
from harness.verdict import Compared, Outcome
from model import Behaviour, Model
from workloads.ops import Parallel
from workloads.workload import Workload

LINE = (
    "pwrite a 0 64k; parallel; pwrite a 0 8k; pwrite a 100k 1; and; truncate a 4k; end;"
    " pread a 0 64k"
)


class Reference:
    """The model, as the expecting side; `runs` counts."""

    name = "model"

    def __init__(self) -> None:
        self.runs = 0

    def run(self, workload: Workload, placement: Placement | None, quirks: frozenset[str]) -> Trace:
        self.runs += 1
        return Model(Behaviour(iomap=False, quirks=quirks), geometry).run(workload, placement)


class Kernel:
    """A kernel in which the calls of each section happened in the given order."""

    name = "kernel"

    def __init__(self, *chosen: Sequence[int], timed: bool = False) -> None:
        self._orders, self._timed = list(chosen), timed
        self.change: dict[str, int] = {}

    def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
        orders = iter(self._orders)
        ops = tuple(
            msgspec.structs.replace(op, order=tuple(next(orders)))
            if isinstance(op, Parallel)
            else op
            for op in workload.ops
        )
        ordered = msgspec.structs.replace(workload, ops=ops)
        trace = Model(Behaviour(iomap=False), geometry).run(ordered)
        steps = list(trace.steps)
        for index, op in enumerate(ops):
            if isinstance(op, Parallel):
                times = _times(op.order) if self._timed else {}
                steps[index] = msgspec.structs.replace(
                    steps[index],
                    threads=tuple(
                        tuple(
                            Ran(ran.result, *times.get((thread, call), (None, None)))
                            for call, ran in enumerate(rans)
                        )
                        for thread, rans in enumerate(steps[index].threads)
                    ),
                )
                if self.change:
                    seen = steps[index].observation
                    file = msgspec.structs.replace(seen.files["a"], **self.change)
                    steps[index] = msgspec.structs.replace(
                        steps[index], observation=msgspec.structs.replace(seen, files={"a": file})
                    )
        return msgspec.structs.replace(
            trace, workload=workload, steps=tuple(steps), subject=self.name, kernel="7.3.4"
        )


def _times(order: Sequence[int]) -> dict[tuple[int, int], tuple[int, int]]:
    """Spans that do not overlap, in this order."""
    done: dict[int, int] = {}
    found = {}
    for at, thread in enumerate(order):
        found[thread, done.get(thread, 0)] = (10 * at, 10 * at + 5)
        done[thread] = done.get(thread, 0) + 1
    return found


def judged(kernel: Kernel, line: str = LINE) -> tuple[Compared, int]:
    reference = Reference()
    compared = Runner(reference, kernel, issues=()).run(make_workload(line))
    return compared, reference.runs


def test_whatever_order_the_kernel_took_is_found() -> None:
    sizes = set()
    for order in ((0, 0, 1), (0, 1, 0), (1, 0, 0)):
        compared, _ = judged(Kernel(order))
        assert compared.verdict.outcome is Outcome.AGREE
        assert compared.expected is not None
        sizes.add(compared.expected.steps[1].observation.files["a"].size)
    assert sizes == {4096, 100 * 1024 + 1}


def test_what_no_order_leaves_is_a_mismatch_and_says_how_many_were_tried() -> None:
    kernel = Kernel((0, 1, 0))
    kernel.change = {"size": 5000}
    verdict = judged(kernel)[0].verdict
    assert verdict.outcome is Outcome.MISMATCH
    first = verdict.mismatches[0]
    assert (first.place, first.field, first.actual) == (1, "size", 5000)
    assert first.because[-1].startswith("none of 3 orders of the calls")


def test_where_not_all_orders_were_tried_nothing_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "MOST_TRIED", 2)
    kernel = Kernel((0, 1, 0))
    kernel.change = {"size": 5000}
    verdict = judged(kernel)[0].verdict
    assert verdict.outcome is Outcome.NOT_MODELLED
    assert verdict.refused is not None
    assert verdict.refused.startswith("the first 2 orders of the calls do not leave what was seen")
    for order in ((0, 0, 1), (0, 1, 0)):  # the first two that are tried
        assert judged(Kernel(order))[0].verdict.outcome is Outcome.AGREE


def test_what_was_different_before_the_first_section_is_a_mismatch_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "MOST_TRIED", 2)

    class Before(Kernel):
        def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
            trace = super().run(workload, placement)
            step = msgspec.structs.replace(trace.steps[0], result=1)
            return msgspec.structs.replace(trace, steps=(step, *trace.steps[1:]))

    verdict = judged(Before((1, 0, 0)))[0].verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.mismatches[0].place == 0


def test_an_order_that_the_clock_rules_out_is_not_an_excuse() -> None:
    """The calls did not overlap, so only one order is possible; another one's outcome is wrong."""
    assert judged(Kernel((0, 0, 1), timed=True))[1] == 1

    class Late(Kernel):
        def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
            truth = super().run(workload, placement)
            other = Kernel((1, 0, 0), timed=True).run(workload)
            step = msgspec.structs.replace(truth.steps[1], threads=other.steps[1].threads)
            return msgspec.structs.replace(truth, steps=(truth.steps[0], step, *truth.steps[2:]))

    verdict = judged(Late((0, 0, 1), timed=True))[0].verdict
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.mismatches[0].because[-1].startswith("none of 1 orders")


def test_two_sections_are_tried_together() -> None:
    """After the first section two orders look alike; only the later one tells them apart."""
    line = (
        "pwrite a 0 8k; parallel; pwrite a 0 4k; and; pwrite a 0 4k; end;"
        " parallel; truncate a 8k; and; truncate a 12k; end; pread a 0 8k"
    )
    for first in ((0, 1), (1, 0)):
        for second in ((0, 1), (1, 0)):
            compared, _ = judged(Kernel(first, second), line)
            assert compared.verdict.outcome is Outcome.AGREE


def test_a_program_without_a_section_is_run_once() -> None:
    workload = make_workload("pwrite a 0 4k")
    actual = Kernel().run(workload)
    runs = []

    def attempt(ordered: Workload) -> Compared:
        runs.append(ordered)
        return judged(Kernel(), "pwrite a 0 4k")[0]

    in_some_order(workload, actual, attempt)
    assert runs == [workload]


def test_calls_that_another_number_of_results_came_from_are_a_mismatch() -> None:
    class Fewer(Kernel):
        def run(self, workload: Workload, placement: Placement | None = None) -> Trace:
            trace = super().run(workload, placement)
            step = msgspec.structs.replace(trace.steps[1], threads=())
            return msgspec.structs.replace(trace, steps=(trace.steps[0], step, *trace.steps[2:]))

    verdict = judged(Fewer((0, 0, 1)))[0].verdict
    assert "calls by thread" in {one.field for one in verdict.mismatches}
