"""Intended differences: bugs that look like one, made up by hand, are mismatches all the same.

In each case both models are made to predict what the kernels are said to do, so that nothing but
the entry's own words stands between the bug and an excuse.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from test_differences import D, Example, U, W, changed, extents, result, seen, with_file

from harness.against.settle import settle
from harness.trace import Step, Trace
from harness.verdict import Verdict

SWITCH = "low-space switch: ext4_nonda_switch"


def judged(example: Example) -> Verdict:
    one, other = example.traces()
    near = changed(other, example)
    return settle(seen(one), seen(near, model=near))


def because(rule: str, near: Callable[[Step], Step]) -> Callable[[Step], Step]:
    """`near`, in a step in which the model has applied `rule`, too."""

    def step(before: Step) -> Step:
        return msgspec.structs.replace(near(before), because=(*before.because, rule))

    return step


BEHIND = "pwrite a 0 99; fsync a; falloc a 2k 20000; pwrite a 8k 2k; seek a"
EMPTY = "falloc a 0 4m; truncate a 149k; falloc a 149k 3m; pread a 0 64k; pread a 64k 64k; seek a"
CLEAN = "pwrite a 8092 128k; fzero a 0 65535; fzero a 43314 4k; fsync a"
REFUSED = "falloc a 0 32k; pwrite_fault a 20k 4097 fault=0; fsync a; dwrite a 0 32769; pread a {}"
LACKING = "pwrite a 100k 4k; fsync a; pwrite_fault b 0 12k fault=8k; falloc a 0 64k"

BUGS = {
    "dirty data over unwritten blocks is a hole to lseek": Example(
        BEHIND, 4, result([[0, 1024]]), "1k@delalloc"
    ),
    "data behind EOF's page is a hole to lseek": Example(
        BEHIND.replace("8k 2k", "5k 2k"), 4, result([[0, 1024], [6144, 7168]]), "1k@delalloc"
    ),
    "what nobody has read is data to lseek": Example(EMPTY, 5, result([[0, 2097152]])),
    "a block is written that nobody zeroed": Example(
        CLEAN, 3, extents((0, 36, U), (36, 12, W), (48, 12, U), (60, 76, W))
    ),
    "what a refused write did not reach is lost": Example(
        REFUSED.format("0 4k"), 4, result("0" * 32)
    ),
    "data behind a refused write is lost": Example(
        REFUSED.format("24k 4k"), 4, result("0" * 32)
    ),
    "low space where there is plenty": Example(
        "pwrite a 0 64k", 0, because(SWITCH, extents((0, 64, U))), free=400
    ),
    "without space blocks that were there are lost": Example(
        LACKING, 3, extents((0, 4, U)), free=331
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_looks_like_an_intended_difference_is_a_mismatch(bug: str) -> None:
    example = BUGS[bug]
    assert not settle(*map(seen, example.traces())).mismatches, "without the bug"
    verdict = judged(example)
    assert [m.place for m in verdict.mismatches][:1] == [example.step], verdict.intended
    assert "no intended difference describes" in verdict.mismatches[0].because[0]


def with_results(traces: list[Trace], step: int, *values: int | str) -> list[Trace]:
    found = []
    for trace, value in zip(traces, values, strict=True):
        steps = list(trace.steps)
        steps[step] = msgspec.structs.replace(steps[step], result=value)
        found.append(msgspec.structs.replace(trace, steps=tuple(steps)))
    return found


def test_of_two_sides_the_one_with_less_space_may_not_do_more() -> None:
    example = Example("pwrite_fault a 0 12k fault=8k; falloc b 0 12k", 1, lambda s: s, free=330)
    one, other = example.traces()
    before = [trace.steps[0].observation.bfree for trace in (one, other)]
    assert before[0] is not None
    assert before[1] is not None
    assert before[0] < before[1]
    for values, agreed in ((("ENOSPC", 0), True), ((0, "ENOSPC"), False)):
        sides = with_results([one, other], 1, *values)
        verdict = settle(*map(seen, sides))
        found = [m.field for m in verdict.mismatches if m.place == 1]
        assert ("result" not in found) is agreed


def test_with_the_same_space_left_both_do_the_same() -> None:
    """The other side has less written, not less space."""
    example = Example("truncate a 64k; truncate b 64k; falloc a 0 4m", 2, lambda s: s, free=340)
    one, other = example.traces()
    assert one.steps[2].result == "ENOSPC"
    verdict = settle(*map(seen, with_results([one, other], 2, "ENOSPC", 0)))
    assert [m.field for m in verdict.mismatches] == ["result"]


def test_blocks_that_were_delayed_before_are_not_missing_for_want_of_space() -> None:
    """One side gets nothing, the other one loses a delayed block."""
    line = "pwrite a 100k 4k; pwrite_fault b 0 12k fault=8k; falloc a 0 64k"
    example = Example(line, 2, lambda s: with_file(s, extents=()), free=332)
    states = {
        run.state for run in example.traces()[1].steps[2].observation.files["a"].extents or ()
    }
    assert D in states
    assert "extents" in {m.field for m in judged(example).mismatches}
