"""Exporting: what the texts say, that a C compiler takes them, and what the commands tell."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import NotModelledError
from harness.foretell import foretelling
from workloads.content import pattern
from workloads.formats.c_export import write_program
from workloads.formats.exported import NotForetoldError
from workloads.formats.fsx_export import write_ops
from workloads.formats.xfs_io_export import write_script
from workloads.formats.xfs_io_import import read_script
from workloads.formats.xfs_io_words import is_cut
from workloads.formats.xfstests_export import write_case
from workloads.ops import BY_WORD
from workloads.syntax import parse, parse_line

EVERY = """\
on: 4k@delalloc

pwrite a 0 8k
append a 100
pwrite_fault a 8k 8k fault=4k
pread a 0 9000
dwrite d 0 8k
mwrite a 10 5000
mwrite_in a p=0.5 4k
copy_range a 0 4k b 4k
falloc a 64k 64k
falloc_keep a 256k 64k
fpunch a 5000 20
fzero a 1000 20
fzero_keep a 1m 4k
fcollapse a 0 4k
finsert a 0 4k
truncate a 500000
fsync a
fdatasync a
sync_range a 0 1m
sync
drop_caches
close a
otrunc b
rename d e
unlink e
pwritev c 0 8k,4k:0
rlimit_write c limit=10000 0 16k
user_write c 0 4k uid=1000
pwrite_osync c 0 4k
pwrite_odsync c 0 4k
seek c
setflags c 0
sendfile c 0 4k b 100
splice c 0 8k b 8k
write_zeroes c 0 4k
mwrite_msync c 0 4k
chown a uid=0
quota_set uid=1000 hard=400
remount
remount_opts nodelalloc
parallel seed=3
  pwrite a 0 4k
  pread a 0 10
and
  pwrite_odsync b 0 4k
  drop_caches
end
shutdown 2
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this host")
def test_a_program_of_every_operation_compiles_without_a_warning(tmp_path: Path) -> None:
    program = parse(EVERY, "every")
    assert {op.WORD for op in program.ops} == {*BY_WORD, "parallel"}
    exported = write_program(program)
    assert exported.complete
    source = tmp_path / "every.c"
    source.write_text(exported.files[".c"])
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", source]
    subprocess.run(command, check=True)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this host")
def test_the_program_prints_each_step_and_each_file(tmp_path: Path) -> None:
    """On whatever file system the tests run; extents and blocks are the guest's to check."""
    line = (
        "pwrite a 0 100; pread a 0 50; pread a 0 100; truncate a 10; unlink b; mwrite a 0 20;"
        " dwrite c 0 4k; mwrite c 0 0; parallel seed=1; fsync a; and; pread c 0 1; end"
    )
    source, binary = tmp_path / "w.c", tmp_path / "w"
    text = write_program(parse_line(line, "w")).files[".c"]
    source.write_text(text.replace("\tdrop_caches();\n", ""))  # this is somebody's machine
    subprocess.run(["gcc", "-pthread", "-o", binary, source], check=True)
    (tmp_path / "d" / "c").mkdir(parents=True)  # a file that can't be opened
    done = subprocess.run([binary, tmp_path / "d"], capture_output=True, text=True, check=True)
    steps = [row for row in done.stdout.splitlines() if row.startswith("step")]
    assert steps == [
        "step 1 pwrite a 0 100 = 100",
        f"step 2 pread a 0 50 = {hashlib.md5(pattern(1, 0, 50)).hexdigest()}",
        f"step 3 pread a 0 100 = {hashlib.md5(pattern(1, 0, 100)).hexdigest()}",
        "step 4 truncate a 10 = 0",
        "step 5 unlink b = ENOENT",
        "step 6 mwrite a 0 20 = SKIP",
        "step 7 dwrite c 0 4k = EISDIR",
        "step 8 mwrite c 0 0 = EISDIR",
        "step 9 parallel seed=1 = EISDIR",
    ]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this host")
def test_threads_of_a_section_are_threads_that_all_finish_before_the_next_step(
    tmp_path: Path,
) -> None:
    line = (
        "pwrite a 0 8k; parallel seed=2; pwrite a 0 100; pread a 0 50; and; pread a 200 50; and;"
        " truncate b 5; end; pread a 0 100"
    )
    source, binary = tmp_path / "w.c", tmp_path / "w"
    text = write_program(parse_line(line, "w")).files[".c"]
    source.write_text(text.replace("\tdrop_caches();\n", ""))  # this is somebody's machine
    subprocess.run(["gcc", "-pthread", "-o", binary, source], check=True)
    (tmp_path / "d").mkdir()
    done = subprocess.run([binary, tmp_path / "d"], capture_output=True, text=True, check=True)
    shown = [row for row in done.stdout.splitlines() if row.lstrip().startswith(("step", "thread"))]
    written = hashlib.md5(pattern(2001, 0, 50)).hexdigest()
    assert shown == [
        "step 1 pwrite a 0 8k = 8192",
        "step 2 parallel seed=2 = 0",
        "  thread 1 pwrite a 0 100 = 100",
        f"  thread 1 pread a 0 50 = {written}",
        f"  thread 2 pread a 200 50 = {hashlib.md5(pattern(1, 200, 50)).hexdigest()}",
        "  thread 3 truncate b 5 = 0",
        f"step 3 pread a 0 100 = {hashlib.md5(pattern(2001, 0, 100)).hexdigest()}",
    ]


def test_a_script_joins_what_one_descriptor_does() -> None:
    program = parse_line("pwrite a 0 8k; fsync a; pwrite b 0 1; drop_caches; close b", "p")
    text = write_script(program).files[".sh"]
    calls = [row for row in text.splitlines() if row.startswith(("xfs_io", "echo"))]
    assert calls == [
        'xfs_io -f -c "pwrite -S 1 -b 8k 0 8k" -c "fsync" "$D/a"',
        'xfs_io -f -c "pwrite -S 3 0 1" "$D/b"',
        'echo 3 > /proc/sys/vm/drop_caches 3<"$D/a" 4<"$D/b"',
        'xfs_io -c "close" "$D/b"',
    ]


def test_a_script_holds_open_what_the_workload_has_open_when_caches_are_dropped() -> None:
    program = parse_line(
        "pwrite a 0 1; pwrite b 0 1; pwrite c 0 1; close a; rename b d; drop_caches; remount;"
        " drop_caches",
        "p",
    )
    text = write_script(program).files[".sh"]
    assert [row for row in text.splitlines() if row.startswith("echo")] == [
        'echo 3 > /proc/sys/vm/drop_caches 3<"$D/c"',
        "echo 3 > /proc/sys/vm/drop_caches",
    ]
    assert read_script(text, "p", "p.sh").program.ops == program.ops


def test_a_copy_is_cut_where_it_ends_before_its_source() -> None:
    copy, send, write = parse_line(
        "copy_range a 0 400k b 0; sendfile a 4k 8k b 0; pwrite a 0 8k", "p"
    ).ops
    assert is_cut(copy, 8192, size=409600)
    assert not is_cut(copy, 8192, size=8192)
    assert is_cut(send, 4096, size=409600)
    assert not is_cut(send, 4096, size=8192)
    assert not is_cut(send, "ENOSPC", size=409600)
    assert not is_cut(write, 4096, size=409600)


def test_nothing_follows_a_copy_in_a_call_of_xfs_io_which_ends_if_it_fails() -> None:
    text = write_script(parse_line("copy_range a 0 1 b 0; pwrite b 0 1; fsync b", "p")).files[".sh"]
    calls = [row for row in text.splitlines() if row.startswith("xfs_io")]
    assert calls == [
        'xfs_io -f -c "copy_range -s 0 -d 0 -l 1 $D/a" "$D/b"',
        'xfs_io -f -c "pwrite -S 2 0 1" -c "fsync" "$D/b"',
    ]


def test_a_case_whose_copy_comes_short_is_refused() -> None:
    """At the largest size that a file may have."""
    program = parse_line("pwrite a 0 100; copy_range a 0 100 b 17592186040319", "p")
    with pytest.raises(NotForetoldError, match=r"operation 2 comes short, and xfs_io goes on"):
        write_case(program, foretelling(program.configs[0]))


def test_a_copy_of_nothing_is_not_a_call_that_xfs_io_makes() -> None:
    exported = write_script(parse_line("pwrite a 0 1; sendfile a 0 0 b 0", "p"))
    assert [item.why for item in exported.left_out] == [
        "xfs_io's sendfile does not call the kernel for 0 bytes"
    ]


def test_a_script_that_cannot_hold_all_files_open_says_so() -> None:
    writes = [f"pwrite f{number} 0 1" for number in range(8)]
    exported = write_script(parse_line("; ".join([*writes, "drop_caches"]), "p"))
    assert [str(item) for item in exported.left_out] == [
        "9 drop_caches: a shell can hold 7 files open"
    ]


def test_fsx_gets_what_it_would_not_change() -> None:
    program = parse_line(
        "pwrite a 0 8k; pwrite b 0 1; pread a 4k 8k; falloc_keep a 8k 4k; fcollapse a 0 1;"
        " fcollapse a 0 4k; close a; drop_caches; truncate a 100k",
        "p",
    )
    exported = write_ops(program, foretelling(program.configs[0]))
    rows = [row for row in exported.files[".fsxops"].splitlines() if not row.startswith("#")]
    assert rows == [
        "write 0x0 0x2000 0x0",
        "fallocate 0x2000 0x1000 0x2000 keep_size",
        "collapse_range 0x0 0x1000 0x2000 close_open",
        "truncate 0x0 0x19000 0x1000",
    ]
    assert [(item.index, item.why) for item in exported.left_out] == [
        (1, "fsx works on one file"),
        (2, "fsx cuts ranges of reads, punches and mappings at EOF"),
        (4, "fsx ends at an operation that fails"),
    ]


def test_a_case_is_called_as_its_file_and_its_golden_output_is_foretold() -> None:
    program = parse_line("on: 4k@delalloc; pwrite a 0 8k; fcollapse a 1 1; pread a 4k 8k", "p")
    exported = write_case(program, foretelling(program.configs[0]), "123")
    assert exported.files[".out"].splitlines() == [
        "QA output created by 123",
        "fallocate: Invalid argument",
        "wrote 8192/8192 bytes at offset 0",
        "XXX Bytes, X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)",
        "read 4096/8192 bytes at offset 4096",
        "XXX Bytes, X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)",
        "what is left", "a", "a size 8192", "  0..15 data",
    ]  # fmt: skip
    subprocess.run(["bash", "-n"], input=exported.files[""], text=True, check=True)


def test_a_case_that_fills_the_file_system_is_refused() -> None:
    program = parse_line("on: 4k@delalloc; size: 8m; falloc a 0 16m", "p")
    with pytest.raises(NotModelledError, match="little space is left"):
        write_case(program, foretelling(program.configs[0]))


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload = tmp_path / "w.ops"
    workload.write_text("on: 4k@delalloc\n\npwrite a 0 4k\npwrite_fault a 0 8k fault=4k\n")
    assert main(["export", "xfs_io", str(workload), "-o", str(tmp_path / "w.sh")]) == 0
    assert "left out: 1 of 2 operations: 1 xfs_io has no pwrite_fault" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "w.sh"), "-o", str(tmp_path / "back.ops")]) == 0
    assert (
        parse((tmp_path / "back.ops").read_text(), "w").ops == parse_line("pwrite a 0 4k", "w").ops
    )
    assert main(["import", "xfs", str(workload)]) == 2
    assert main(["import", str(workload)]) == 2
    error = capsys.readouterr().err
    assert 'no format "xfs"; formats are fsx, strace, syzkaller, xfs_io' in error
    assert "looks like none of the formats" in error
    assert main(["import", "fsx", str(tmp_path / "absent")]) == 2
    assert main(["export", "c", str(tmp_path / "absent")]) == 2
    assert main(["export", "c", str(workload), "--config", "5k@x"]) == 2


def test_without_a_file_they_write_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = tmp_path / "w.ops"
    workload.write_text("on: 4k@delalloc\n\npwrite a 0 4k\n")
    assert main(["export", "xfs_io", str(workload)]) == 0
    assert capsys.readouterr().out.startswith("#!")
    assert main(["export", "xfstests", str(workload)]) == 0
    both = capsys.readouterr().out
    assert both.startswith("==> 999 <==\n#!")
    assert "\n==> 999.out <==\nQA output created by 999\n" in both
    (tmp_path / "w.sh").write_text('xfs_io -f -c "pwrite 0 8k" -c "bmap -v" a\n')
    words = ["import", "xfs_io", str(tmp_path / "w.sh"), "--config", "1k@nodelalloc"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "on: 1k@nodelalloc" in said.out
    assert "pwrite a 0 4k\npwrite a 4k 4k\n# left out: line 1: bmap -v" in said.out
    assert "xfs_io: " in said.err


def test_what_can_not_be_written_or_foretold_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = tmp_path / "w.ops"
    workload.write_text("on: 4k@delalloc\n\npwrite a 0 4k\n")
    for words in (["export", "c", str(workload)], ["import", "fsx", str(workload)]):
        assert main([*words, "-o", str(tmp_path / "none/out")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert main(["import", "fsx", str(workload), str(workload)]) == 2
    assert "a format and one file" in capsys.readouterr().err
    workload.write_text("on: 4k@delalloc\nsize: 8m\n\nfalloc a 0 16m\n")
    assert main(["export", "xfstests", str(workload)]) == 2
    assert "needs to know what is expected, and that can't be known" in capsys.readouterr().err
