"""Exported scripts and programs, run in a guest, show what the workload itself shows there."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes import make_workload

from harness.coverage.reached import contiguous
from harness.errors import NotModelledError
from harness.foretell import expected_of_trace, foretelling
from harness.trace import FileObservation, Observation, Result, Trace
from model import Behaviour, Model
from vm import mkfs
from vm.guest import Guest
from vm.kernel import resolve_kernel
from workloads.files import catalogue
from workloads.formats.c_export import write_program
from workloads.formats.exported import Exported, FinalFile, NotForetoldError
from workloads.formats.xfs_io_export import calls, write_script
from workloads.formats.xfs_io_words import is_cut, is_error, printed
from workloads.formats.xfstests_export import write_case
from workloads.ops import AnyOp, Op, Parallel
from workloads.program import Program, workloads
from workloads.sections import AND, END, orders
from workloads.syntax import format_op
from workloads.workload import Workload

pytestmark = pytest.mark.vm

EACH = 12
"""Every twelfth program of the catalogue is run by `-m vm and not slow`, all by `-m vm`."""


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Guest.start(resolve_kernel(os.environ.get("EXT4DIFF_KERNEL")), network=False) as started:
        yield started


def _programs() -> list[object]:
    return [
        pytest.param(program, id=program.name, marks=[pytest.mark.slow] if number % EACH else [])
        for number, program in enumerate(catalogue())
    ]


def _workload(program: Program, exported: Exported) -> Workload:
    """What of `program` was exported, on its first configuration."""
    missing = {item.index for item in exported.left_out}
    ops = tuple(op for index, op in enumerate(program.ops) if index not in missing)
    return msgspec.structs.replace(workloads(program)[0], ops=ops)


def _trace(guest: Guest, workload: Workload) -> Trace:
    trace = guest.run(workload)
    assert trace.final is not None
    return trace


def _mounted(workload: Workload, command: str) -> list[str]:
    mount = f"mount -t ext4 -o noatime,{workload.config.mount} /dev/vda /mnt"
    return ["sh", "-c", f"{mount} && {{ {command}; s=$?; umount /mnt; exit $s; }}"]


def _run(guest: Guest, workload: Workload, command: str, files: dict[str, bytes]) -> list[str]:
    """The lines that `command` prints; the image is mounted on /mnt around it."""
    if "usrquota" in workload.config.mount:
        guest.ask({"cmd": "modules", "group": "quota"}, 30, "loading the quota modules")
    argv = _mounted(workload, command)
    done = guest.execute(argv, 180, image=workload.config.image, files=files)
    assert (done.status, done.cut) == (0, False), done.output
    return done.output.splitlines()


# --- the C program --------------------------------------------------------------------------


def _result_text(result: Result) -> str:
    if isinstance(result, list):
        return " ".join(f"{start}-{end}" for start, end in result)
    return str(result)


def _file_line(name: str, file: FileObservation) -> str:
    extents = "".join(f" {e.start}+{e.length}:{e.state}" for e in file.extents or ())
    told = f" {file.extents_error}" if file.extents_error else extents
    return f"  {name} size {file.size} blocks {file.blocks} extents{told}"


def _observed(observation: Observation) -> list[str]:
    return [_file_line(name, file) for name, file in sorted(observation.files.items())]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this host")
@pytest.mark.parametrize("program", _programs())
def test_the_c_program_shows_every_step(guest: Guest, program: Program, tmp_path: Path) -> None:
    exported = write_program(program)
    workload = _workload(program, exported)
    if not workload.ops:
        pytest.skip("nothing of it has a place in a C program")
    source, binary = tmp_path / "w.c", tmp_path / "w"
    source.write_text(exported.files[".c"])
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", binary, source], check=True)
    files = {"w": binary.read_bytes()}
    seen = [line.partition(" cached")[0] for line in _run(
        guest, workload, "./w /mnt /dev/vda", files)]  # fmt: skip
    if any(isinstance(op, Parallel) for op in workload.ops):
        allowed = [_unplaced(_shown(trace)) for trace in _in_each_order(workload)]
        assert _unplaced(seen) in allowed
    else:
        trace = _trace(guest, workload)
        assert _also_observed(seen, trace) == _shown(trace)


def _also_observed(seen: list[str], trace: Trace) -> list[str]:
    """`seen` without the files of steps after which the agent sees none: it opens each anew,
    which fails after a shutdown, while the program has them open."""
    kept, observed = [], True
    for line in seen:
        if match := re.match(r"step (\d+) ", line):
            observed = not trace.steps[int(match[1]) - 1].observation.error
            kept.append(line)
        elif observed or line == "end":
            kept.append(line)
            observed = True
    return kept


def _shown(trace: Trace) -> list[str]:
    """What the C program prints of what `trace` has."""
    shown: list[str] = []
    for index, (op, step) in enumerate(zip(trace.workload.ops, trace.steps, strict=True)):
        head, *calls = format_op(op, index).split("; ")
        shown.append(f"step {index + 1} {head} = {_result_text(step.result)}")
        shown += _observed(step.observation)
        texts = iter(text for text in calls if text not in (AND, END))
        for number, thread in enumerate(step.threads, start=1):
            shown += [
                f"  thread {number} {next(texts)} = {_result_text(ran.result)}" for ran in thread
            ]
    assert trace.final is not None
    return [*shown, "end", *_observed(trace.final.observation)]


def _in_each_order(workload: Workload) -> Iterator[Trace]:
    """What the model has of each order of the calls in the sections."""
    sections = [op for op in workload.ops if isinstance(op, Parallel)]
    for chosen in itertools.product(*(orders(section) for section in sections)):
        left = iter(chosen)
        ops = tuple(
            msgspec.structs.replace(op, order=next(left)) if isinstance(op, Parallel) else op
            for op in workload.ops
        )
        ordered = msgspec.structs.replace(workload, ops=ops)
        trace = Model(Behaviour(), mkfs.geometry_of).run(ordered, contiguous(ordered))
        yield msgspec.structs.replace(trace, workload=workload)


def _unplaced(lines: list[str]) -> list[str]:
    """`lines` without what depends on where blocks lie: how many tree blocks there are, and
    where extents of one state meet."""
    told = []
    for line in lines:
        head, mark, extents = line.partition(" extents")
        if mark:
            joined: list[list[str | int]] = []
            for start, length, state in re.findall(r"(\d+)\+(\d+):(\w+)", extents):
                if joined and joined[-1][1:] == [int(start), state]:
                    joined[-1][1] = int(start) + int(length)
                else:
                    joined.append([int(start), int(start) + int(length), state])
            head = re.sub(r" blocks \S+", "", head) + f" {joined}"
        told.append(head)
    return told


# --- xfs_io and xfstests -----------------------------------------------------------------------


def _cut(trace: Trace) -> int | None:
    """The first step (from 0) whose copy ended before its source did."""
    before = trace.start
    for index, (op, step) in enumerate(zip(trace.workload.ops, trace.steps, strict=True)):
        if is_cut(op, step.result, _size(op, before)):
            return index
        before = step.observation
    return None


def _said(
    program: Program, exported: Exported, trace: Trace, until: int | None = None
) -> list[str]:
    """What xfs_io prints before step `until` of `trace`, without throughput; its errors come
    before the rest of a call."""
    missing = {item.index for item in exported.left_out}
    kept = [(index, op) for index, op in enumerate(program.ops) if index not in missing]
    after = dict(zip((index for index, _ in kept), trace.steps, strict=True))
    observations = [trace.start, *(step.observation for step in trace.steps[:-1])]
    before = dict(zip((index for index, _ in kept), observations, strict=True))
    lines: list[str] = []
    for call in calls(kept[:until]):
        errors: list[str] = []
        told: list[str] = []
        for index in call.indices:
            op, result = program.ops[index], after[index].result
            texts = printed(op, result, _size(op, before[index]))
            (errors if is_error(result) else told).extend(texts)
        lines += [*errors, *told]
    return lines


def _size(op: Op, before: Observation) -> int:
    file = before.files.get(getattr(op, "file", ""))
    return file.size or 0 if file else 0


def _final(lines: list[str]) -> dict[str, FinalFile]:
    """Sizes, blocks and extents at the end of a script's output."""
    found: dict[str, FinalFile] = {}
    name = ""
    for line in lines:
        if match := re.fullmatch(r"/mnt/(\S+) size (\d+) blocks (\d+)", line):
            name = match[1]
            found[name] = FinalFile(int(match[2]), (int(match[3]),) * 2, ())
        elif match := re.match(r"\s+\d+: \[(\d+)\.\.(\d+)\]:\s+\d+\.\.\d+\s+\d+\s+0x(\w+)", line):
            if int(match[3], 16) & 0x200:  # inline data, which have no blocks
                continue
            start, end = int(match[1]) * 512, (int(match[2]) + 1) * 512
            extent = (start, end - start, bool(int(match[3], 16) & 0x800))
            file = found[name]
            found[name] = FinalFile(file.size, file.blocks, (*(file.extents or ()), extent))
    return found


def _joined(file: FinalFile) -> FinalFile:
    """`file` with neighbours of one kind as one: where they lie on the disk may differ."""
    joined: list[tuple[int, int, bool]] = []
    for start, length, unwritten in file.extents or ():
        last = joined[-1] if joined else None
        if last is not None and last[2] == unwritten and last[0] + last[1] == start:
            joined[-1] = (last[0], last[1] + length, unwritten)
        else:
            joined.append((start, length, unwritten))
    return FinalFile(file.size, file.blocks, tuple(joined))


@pytest.mark.parametrize("program", _programs())
def test_the_xfs_io_script_shows_results_and_what_is_left(guest: Guest, program: Program) -> None:
    exported = write_script(program)
    workload = _workload(program, exported)
    if not workload.ops:
        pytest.skip("xfs_io can do nothing of it")
    trace = _trace(guest, workload)
    files = {"w.sh": exported.files[".sh"].encode()}
    lines = _run(guest, workload, "./w.sh /mnt /dev/vda", files)
    seen = [line for line in lines if re.match(r"(wrote|read|sent) |Whence|DATA|HOLE|\w+: ", line)]
    cut = _cut(trace)
    if cut is not None:  # from there on xfs_io does something else
        assert "copies: xfs_io asks again" in exported.files[".sh"]
        said = _said(program, exported, trace, until=cut)
        assert said
        assert seen[: len(said)] == said
        return
    assert seen == _said(program, exported, trace)
    expected = expected_of_trace(trace).final
    assert {name: _joined(file) for name, file in _final(lines).items()} == {
        name: _joined(file) for name, file in expected.items()
    }


_PREAMBLE = """\
_begin_fstest() { echo "QA output created by 999"; }
_exclude_fs() { :; }
_require_scratch() { :; }
_require_xfs_io_command() { :; }
_scratch_mkfs_sized() { :; }
_scratch_mount() { opts=${1#-o }; }
_scratch_cycle_mount() { umount /mnt; mount -t ext4 -o noatime,$opts /dev/vda /mnt; }
_filter_xfs_io() {
	sed 's/^[0-9.]* [A-Za-z]*, [0-9]* ops; .*/XXX Bytes, X ops; XX:XX:XX.X \\
(XXX YYY\\/sec and XXX ops\\/sec)/'
}
XFS_IO_PROG=xfs_io AWK_PROG=awk SCRATCH_MNT=/mnt seqres=/tmp/seqres
""".replace("\\\n", "")


@pytest.mark.parametrize("program", _programs())
def test_the_case_of_xfstests_prints_its_golden_output(guest: Guest, program: Program) -> None:
    try:
        exported = write_case(program, foretelling(program.configs[0]))
    except (NotModelledError, NotForetoldError) as error:
        pytest.skip(f"not foretold: {error}")
    workload = _workload(program, exported)
    if not workload.ops:
        pytest.skip("xfs_io can do nothing of it")
    files = {"preamble": _PREAMBLE.encode(), "999": exported.files[""].encode()}
    command = "mkdir -p common; cp preamble common; : > common/filter; sh ./999"
    lines = _run(guest, workload, command, files)
    golden = exported.files[".out"].splitlines()
    if lines != golden and any(rule.startswith("quirk.") for rule in program.rules):
        # it fails on a kernel with that bug, as it should: it prints what this kernel does
        shown = write_case(program, lambda ops: expected_of_trace(_of(guest, workload, ops)))
        golden = shown.files[".out"].splitlines()
    assert lines == golden


def _of(guest: Guest, workload: Workload, ops: tuple[AnyOp, ...]) -> Trace:
    return _trace(guest, msgspec.structs.replace(workload, ops=ops))


# --- the facility itself ---------------------------------------------------------------------


def test_a_program_gets_its_time_and_no_more(guest: Guest) -> None:
    assert guest.execute(["echo", "hello"], 20).output == "hello\n"
    done = guest.execute(["sh", "-c", "echo begun; sleep 1000 & sleep 1000"], 1)
    assert (done.status, done.output) == (None, "begun\n")
    assert guest.execute(["sh", "-c", "exit 7"], 20).status == 7
    assert guest.execute(["no-such-program"], 20).status == 127
    assert guest.run(make_workload("pwrite a 0 4k")).steps[0].result == 4096
