"""`ext4diff bench` runs, counts what it ran, and says so when the model is wrong."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from modelled import run

from harness.bench.recordings import Job, Rate, growth, measure, read
from harness.cli import main
from harness.errors import USAGE
from harness.trace import Observation
from workloads import generate

RANDOM = Path(__file__).parent / "recordings" / "iomap-rand.jsonl.xz"


def test_it_counts_the_steps_that_it_ran() -> None:
    jobs = read(RANDOM, 3)
    for observed in (True, False):
        rate = measure(jobs, observed=observed)
        assert rate.steps == sum(len(job.recorded.steps) for job in jobs) == 75
        assert rate.wrong == 0
        assert rate.cpu > 0
        assert rate.per_second == rate.steps / rate.cpu


def test_a_recording_that_the_model_does_not_show_is_counted() -> None:
    job = read(RANDOM, 1)[0]
    first = msgspec.structs.replace(job.recorded.steps[0], result="ENOSPC")
    steps = (first, *job.recorded.steps[1:])
    wrong = msgspec.structs.replace(
        job, recorded=msgspec.structs.replace(job.recorded, steps=steps)
    )
    assert measure([job, wrong], observed=True).wrong == 1
    assert measure([job, wrong], observed=False).wrong == 1


def test_content_counts_without_observing() -> None:
    job = read(RANDOM, 1)[0]
    assert job.recorded.final is not None
    final = msgspec.structs.replace(job.recorded.final, content={})
    other = msgspec.structs.replace(job.recorded, final=final)
    assert measure([msgspec.structs.replace(job, recorded=other)], observed=False).wrong == 1


@pytest.mark.parametrize("job", read(RANDOM, 12), ids=lambda job: job.recorded.workload.name)
def test_unobserved_runs_have_results_and_contents_only(job: Job) -> None:
    full = job.model.run(job.recorded.workload, job.placement)
    bare = job.model.run(job.recorded.workload, job.placement, observed=False)
    assert [step.result for step in bare.steps] == [step.result for step in full.steps]
    assert all(step.observation == Observation() for step in bare.steps)
    assert all(step.events is None for step in bare.steps)
    assert bare.final is not None
    assert full.final is not None
    assert bare.final.dropped is None
    assert full.final.content
    assert bare.final.content == {
        name: msgspec.structs.replace(content, blocks=None)
        for name, content in full.final.content.items()
    }


def test_a_digest_is_computed_again_once_the_content_changed() -> None:
    trace = run("pwrite a 0 8k; fsync a; pwrite a 0 4k tag=9")
    other = run("pwrite a 0 8k; fsync a; pwrite a 0 4k tag=7")
    assert trace.final is not None
    assert other.final is not None
    assert trace.final.content != other.final.content


def test_growth_is_measured_for_a_file_of_that_many_extents() -> None:
    cost = growth(20)
    assert cost.extents == 20
    assert 0 < cost.seconds < 1


def test_the_command_says_rates_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(RANDOM), "--limit", "2", "--extents", "20", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "iomap-rand.jsonl.xz: 2 workloads" in said
    assert said.count("50 steps in") == 4
    assert "2 processes together, by the time of day" in said
    assert "up to 2 extents" in said
    assert "up to 20 extents" in said


def test_a_missing_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nowhere.jsonl.xz"]) == USAGE
    assert "nowhere" in capsys.readouterr().err


def test_generators_are_measured_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--generate", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [*generate.KINDS, "exhaustive"]
    programs = [generate.make(kind, 1, index) for kind in generate.KINDS for index in range(3)]
    random = sum(len(program.ops) for program in programs[:3])
    assert f"3 programs of {random} operations in " in lines[0]


def test_nothing_to_measure_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == USAGE
    assert "name recordings to measure" in capsys.readouterr().err


def test_no_time_is_no_rate() -> None:
    assert Rate(0, 0.0, 0.0, 0).per_second == 0
