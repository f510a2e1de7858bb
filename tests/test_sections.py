"""Parallel sections in the language: which orders their calls can have, and what is refused."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from workloads.ops import Parallel, Write
from workloads.sections import MOST_CALLS, Span, orders
from workloads.syntax import (
    WorkloadSyntaxError,
    format_line,
    format_program,
    parse,
    parse_line,
)

TEXT = """\
show: a section
on: 4k@delalloc

pwrite a 0 8k
parallel seed=3
  pwrite a 0 8k
  fsync a
and
  truncate a 4k
end
fsync a
"""


def section(text: str) -> Parallel:
    (op,) = parse_line(text).ops
    assert isinstance(op, Parallel)
    return op


def test_a_section_is_read_and_written_exactly() -> None:
    program = parse(TEXT, "p")
    assert format_program(program) == TEXT
    line = format_line(program)
    assert line == (
        "pwrite a 0 8k; parallel seed=3; pwrite a 0 8k; fsync a; and; truncate a 4k; end; fsync a"
    )
    assert parse_line(line).ops == program.ops


def test_calls_of_a_section_write_bytes_of_their_own() -> None:
    program = parse_line(
        "pwrite a 0 1; parallel; pwrite a 0 1; and; pwrite a 0 1; end; pwrite a 0 1"
    )
    both = program.ops[1]
    assert isinstance(both, Parallel)
    inner = [call.tag for thread in both.threads for call in thread if isinstance(call, Write)]
    outer = [op.tag for op in program.ops if isinstance(op, Write)]
    assert len({*inner, *outer}) == 4


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("parallel; fsync a", 1, "this section has no end"),
        ("sync; and", 7, '"and" belongs to a section'),
        ("end", 1, '"end" belongs to a section'),
        ("parallel; fsync a; end", 1, "a section has 2 or 3 threads"),
        ("parallel; fsync a; and; end", 1, "each thread of a section needs a call"),
        ("parallel; fsync a; and; sync; and; sync; and; sync; end", 1, "2 or 3 threads"),
        ("parallel; fsync a; and; remount; end", 1, "remount can't stand in a section"),
        ("parallel; fsync a; and; append a 1; end", 1, "append can't stand in a section"),
        ("parallel; parallel; sync; and; sync; end", 11, "a section can't hold another one"),
        ("parallel seed=x; sync; and; sync; end", 10, "takes [seed=N]"),
        ("parallel 1 2; sync; and; sync; end", 12, '"2" is one too many'),
        ("parallel; sync; and now; sync; end", 21, '"now" is one too many'),
        ("parallel; mwrite a 0 4097; and; sync; end", 1, "a store is to a single page"),
        ("parallel; mwrite a 0 1; and; truncate a 0; end", 1, "the page may be gone"),
        ("parallel; " + "sync; " * MOST_CALLS + "and; sync; end", 1, "at most 8 calls; split it"),
        ("paralel; sync", 1, 'did you mean "parallel"?'),
    ],
)
def test_errors_say_where_and_why(text: str, column: int, problem: str) -> None:
    with pytest.raises(WorkloadSyntaxError) as caught:
        parse_line(text)
    assert problem in caught.value.problem
    assert caught.value.column == column


# --- orders -----------------------------------------------------------------------------------


THREE = "parallel; sync; sync; sync; and; sync; sync; and; sync; sync; end"


def test_every_order_once_and_each_thread_in_its_own_order() -> None:
    found = list(orders(section(THREE)))
    assert len(found) == len(set(found)) == 210  # 7! / (3! 2! 2!)
    assert all(Counter(order) == {0: 3, 1: 2, 2: 2} for order in found)


def allowed(order: tuple[int, ...], spans: list[list[Span]]) -> bool:
    """Whether no call stands before one that had ended when it began."""
    done = [0] * len(spans)
    placed = []
    for thread in order:
        placed.append(spans[thread][done[thread]])
        done[thread] += 1
    return not any(later[1] < earlier[0] for earlier, later in itertools.combinations(placed, 2))


@pytest.mark.parametrize(
    "spans",
    [
        [[(0, 10), (11, 20)], [(5, 15), (16, 30)]],
        [[(0, 1), (2, 3)], [(4, 5), (6, 7)]],
        [[(0, 100), (101, 102)], [(1, 2), (3, 4)]],
        [[(50, 51), (60, 70)], [(0, 55), (56, 65)]],
    ],
)
def test_a_call_that_had_ended_comes_first(spans: list[list[Span]]) -> None:
    both = section("parallel; sync; sync; and; sync; sync; end")
    assert set(orders(both, spans)) == {order for order in orders(both) if allowed(order, spans)}


def test_the_order_in_which_the_calls_ended_comes_first() -> None:
    both = section("parallel; sync; sync; and; sync; sync; end")
    spans = [[(0, 10), (11, 40)], [(5, 15), (16, 30)]]
    assert next(orders(both, spans)) == (0, 1, 1, 0)
