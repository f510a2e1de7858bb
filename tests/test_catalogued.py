"""What a recording of the catalogue lacks is named."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness.cli import main
from harness.recordings.catalogued import uncatalogued
from harness.recordings.recheck import Job, jobs_of

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    return jobs_of(RECORDINGS / "catalogue" / "catalogue-iomap73.jsonl.xz")


def test_a_workload_that_is_missing_is_named(jobs: list[Job]) -> None:
    name = jobs[7].name.removesuffix(",buffered_iomap")
    known = set(uncatalogued(jobs))  # those that nobody has recorded yet
    assert set(uncatalogued(jobs[:7] + jobs[8:])) - known == {f"{name} was not recorded"}


def test_a_workload_that_was_changed_since_is_named(jobs: list[Job]) -> None:
    name = jobs[7].name.removesuffix(",buffered_iomap")
    raw = json.loads(jobs[7].line)
    raw["trace"]["workload"]["ops"].pop()
    changed = msgspec.structs.replace(jobs[7], line=json.dumps(raw))
    known = set(uncatalogued(jobs))
    found = set(uncatalogued([*jobs[:7], changed, *jobs[8:]])) - known
    assert found == {f"{name} has other operations than were recorded"}


def test_it_is_asked_of_whole_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["check-recording", str(RECORDINGS / "bh73-extra.jsonl.xz"), "--catalogue"]
    for words in (["--explain", "x"], ["--against", "path:iomap"]):
        assert main([*asked, *words]) == 2
        assert "neither with --explain nor with --against" in capsys.readouterr().err


def test_a_recording_of_other_programs_has_none_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    recording = RECORDINGS / "bh73-extra.jsonl.xz"
    assert main(["check-recording", str(recording), "--catalogue", "-j", "1"]) == 2
    told = capsys.readouterr()
    assert "zero-range-over-eof@4k@delalloc was not recorded\n" in told.out
    assert "bh73-extra.jsonl.xz: not all workloads are there; record the others" in told.err
