"""`check-recording --against path:...`: two recorded paths held against each other."""

from __future__ import annotations

import lzma
from pathlib import Path

import msgspec
import pytest

from harness.against import TWO_OUTCOMES
from harness.cli import main
from harness.errors import AGREE, MISMATCH, USAGE
from harness.kept_traces import kept_line
from harness.recheck import Case, jobs_of
from harness.recorded_paths import NO_IMAGE, paired
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


def test_all_that_the_two_paths_do_otherwise_in_the_recorded_catalogue_has_a_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two kernels' whole traces, not of the model's: nothing is left unexplained."""
    status = main(["check-recording", str(BH), str(IOMAP), "--against", "path:buffer_head"])
    said = capsys.readouterr().out
    assert status == MISMATCH
    assert "Mismatches: 1 finding in 2 workloads" in said, said
    # The kernel of the one recording does not know the option to remount with.
    assert "path-with-dirty-data@4k@delalloc: buffer_head and iomap differ at step 2" in said
    assert f"  26 workloads: {TWO_OUTCOMES}" in said
    assert "12 recordings without a counterpart on the other path" in said
    assert f"times  {NO_IMAGE}" in said


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
