"""What the model does for many blocks at once is what single steps come to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.bench.recordings import read
from harness.running.suppositions import UNSEEN
from harness.trace import Step, Trace
from model import map_blocks
from model.percpu_counter import BATCH, PerCpuCounter

RANDOM = Path(__file__).parent / "recordings" / "bh73-rand.jsonl.xz"


def _traces() -> list[Trace]:
    """Without the note that a block's place was not seen: of many blocks at once only that of
    the first is looked up."""
    traces = [job.model.run(job.recorded.workload, job.placement) for job in read(RANDOM, 24)]
    return [
        msgspec.structs.replace(trace, steps=tuple(map(_without_note, trace.steps)))
        for trace in traces
    ]


def _without_note(step: Step) -> Step:
    because = tuple(rule for rule in step.because if rule != UNSEEN)
    return msgspec.structs.replace(step, because=because)


def test_blocks_reserved_or_mapped_at_once_end_as_single_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = _traces()
    asked: list[int] = []

    def never(_sb: object, count: int) -> bool:
        asked.append(count)
        return False

    monkeypatch.setattr(map_blocks, "is_plentiful", never)
    assert _traces() == at_once
    assert len([count for count in asked if count > 8]) > 50, "the programs show nothing"


@pytest.mark.parametrize("one", [1, -1])
@pytest.mark.parametrize("begin", [1 - BATCH, -3, 0, 5, BATCH - 1])
@pytest.mark.parametrize("times", [0, 1, BATCH, 3 * BATCH + 7])
def test_many_ones_at_once_leave_both_parts_of_a_counter_as_one_by_one(
    one: int, begin: int, times: int
) -> None:
    singly, at_once = PerCpuCounter(1000), PerCpuCounter(1000)
    singly.add(begin)
    at_once.add(begin)
    for _ in range(times):
        singly.add(one)
    at_once.add_ones(times, one)
    assert (at_once.total, at_once.local) == (singly.total, singly.local)
