"""Importing: own-written samples of each format, and what is refused in them."""

from __future__ import annotations

import pytest

from workloads.formats.imported import Imported
from workloads.formats.paths import Paths
from workloads.formats.registry import IMPORTS, detect
from workloads.syntax import WorkloadSyntaxError, format_line, format_program, parse


def read(name: str, text: str, root: str | None = None, cwd: str | None = None) -> Imported:
    imported = IMPORTS[name].read(text, "sample", "sample.txt", Paths(root, cwd))
    again = parse(format_program(imported.program), "sample")
    assert again.ops == imported.program.ops, "what is written can be read"
    return imported


def ops(name: str, text: str, root: str | None = None, cwd: str | None = None) -> str:
    return format_line(read(name, text, root, cwd).program)


def refusal(name: str, text: str, root: str | None = None) -> str:
    with pytest.raises(WorkloadSyntaxError) as caught:
        read(name, text, root)
    assert str(caught.value).startswith("sample.txt:")
    return str(caught.value).removeprefix("sample.txt:")


# --- fsx -----------------------------------------------------------------------------------

FSX = """\
# recorded
write 0x1000 0x2000 0x0
skip punch_hole 0x0 0x0 0x3000
truncate 0x0 0x8000 0x3000 *
fallocate 0x7000 0x2000 0x8000 keep_size
zero_range 0x0 0x10 0x8000
zero_range 0x8000 0x10 0x8000 keep_size close_open
collapse_range 0x1000 0x1000 0x8000
mapwrite 0x6800 0x1000 0x7000
copy_range 0x0 0x1000 0x5000 0x7800
clone_range 0x0 0x1000 0x5000 0x7800
write_atomic 0 4096 0x7800
fsync 0x0 0x0 0x7800
"""


def test_fsx_operations() -> None:
    imported = read("fsx", FSX)
    assert format_line(imported.program) == (
        "pwrite testfile 4k 8k; truncate testfile 32k; falloc_keep testfile 28k 8k;"
        " fzero testfile 0 16; fzero_keep testfile 32k 16; close testfile; drop_caches;"
        " fcollapse testfile 4k 4k; truncate testfile 30k; mwrite_msync testfile 26k 4k;"
        " copy_range testfile 0 4k testfile 20k; pwrite testfile 0 4k; fsync testfile"
    )
    assert [(remark.line, remark.why) for remark in imported.left_out] == [
        (3, "fsx skipped it"), (11, "ext4 has no reflink"),
    ]  # fmt: skip
    assert [remark.why for remark in imported.changed] == ["RWF_ATOMIC is left out"]


LOG = """\
READ BAD DATA: offset = 0x100, size = 0x200, fname = foo
LOG DUMP (6 total operations):
1(  1 mod 256): WRITE    0x1000 thru 0x2fff\t(0x2000 bytes) HOLE\t***WWWW
2(  2 mod 256): SKIPPED (no operation)
3(  3 mod 256): TRUNCATE UP\tfrom 0x3000 to 0x8000
4(  4 mod 256): FALLOC   0x9000 thru 0xb000\t(0x2000 bytes) PAST_EOF
5(  5 mod 256): MAPWRITE 0x7000 thru 0x8fff\t(0x2000 bytes)
\t\tCLOSE/OPEN
6(  6 mod 256): ZERO     0x8000 thru 0x9fff\t(0x2000 bytes)
Log of operations saved to "foo.fsxops"; replay with --replay-ops
Correct content saved for comparison
"""


def test_the_log_that_fsx_prints_at_a_failure() -> None:
    imported = read("fsx", LOG)
    assert format_line(imported.program) == (
        "pwrite testfile 4k 8k; truncate testfile 32k; falloc_keep testfile 36k 8k;"
        " truncate testfile 36k; mwrite_msync testfile 28k 8k; close testfile; drop_caches;"
        " fzero testfile 32k 8k"
    )
    assert [remark.line for remark in imported.left_out] == [4]
    assert [remark.line for remark in imported.changed] == [9], "keep_size is not in the log"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("writ 0x0 0x1 0x0\n", '1:1: unknown operation "writ"; did you mean "write"?'),
        ("write 0x0 0x1\n", "1:14: write has 3 numbers, here are 2; is the line cut?"),
        ("write 0x0 -1 0x0\n", "1:11: -1 is negative"),
        ("write 0x0 0xfffffff0 0x0\n", "1:11: 0xfffffff0 is negative in fsx's 32 bits"),
        ("write 0x0 four 0x0\n", '1:11: "four" is no number'),
        ("write 0x0 09 0x0\n", '1:11: "09" begins with 0 and is no octal number'),
        ("write 0x0 0x1 0x0 keepsize\n", '1:19: "keepsize" is no flag'),
        ("skip\n", "1:5: an operation belongs behind skip"),
        ("write 0x0 0x1 0x0\nfsync 0x0 0x0 0x0", "2:1: the last line has no end: the file was cut"),
        ("# nothing\n", "1:1: no operation of this text"),
        (LOG.partition("5(  5")[0], "6:1: the log says 6 operations and holds 4: it was cut"),
        (LOG.replace("0x2000 bytes) PAST", "0x2"), "6:17: "),
        (LOG.replace("(0x2000 bytes) HOLE", "(0xf0000000 bytes)"), "is a negative length"),
    ],
)
def test_fsx_refusals(text: str, problem: str) -> None:
    assert problem in refusal("fsx", text)


# --- xfs_io -----------------------------------------------------------------------------------

SCRIPT = """\
#!/bin/bash
. ./common/preamble
_begin_fstest auto quick
_cleanup()
{
	rm -f $tmp.*
}
testfile=$SCRATCH_MNT/foo
$XFS_IO_PROG -f -c "pwrite -S 0xab 0 16k" \\
	-c "fsync" -c "fpunch 4k 4k" $testfile | _filter_xfs_io
$XFS_IO_PROG -c "mmap -rw 0 16k" -c "mwrite 100 200" -c "msync -s 0 16k" -c munmap $testfile
echo 3 > /proc/sys/vm/drop_caches
mv $SCRATCH_MNT/foo ${SCRATCH_MNT}/bar; truncate -s 1M $SCRATCH_MNT/bar
_scratch_cycle_mount
cp $SCRATCH_MNT/bar /tmp/x
xfs_io -a -c "pwrite 0 10" $SCRATCH_MNT/bar >> $seqres.full 2>&1
xfs_io <<EOT
open $SCRATCH_MNT/bar
pwrite -W 0 100
fiemap -v
close
EOT
xfs_io -d -t -c "pwrite -b 1m 0 1m" $SCRATCH_MNT/baz && rm $SCRATCH_MNT/bar
if [ $? -ne 0 ]; then
	echo "failed"
fi
exit
"""


def test_a_script_of_xfs_io_commands() -> None:
    imported = read("xfs_io", SCRIPT)
    assert format_line(imported.program) == (
        "pwrite foo 0 4k tag=171; pwrite foo 4k 4k tag=171; pwrite foo 8k 4k tag=171;"
        " pwrite foo 12k 4k tag=171; fsync foo; fpunch foo 4k 4k; close foo;"
        " mwrite_msync foo 100 200; close foo; drop_caches; rename foo bar; truncate bar 1m;"
        " close bar; remount; append bar 10; close bar; pwrite bar 0 100; fsync bar; close bar;"
        " otrunc baz; dwrite baz 0 1m; close baz; unlink bar"
    )
    assert [(remark.line, remark.why) for remark in imported.left_out] == [
        (4, "a function's body"),
        (15, "the shell's cp is not followed"),
        (20, "it looks at the file only; every step is observed anyhow"),
        (24, "a block that changes no file"),
    ]
    assert imported.passed_over == {".": 1, "_begin_fstest": 1, "exit": 1}


def test_commands_as_xfs_io_reads_them() -> None:
    assert ops("xfs_io", "open -f a\npwrite 0 8b\nfalloc -k 0x1000 4k\n") == (
        "pwrite a 0 4k; pwrite a 4k 4k tag=2; pwrite a 8k 4k; pwrite a 12k 4k; pwrite a 16k 4k;"
        " pwrite a 20k 4k; pwrite a 24k 4k; pwrite a 28k 4k; falloc_keep a 4k 4k; close a"
    ).replace(" tag=2", "")


def test_many_writes_in_a_row_become_one_and_it_says_so() -> None:
    imported = read("xfs_io", 'xfs_io -f -c "pwrite 0 16m" a\n')
    assert format_line(imported.program) == "pwrite a 0 16m; close a"
    assert [remark.why for remark in imported.changed] == [
        "more than 64 writes in a row became one"
    ]


def test_each_command_runs_on_every_file_that_is_named() -> None:
    text = 'xfs_io -f -c "pwrite 0 1" -c "close" -C "fsync" a b\n'
    assert ops("xfs_io", text) == "pwrite a 0 1; pwrite b 0 1; close b; fsync a; close a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'xfs_io -c "pwrit 0 1" a\n',
            '1:12: unknown xfs_io command "pwrit"; did you mean "pwrite"?',
        ),
        ('xfs_io -c "pwrite -1 1" a\n', "1:12: -1 is negative; xfs_io takes no negative numbers"),
        ('xfs_io -c "pwrite 0" a\n', "1:12: pwrite takes 2 arguments, here are 1; is it cut?"),
        ('xfs_io -c "pwrite 0 x" a\n', '"x" is no number'),
        ('xfs_io -c "fpunch -k 0 1" a\n', "1:12: fpunch: option -k not recognized"),
        ('xfs_io -c "pwrite 0 1g" a\n', "pwrite: LEN is"),
        ('xfs_io -c "pwrite 0 18446744073709551615b" a\n', "does not fit into 64 bits"),
        ('xfs_io -c "pwrite 0 1t" a\n', "pwrite: LEN is 1099511627776; the most is 128m"),
        ('xfs_io -c "pwrite -V x 0 1" a\n', '"x" is no number'),
        ('xfs_io -c "pwrite -S 08 0 1" a\n', '"08" begins with 0 and is no octal number'),
        ('xfs_io -c "mwrite 0 1" a\n', "mwrite needs a mapping"),
        ('xfs_io -c "mmap 0 4k" -c "mwrite 0" a\n', "mwrite takes 2 arguments, here are 1"),
        ('xfs_io -c "pwrite 0 1"\n', "pwrite needs an open file"),
        ('xfs_io -c "pwrite 0 1" ../a\n', '1:24: "../a" leaves the file system by ".."'),
        ('xfs_io -c "pwrite 0 1" /etc/a\n', "say with --root DIR where the file system was"),
        ('xfs_io -c "pwrite 0 1" $SCRATCH_MNT/../a\n', 'leaves the file system by ".."'),
        ('xfs_io -c "pwrite $i 1" a\n', "this script does not say what $i is"),
        ('xfs_io -c "pwrite 0 $((1+2))" a\n', "is computed by the shell; write its value"),
        ('for i in 1 2; do\nxfs_io -c "pwrite 0 1" a\ndone\n', "1:1: for around commands"),
        ("f()\n{\n:\n}\nxfs_io -c fsync a\nf\n", "6:1: the function f is not followed"),
        ('xfs_io -c "pwrite 0 1\n', "1:1: a quote has no end; is the script cut?"),
        ("xfs_io <<EOF\nopen a\n", "1:1: the here-document has no line EOF; is the script cut?"),
        ("if true; then\nxfs_io -c fsync a\n", "1:1: if has no fi; is the script cut?"),
    ],
)
def test_xfs_io_refusals(text: str, problem: str) -> None:
    assert problem in refusal("xfs_io", text)


def test_a_path_outside_of_the_root_is_refused() -> None:
    text = 'xfs_io -c "pwrite 0 1" /mnt/scratch/a /mnt/other/b\n'
    assert "is outside of the mounted file system" in refusal("xfs_io", text, "/mnt/scratch")


# --- strace --------------------------------------------------------------------------------------

STRACE = """\
100   execve("/bin/app", ["app"], 0x7ffd1 /* 20 vars */) = 0
100   openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3
100   close(3)                          = 0
100   chdir("/mnt/t")                   = 0
100   openat(AT_FDCWD, "db", O_RDWR|O_CREAT|O_TRUNC, 0644) = 3
100   write(3, "abc"..., 8192)          = 8192
100   pwrite64(3, "x\\"), (= 1", 8, 100000) = 8
100   lseek(3, 0, SEEK_END)             = 100008
100   writev(3, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=1}], 2) = 3
100   dup(3)                            = 4
100   clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 101
101   write(4, "z", 1 <unfinished ...>
100   fsync(3 <unfinished ...>
101   <... write resumed>)              = 1
101   +++ exited with 0 +++
100   <... fsync resumed>)              = 0
100   --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=101} ---
100   close(4)                          = 0
100   fallocate(3, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 4096, 8192) = 0
100   ftruncate(3, 5000)                = 0
100   open("/mnt/t/log", O_WRONLY|O_CREAT|O_APPEND, 0644) = 4
100   write(4, "line\\n", 5)            = 5
100   sendfile(4, 3, [100], 10)         = -1 EINVAL (Invalid argument)
100   openat(AT_FDCWD, "sync", O_WRONLY|O_CREAT|O_SYNC, 0644) = 5
100   write(5, "s", 1)                  = 1
100   copy_file_range(3, [0], 5, NULL, 100, 0) = 100
100   pwrite64(5, "s", 1, 0)            = -1 ENOSPC (No space left on device)
100   mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000
100   msync(0x7f0000000000, 4096, MS_SYNC) = 0
100   sync_file_range(3, 0, 4096, SYNC_FILE_RANGE_WRITE) = 0
100   rename("db", "db2")               = 0
100   close(3)                          = 0
100   unlink("/mnt/t/log")              = 0
100   exit_group(0)                     = ?
100   +++ exited with 0 +++
"""


def test_an_strace_log() -> None:
    imported = read("strace", STRACE, "/mnt/t")
    assert format_line(imported.program) == (
        "pwrite db 0 8k; pwrite db 100000 8; pwritev db 100008 2,1; pwrite db 100011 1; fsync db;"
        " fpunch db 4k 8k; truncate db 5000; append log 5; pwrite_osync sync 0 1;"
        " copy_range db 0 100 sync 1; pwrite_osync sync 0 1; fsync db; sync_range db 0 4k;"
        " rename db db2; close db2; unlink log; close sync"
    )
    assert [(remark.line, remark.why) for remark in imported.left_out] == [
        (18, "the file is open by another descriptor, too"),
        (23, "the destination can't be written to at an offset"),
        (28, "stores through a mapping are not in the text"),
    ]
    assert [remark.line for remark in imported.changed] == [29, 30, 31, 33]
    assert imported.passed_over["openat"] == 1


def test_descriptors_that_strace_annotates_need_no_open() -> None:
    log = """\
pwrite64(7</mnt/t/a>, "x", 1, 4096) = 1
openat(AT_FDCWD</mnt/t>, "b", O_RDWR|O_CREAT, 0644) = 8</mnt/t/b>
write(8</mnt/t/b>, "x", 1) = 1
"""
    assert ops("strace", log, "/mnt/t") == "pwrite a 4k 1; pwrite b 0 1"


def test_relative_paths_start_where_the_application_did() -> None:
    log = 'creat("t/a", 0644) = 3\nwrite(3, "x", 1) = 1\ncreat("b", 0644) = 4\n'
    assert ops("strace", log, "/mnt/t", "/mnt") == "pwrite a 0 1"


def test_names_in_directories_are_told_by_their_path() -> None:
    log = """\
creat("d/a", 0644) = 3
write(3, "x", 1) = 1
creat("d_a", 0644) = 4
write(4, "x", 2) = 2
"""
    assert ops("strace", log) == "pwrite d_a 0 1; pwrite d_a_2 0 2"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (STRACE[:-200], "the last line has no end: the log was cut"),
        (STRACE.replace("<... write resumed>)", "<... write resumed>"), "12:1: "),
        (STRACE.replace('(4, "z", 1 <unf', '(4, "z" <unf'), "12:1: write has other"),
        ("100   <... write resumed>) = 1\n", "1:1: write is resumed and did not begin"),
        (STRACE.partition("100   <... fsync")[0], "13:1: fsync of process 100 never ends"),
        ('creat("../a", 0644) = 3\n', '1:7: "../a" leaves the file system by ".."'),
        ('creat("/a", 0644) = 3\n', "say with --root DIR"),
        ('creat("a", 0644) = 3\nftruncate(3, -5) = -1 EINVAL (Invalid argument)\n',
         "2:1: ftruncate: the length -5 is negative"),
        ('creat("a", 0644) = 3\nwrite(3, "x") = 1\n', "2:1: write has other arguments"),
        ('creat("a", 0644) = 3\nwrite(3, {, 1) = 1\n', "2:11: the arguments of write"),
        ("hello\n", '1:1: "hello" is no line of strace'),
        ('creat("a", 0644) = 09\n', '1:1: "09" is no result'),
        ('creat("a", 09) = 3\n', "1:1: the arguments of creat can't be read: 09 is no number"),
        ('open("a", O_RDWR|09) = 3\n', "1:1: the arguments of open can't be read: 09 is no number"),
        ("getpid() = 3\n", "1:1: no operation of this text"),
    ],
)  # fmt: skip
def test_strace_refusals(text: str, problem: str) -> None:
    root = "/mnt/t" if "/mnt/t" in text else None
    assert problem in refusal("strace", text, root)


# --- syzkaller -----------------------------------------------------------------------------------

SYZKALLER = """\
# an own-written program
syz_mount_image$ext4(&(0x7f0000000040)='ext4\\x00', &AUTO='./m\\x00', 0x0, &AUTO)
r0 = open(&(0x7f0000000000)='./m/bus\\x00', 0x42, 0x0)
r1 = openat(0xffffffffffffff9c, &AUTO='./m/file1\\x00', 0x442, 0x1ff)
pwrite64(r0, &(0x7f0000000140)="ffff", 0x2, 0x4fed0)
write(r0, &AUTO="01010101", 0x4)
write$binfmt_script(r1, &(0x7f0000000200)=ANY=[@ANYBLOB="2321"], 0x2)
lseek(r0, 0x10000, 0x0)
write(r0, &AUTO=""/9, 0x9)	# EBADF
fallocate(r0, 0x3, 0x1000, 0x2000) (fail_nth: 5)
mmap(&(0x7f0000600000/0xb36000)=nil, 0xb36000, 0x3, 0x28011, r0, 0x0)
copy_file_range(r0, &(0x7f0000000080)=0x100, r0, &(0x7f0000000090)=0x8000, 0x200, 0x0)
pipe2(&(0x7f0000000000)={<r2=>0x0, <r3=>0x0}, 0x0)
write(r2, &AUTO="01", 0x1)
unlink(&(0x7f0000000000))
socket$inet(0x2, 0x1, 0x0)
"""


def test_a_syzkaller_program() -> None:
    imported = read("syzkaller", SYZKALLER.replace("(&(0x7f0000000000))", "(&AUTO='./m/bus\\x00')"))
    assert format_line(imported.program) == (
        "pwrite bus 327376 2; pwrite bus 0 4; append file1 2; pwrite bus 64k 9; fpunch bus 4k 8k;"
        " copy_range bus 256 512 bus 32k; unlink bus"
    )
    assert [remark.line for remark in imported.left_out] == [2, 11]
    assert [remark.line for remark in imported.changed] == [10, 15]
    assert imported.passed_over == {"lseek": 1, "pipe2": 1, "write": 1, "socket": 1}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('write(r0, &AUTO="aa"', "2:21: the line ends in the middle of a call"),
        ("write r0", '2:7: "r0" is not expected here'),
        (
            "fallocate(r0, 0x0, 0x0, 0xffffffffffffffff)",
            "2:1: fallocate: the length -1 is negative",
        ),
        ("open(&AUTO='../a\\x00', 0x42, 0x0)", 'leaves the file system by ".."'),
        ("open(&AUTO='/dev/sda\\x00', 0x42, 0x0)", "say with --root DIR"),
        ("ftruncate(r0)", "2:1: ftruncate has other arguments; is the line cut?"),
        ("ftruncate(r0, 09)", "2:1: the call can't be read: 09 is no number"),
    ],
)
def test_syzkaller_refusals(line: str, problem: str) -> None:
    text = f"r0 = creat(&AUTO='./a\\x00', 0x0)\n{line}\n"
    assert problem in refusal("syzkaller", text)


def test_a_buffer_that_no_guest_can_hold_is_left_out() -> None:
    text = "r0 = creat(&AUTO='./a\\x00', 0x0)\nwrite(r0, &AUTO=\"aa\", 0xfffffdef)\nfsync(r0)\n"
    imported = read("syzkaller", text)
    assert format_line(imported.program) == "fsync a"
    assert [remark.why for remark in imported.left_out] == [
        "a buffer beyond 128 MiB does not fit into a guest"
    ]


# --- which format it is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [("fsx", FSX), ("fsx", LOG), ("xfs_io", SCRIPT), ("strace", STRACE), ("syzkaller", SYZKALLER)],
)
def test_a_sample_looks_like_its_format_alone(name: str, text: str) -> None:
    assert [found.name for found in detect(text)] == [name]


def test_something_else_looks_like_none() -> None:
    assert detect("show: x\non: default\n\npwrite a 0 4k\n") == []
