"""What holds for every program: drawn by Hypothesis, and by our own generators."""

from __future__ import annotations

from functools import cache

import pytest
from documented import geometry
from hypothesis import given, settings

from harness.coverage.reached import contiguous
from harness.errors import NotModelledError
from harness.trace import FileObservation, Observation, State, Trace
from model import Behaviour, Model
from workloads.generate.strategies import programs, programs_of_seeds
from workloads.program import Program
from workloads.syntax import format_program, parse, workloads

QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SECTOR = 512


@cache
def model(iomap: bool) -> Model:
    return Model(Behaviour.of_release("7.3", iomap=iomap), geometry)


def traces(program: Program) -> list[Trace]:
    """The program on both paths, as far as it is modelled."""
    found = []
    for workload in workloads(program):
        for iomap in (False, True):
            config = workload.config.with_options("buffered_iomap") if iomap else workload.config
            chosen = type(workload)(workload.program, config, workload.ops)
            try:
                found.append(model(iomap).run(chosen, contiguous(chosen)))
            except NotModelledError:
                continue
    return found


def delayed_clusters(file: FileObservation, cluster: int) -> int:
    """Clusters of which a delayed extent covers a part, and no mapped one."""
    touched: dict[bool, set[int]] = {True: set(), False: set()}
    for extent in file.extents or ():
        last = (extent.start + extent.length - 1) // cluster
        touched[extent.state == State.DELAYED] |= {*range(extent.start // cluster, last + 1)}
    return len(touched[True] - touched[False])


def observations(trace: Trace) -> list[Observation]:
    """After each step and at the end, as far as the file system answers."""
    assert trace.final is not None
    found = [*(step.observation for step in trace.steps), trace.final.observation]
    return [observation for observation in found if not observation.error]


def check(trace: Trace) -> None:
    image = trace.workload.config.image
    for seen in observations(trace):
        for file in seen.files.values():
            states = {extent.state for extent in file.extents or ()}
            assert file.reserved is not None
            assert file.reserved >= delayed_clusters(file, image.cluster_size)
            if None not in (file.blocks, file.disk_blocks) and State.INLINE not in states:
                reserved = file.reserved * image.cluster_size // SECTOR
                assert file.blocks == (file.disk_blocks or 0) + reserved
        total = sum(file.reserved or 0 for file in seen.files.values())
        assert seen.delalloc == total * image.cluster_size // image.block_size
        assert seen.bfree is None or seen.bfree >= (seen.bavail or 0) >= 0


@QUICK
@given(programs())
def test_the_text_form_holds_every_program(program):
    assert parse(format_program(program), program.name) == program


@QUICK
@given(programs_of_seeds())
def test_the_text_form_holds_every_generated_program(program):
    assert parse(format_program(program), program.name) == program


@QUICK
@given(programs())
def test_counters_are_the_sum_of_what_files_hold(program):
    for trace in traces(program):
        check(trace)


@settings(QUICK, max_examples=40)
@given(programs_of_seeds())
def test_counters_are_the_sum_of_what_files_hold_in_long_programs(program):
    for trace in traces(program):
        check(trace)


@settings(QUICK, max_examples=30)
@given(programs_of_seeds())
def test_the_model_says_the_same_twice(program):
    assert traces(program) == traces(program)


@pytest.mark.parametrize("words", [("pwrite", "fsync", "fpunch")])
def test_strategies_draw_what_is_asked_for(words):
    drawn = set()

    @settings(QUICK, max_examples=30)
    @given(programs(*words))
    def collect(program):
        drawn.update(op.WORD for op in program.ops)

    collect()
    assert drawn == set(words)
