"""--record: what a kernel did is kept whole, and check-recording finds the same in it again."""

from __future__ import annotations

import lzma
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from fakes import make_trace, make_workload
from modelled import geometry
from test_plugin import Bench

from harness.cli import main
from harness.errors import UsageError
from harness.recordings.kept_traces import TraceFile, is_kept, kept_line, kept_lines, parse_kept
from harness.recordings.recheck import Tally, check_file, jobs_of
from harness.trace import Trace
from harness.verdict import Compared, Verdict
from model import Behaviour, Model
from vm.host_tools import ensure_host_tools

LINE = "pwrite a 0 8k; fsync a; fpunch a 0 4k; pread a 0 8k"
RELEASE = "7.3.4-cloud-amd64"


@pytest.fixture(scope="module", autouse=True)
def mke2fs() -> None:
    """It says what is free at the start."""
    ensure_host_tools(["mke2fs"])


def real(line: str = LINE, config: str = "4k@delalloc") -> Trace:
    """A trace as a kernel that does what the model says would leave."""
    workload = make_workload(line, config)
    trace = Model(Behaviour.of_release(RELEASE, iomap=False), geometry).run(workload)
    identity = {"build_id": "abc", "source": "/home/someone/bzImage"}
    steps = tuple(msgspec.structs.replace(step, because=(), quirks=()) for step in trace.steps)
    return msgspec.structs.replace(
        trace, subject="guest", kernel=RELEASE, steps=steps, identity=identity
    )


def line_of(trace: Trace) -> bytes:
    compared = Compared(Verdict(trace.workload, ("model", "guest")), actual=trace)
    line = kept_line(compared, geometry(trace.workload.config.image), iomap=False)
    assert line is not None
    return line


def kept(folder: Path, *traces: Trace) -> Path:
    path = folder / "night.jsonl.xz"
    with TraceFile(path) as file:
        for trace in traces:
            file.add(line_of(trace))
    return path


def test_a_trace_comes_back_whole(tmp_path: Path) -> None:
    trace = real()
    (line,) = kept_lines(kept(tmp_path, trace))
    back = parse_kept(line)
    assert back.geometry == geometry(trace.workload.config.image)
    assert (back.kernel.release, back.kernel.iomap) == (RELEASE, False)
    assert back.trace == msgspec.structs.replace(trace, identity={"build_id": "abc"})


def test_no_path_of_this_machine_is_kept() -> None:
    assert b"someone" not in line_of(real())


def test_a_run_that_came_to_no_end_is_not_kept() -> None:
    trace = msgspec.structs.replace(real(), final=None)
    compared = Compared(Verdict(trace.workload, ("model", "guest")), actual=trace)
    assert kept_line(compared, geometry(trace.workload.config.image), iomap=False) is None


def test_check_recording_agrees_with_what_it_said(tmp_path: Path) -> None:
    path = kept(tmp_path, real(), real("append b 100; sync", "1k@nodelalloc"))
    found = list(check_file(path, processes=1))
    assert [checked.tally for checked in found] == [Tally(1, 4, agreed=4), Tally(1, 2, agreed=2)]
    assert [job.name for job in jobs_of(path)] == ["example@4k@delalloc", "example@1k@nodelalloc"]


def test_check_recording_finds_a_kernel_that_did_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = real()
    wrong = msgspec.structs.replace(trace.steps[1], result="EIO")
    steps = (trace.steps[0], wrong, *trace.steps[2:])
    path = kept(tmp_path, msgspec.structs.replace(trace, steps=steps))
    assert main(["check-recording", str(path), "-j", "1"]) == 1
    assert "1 workloads, 4 steps: 1 agreed, 0 known, 1 mismatched" in capsys.readouterr().out
    assert main(["check-recording", str(path), "--explain", "example"]) == 1
    assert "EIO" in capsys.readouterr().out


def test_another_release_can_be_assumed(tmp_path: Path) -> None:
    """7.2 has one bug that 7.3 does not: the same trace is then held against another model."""
    line = "pwrite a 0 4k; pread a 0 4k"
    path = kept(tmp_path, real(line, "ext3ish@delalloc"))
    assert not next(iter(check_file(path, processes=1))).tally.mismatched
    job = jobs_of(path, release="7.2.0")[0]
    assert job.case().kernel.release == "7.2.0"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a readable recording"),
        (lzma.compress(b'{"geometry": 1}\n'), "line 1 is damaged"),
        (lzma.compress(line_of(real()))[:-40], "not a readable recording"),
    ],
)
def test_a_damaged_file_is_told_in_words(
    data: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl.xz"
    path.write_bytes(data)
    assert main(["check-recording", str(path), "-j", "1"]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_was_cut_off_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept(tmp_path, real())
    path.write_bytes(path.read_bytes()[:-40])
    assert main(["check-recording", str(path), "-j", "1"]) == 2
    assert "it is cut off; copy it again, or record again" in capsys.readouterr().err


def test_what_left_no_whole_trace_is_counted(tmp_path: Path) -> None:
    """A guest that panics leaves none: who checks the recording later has nothing to miss it by."""
    file = TraceFile(tmp_path / "night.jsonl.xz")
    file.add(line_of(real()))
    assert "left no whole trace" not in file.told()
    file.add(None)
    file.close()
    assert file.told().endswith("; 1 more left no whole trace, and are not in it")


def test_a_recording_that_tells_its_kernel_takes_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-recording", str(kept(tmp_path, real())), "--as", "bh"]) == 2
    assert "says itself which kernel made it; leave out --as" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = kept(tmp_path, real())
    before = path.read_bytes()
    with pytest.raises(UsageError, match="it exists"):
        TraceFile(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["night.json", "/dev/full/x.jsonl.xz"])
def test_a_name_that_can_not_be_written_is_refused_at_once(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        TraceFile(tmp_path / name)


def test_nothing_is_left_where_nothing_was_recorded(tmp_path: Path) -> None:
    with TraceFile(tmp_path / "none.jsonl.xz") as file:
        pass
    assert "nothing was recorded" in file.told()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_differential_run_is_recorded(tmp_path: Path, words: tuple[str, ...]) -> None:
    bench = Bench(tmp_path)
    bench.write("fine", "wrong", "broken")
    done = bench.run("--record", "night.jsonl.xz", *words)
    assert done.status == 1
    assert done.says("4 traces are recorded in night.jsonl.xz*")
    assert is_kept(tmp_path / "night.jsonl.xz")
    names = sorted(job.name for job in jobs_of(tmp_path / "night.jsonl.xz"))
    assert names == [
        f"{name}@{size}@delalloc" for name in ("fine", "wrong") for size in ("1k", "4k")
    ]
    assert not list(tmp_path.glob(".*.part"))


def test_a_recording_is_whole_after_ctrl_c(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("fine", "slow")
    process = subprocess.Popen(
        [*bench.command, "--record", "night.jsonl.xz"], cwd=tmp_path, env=bench.env,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "started").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(2)
        out, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 130, out
    assert len(jobs_of(tmp_path / "night.jsonl.xz")) == 2


def test_a_start_image_can_not_be_recorded(tmp_path: Path) -> None:
    words = ["run", "sync", "--from", "no.img", "--record", str(tmp_path / "a.jsonl.xz")]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_fake_kernel_has_a_trace_that_can_be_kept() -> None:
    assert line_of(make_trace(kernel=RELEASE))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"block_size":4096', b'"block_size":0', "it has another geometry than its image"),
        (b'"free_blocks":14000', b'"free_blocks":-1', "it has another geometry than its image"),
        (b'["-b","4096"', b'["-b","1024"', "it has another geometry than its image"),
        (b'["-b","4096"', b'["-b","0"', "the image 4k has blocks of 1k to 64k only: -b 4096, say"),
        (b'["-b","4096",', b"[", "the image 4k does not say its block size: -b 4096, say"),
        (RELEASE.encode(), b"mainline", "mainline is no kernel release"),
        (b'{"op":"fsync","file":"a"},', b"", "it has 3 operations, and 4 steps"),
    ],
)
def test_a_line_that_was_changed_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: bytes, new: bytes, reason: str
) -> None:
    path = tmp_path / "night.jsonl.xz"
    line = line_of(real())
    assert old in line
    path.write_bytes(lzma.compress(line.replace(old, new)))
    assert main(["check-recording", str(path)]) == 2
    assert f"night: line 1 is damaged: {reason}" in capsys.readouterr().err
