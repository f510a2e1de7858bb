"""`ext4diff bench` judges as `check-recording` does, and says what it could not measure."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

import msgspec
import pytest

from harness.bench.cores import cores
from harness.bench.recordings import Rate, measure, read
from harness.cli import main
from harness.errors import USAGE, NotModelledError
from harness.recordings.recheck import Tally, check_file
from harness.recordings.recording import raw_lines, workloads_of
from model import Model

RECORDINGS = Path(__file__).parent / "recordings"
KNOWN = "rand46@"
UNSTEADY = "swarm30190@"
PLAIN = "rand0@"


def _excerpt(folder: Path, name: str, wanted: str) -> Path:
    """Recording `name` with only the workloads whose names begin with `wanted`."""
    whole = RECORDINGS / f"{name}.jsonl.xz"
    listed = workloads_of(whole)
    lines = [line for _, line, raw in raw_lines(whole, listed) if raw["name"].startswith(wanted)]
    assert lines, f"{name} has no {wanted}"
    shutil.copy(listed, folder)
    shutil.copy(RECORDINGS / "unsteady.json", folder)
    results = folder / whole.name
    results.write_bytes(lzma.compress("\n".join(lines).encode()))
    return results


def _checked(results: Path) -> Tally:
    return sum((checked.tally for checked in check_file(results, processes=1)), Tally())


def _wrong(results: Path) -> int:
    return measure(read(results), observed=True).wrong


def test_a_known_issue_is_no_difference_in_either(tmp_path: Path) -> None:
    results = _excerpt(tmp_path, "iomap-rand", KNOWN)
    tally = _checked(results)
    assert tally.known > 0
    assert tally.mismatched == tally.skipped == 0
    jobs = read(results)
    assert [measure(jobs, observed=observed).wrong for observed in (True, False)] == [0, 0]
    strict = msgspec.structs.replace(jobs[0].model.behaviour, quirks=frozenset())
    job = msgspec.structs.replace(jobs[0], model=Model(strict, jobs[0].model.geometry))
    assert measure([job], observed=True).wrong == 1


def test_an_unsteady_step_is_a_difference_in_both_only_if_it_is_not_listed(tmp_path: Path) -> None:
    results = _excerpt(tmp_path, "iomap-swarm", UNSTEADY)
    assert _checked(results).mismatched == _wrong(results) == 0
    (tmp_path / "unsteady.json").unlink()
    assert _checked(results).mismatched == _wrong(results) == 1


def test_what_the_model_refuses_is_counted_and_takes_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = _excerpt(tmp_path, "iomap-rand", "rand11")
    run, all_steps = Model.run, sum(len(job.recorded.steps) for job in read(results))

    def refuses(self: Model, workload: object, *rest: object, **more: object) -> object:
        if workload.program == "rand11":  # type: ignore[attr-defined]
            raise NotModelledError("this one is not modelled")
        return run(self, workload, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "run", refuses)
    for observed in (True, False):
        rate = measure(read(results), observed=observed)
        assert (rate.wrong, rate.refused, rate.steps) == (0, 1, all_steps - 25)
    assert main(["bench", str(results), "--extents", "20", "--jobs", "1", "--repeat", "1"]) == 0
    assert "1 workloads are not modelled, not counted" in capsys.readouterr().out


def test_a_damaged_line_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = _excerpt(tmp_path, "iomap-rand", PLAIN)
    line = lzma.decompress(results.read_bytes()).decode()
    results.write_bytes(lzma.compress(line.replace('"steps"', '"step"').encode()))
    assert main(["bench", str(results)]) == USAGE
    assert "line 1 is damaged" in capsys.readouterr().err


def test_processes_together_run_each_workload_once(tmp_path: Path) -> None:
    jobs = read(_excerpt(tmp_path, "iomap-rand", "rand11"))
    alone = measure(jobs, observed=True)
    with cores(jobs, 2) as together:
        rate: Rate = together.measure(observed=True)
        assert len(together) == 2
    assert (rate.steps, rate.wrong, rate.refused) == (alone.steps, 0, 0)
    assert rate.wall > 0
    with cores(jobs[:1], 8) as together:
        assert len(together) == 1
