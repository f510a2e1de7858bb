"""`check-recording --against path:...`: two recorded paths held against each other."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import msgspec
import pytest

from harness.against.against import TWO_OUTCOMES
from harness.cli import main
from harness.errors import AGREE, MISMATCH, USAGE
from harness.recordings.kept_traces import kept_line
from harness.recordings.paths import NO_IMAGE, TWICE, paired
from harness.recordings.recheck import Case, jobs_of
from harness.trace import Trace
from harness.verdict import Compared, Outcome, Verdict

RECORDINGS = Path(__file__).with_name("recordings")
BH, IOMAP = (RECORDINGS / "catalogue" / f"catalogue-{name}73.jsonl.xz" for name in ("bh", "iomap"))


def written(path: Path, cases: list[Case]) -> Path:
    """A recording of `cases`."""
    lines = [kept_line(_compared(case.trace), case.geometry, case.kernel.iomap) for case in cases]
    path.write_bytes(lzma.compress(b"".join(line for line in lines if line)))
    return path


def _compared(trace: Trace) -> Compared:
    return Compared(Verdict(trace.workload, ("model", "kernel")), actual=trace)


def some(program: str) -> list[Case]:
    """What both recordings of the catalogue have of `program`, on its first configuration."""
    found = []
    for path in (BH, IOMAP):
        found.append(next(j for j in jobs_of(path) if j.head().program == program).case())
    return found


ALL = {
    "focus": 694, "rand": 240, "swarm": 600, "hand": 952, "extra": 112, "catalogue": 942,
}  # fmt: skip
"""Programs that were recorded on both paths, by recording."""


def files_of(name: str) -> tuple[Path, Path]:
    """Both recordings `name`."""
    if name == "catalogue":
        return BH, IOMAP
    one, other = (RECORDINGS / f"{path}-{name}.jsonl.xz" for path in ("bh", "iomap"))
    return one, other


@pytest.mark.parametrize("name", ALL)
def test_what_two_recorded_paths_do_otherwise_has_a_name(name: str) -> None:
    """Of two kernels' whole traces, not of the model's: nothing is left unexplained. A sample."""
    pairs, _ = paired([job for file in files_of(name) for job in jobs_of(file)], "bh")
    assert len(pairs) == ALL[name]
    verdicts = [pair.settle().verdict for pair in pairs[:: max(len(pairs) // 20, 1)]]
    left = [(v.workload.name, v.headline) for v in verdicts if v.mismatches or v.broken]
    assert left == []
    excused = [v for v in verdicts if v.outcome in {Outcome.INTENDED, Outcome.KNOWN}]
    assert len(excused) > len(verdicts) / 3


@pytest.mark.slow
def test_of_all_that_two_recorded_paths_do_otherwise_nothing_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(file) for name in ALL for file in files_of(name)]
    assert main(["check-recording", *files, "--against", "path:buffer_head"]) == AGREE
    said = capsys.readouterr().out
    assert "Mismatches" not in said
    assert f"  26 workloads: {TWO_OUTCOMES}" in said
    assert "\n0 recordings without a counterpart on the other path" in said
    assert re.search(rf"image form +[\d,]+ times +{re.escape(NO_IMAGE)}", said)
    assert TWICE in said


def test_a_kernel_without_the_option_of_the_path_is_told_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The catalogue's buffer_head side is a kernel without the series."""
    words = ["check-recording", str(BH), str(IOMAP), "--against", "path:buffer_head"]
    assert main([*words, "--explain", "path-with-dirty-data@4k@delalloc"]) == AGREE
    assert "option-not-known" in capsys.readouterr().out


def test_from_where_two_recordings_of_one_path_differ_nothing_is_compared() -> None:
    """It is counted; what differs before counts as ever."""
    files = files_of("swarm")
    jobs = [j for f in files for j in jobs_of(f) if j.name == "swarm30076@bigalloc16k@delalloc"]
    (pair,) = paired(jobs, "bh")[0]
    assert pair.actual.unsteady == 3
    verdict = pair.settle().verdict
    assert not verdict.mismatches
    assert verdict.not_compared["extents", TWICE] == 2
    later = msgspec.structs.replace(pair.actual, unsteady=4)
    found = msgspec.structs.replace(pair, actual=later).settle().verdict
    assert [(m.place, m.field) for m in found.mismatches] == [(3, "extents")]
    assert found.not_compared["extents", TWICE] == 1


def test_programs_pair_whichever_side_expects() -> None:
    jobs = [*jobs_of(BH)[:40], *jobs_of(IOMAP)[:40]]
    one, alone = paired(jobs, "bh")
    other, as_many = paired(reversed(jobs), "iomap")
    assert one
    assert {p.name.partition("@")[0] for p in one} == {p.name.partition("@")[0] for p in other}
    assert alone == as_many == len(jobs) - 2 * len(one)
    assert one[0].expected.head().config.path == "bh"
    assert other[0].expected.head().config.path == "iomap"


def test_a_difference_that_nobody_intended_is_a_mismatch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = some("append-finds-the-end")
    good = written(tmp_path / "good.jsonl.xz", [one, other])
    assert main(["check-recording", str(good), "--against", "path:iomap"]) == AGREE
    step = other.trace.steps[0]
    wrong = msgspec.structs.replace(step, result=4242)
    steps = (wrong, *other.trace.steps[1:])
    bad = msgspec.structs.replace(other, trace=msgspec.structs.replace(other.trace, steps=steps))
    path = written(tmp_path / "bad.jsonl.xz", [one, bad])
    words = ["check-recording", str(path), "--against", "path:buffer_head"]
    assert main(words) == MISMATCH
    assert "Mismatches: 1 finding in 1 workload" in capsys.readouterr().out
    assert main([*words, "--explain", one.trace.workload.program]) == MISMATCH
    assert "4242" in capsys.readouterr().out
    (pair,) = paired(jobs_of(path), "bh")[0]
    assert pair.settle().verdict.outcome is Outcome.MISMATCH


def test_recordings_of_different_releases_do_not_pair(tmp_path: Path) -> None:
    one, other = some("append-finds-the-end")
    newer = msgspec.structs.replace(other.trace, kernel="7.4.0")
    path = written(tmp_path / "x.jsonl.xz", [one, msgspec.structs.replace(other, trace=newer)])
    assert paired(jobs_of(path), "bh") == ([], 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "path:buffer_head"], "no program was recorded on both paths"),
        (["--against", "path:iomap", "--json", "x"], "leave it out"),
        (["--against", "path:iomap", "--strict-model"], "--explain NAME"),
        (["--against", "path:xfs"], "path:buffer_head"),
    ],
)
def test_what_can_not_be_compared_is_said(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    try:
        status = main(["check-recording", str(BH), *words])
    except SystemExit as error:
        status = error.code
    assert status == USAGE
    assert said in capsys.readouterr().err
