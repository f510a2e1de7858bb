"""ext4diff mail: a report that a list takes, of each kind of mismatch, and nothing invented."""

from __future__ import annotations

import email
import email.policy
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from fakes import LINE, RELEASE, FakeSubject, make_trace, make_workload, seen

from harness import pairs
from harness.artifacts.manifest import FirstBad, Manifest, SideNote
from harness.cli import main
from harness.comparison.compare import compare
from harness.trace import Complaint, ComplaintKind, Extent, State, Step, Trace
from harness.verdict import Compared, Mismatch
from reports.mail import SUBJECT, WIDTH, Reproducer, mail, subject
from reports.syscalls import CALLS, call_name
from workloads.ops import Parallel
from workloads.syntax import BY_WORD
from workloads.workload import Workload

WRONG = Step("EFAULT", (), seen(size=20000))
NOTE = SideNote({
    "release": RELEASE, "kernel": "debian:sid linux-image 7.3.4-1", "build_id": "1fe99684",
    "qemu": "7.2.22", "accel": "tcg", "base": "0123", "series": "ext4: one; ext4: two",
})  # fmt: skip
MANIFEST = Manifest(
    harness="0.1.0", created="2026-11-23T00:00:00+00:00", workload="w", said="s",
    signature="305c8c3192d3", against="model", strict=False, sides={"guest": NOTE},
)  # fmt: skip
BAD = FirstBad("0123456789abcdef", "ext4: do it", "A U Thor <a@example.com>", "today", "v7.2", 7)
PROGRAM = Reproducer("int main(void)\n{\n}\n", ["mount x /mnt"], ["gcc x.c", "./x /mnt"])


def found(steps: dict[int, Step], workload: Workload | None = None, **fields) -> Compared:
    workload = workload or make_workload()
    expected = make_trace(workload)
    actual = make_trace(workload, f"kernel {RELEASE}", RELEASE, steps, **fields)
    return Compared(compare(expected, actual), expected, actual)


def complaining(complaint: Complaint) -> Compared:
    trace: Trace = make_trace()
    assert trace.final is not None
    final = msgspec.structs.replace(trace.final, log=(complaint,))
    return found({}, final=final)


def with_mismatch(m: Mismatch) -> Compared:
    compared = found({1: WRONG})
    verdict = msgspec.structs.replace(compared.verdict, mismatches=(m,))
    return msgspec.structs.replace(compared, verdict=verdict)


OOPS = Complaint(
    ComplaintKind.WARNING, "WARNING in ext4_da_update_reserve_space",
    ("------------[ cut here ]------------", "WARNING: CPU: 0 PID: 84 at fs/ext4/inode.c:377",
     "Call Trace:", " ext4_mb_mark_diskspace_used+0x1a0/0x3c0", " 0xffffffff" * 12),
    "ext4_da_update_reserve_space",
    ("ext4_da_update_reserve_space+0x12/0x80 fs/ext4/inode.c:377",), 1,
)  # fmt: skip


# --- subject ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        (found({1: Step(0, (), seen(size=20000))}),
         "[BUG] ext4: i_size 20000, not 4096, after pwrite from an unmapped page"),
        (complaining(OOPS), "[BUG] ext4: WARNING in ext4_da_update_reserve_space"),
        (with_mismatch(Mismatch("final", "", None, "fsck", "no complaint", "x" * 300)),
         "[BUG] ext4: e2fsck complains after umount"),
        (with_mismatch(Mismatch(0, "fpunch a 0 4k", None, "kernel", "goes on",
                                "in step 1 of 2: Kernel panic - not syncing: Fatal exception")),
         "[BUG] ext4: Kernel panic - not syncing: Fatal exception"),
        (with_mismatch(Mismatch(0, "fpunch a 0 4k", "a", "extents",
                                tuple((n << 13, 4096, "written") for n in range(9)), ())),
         "[BUG] ext4: wrong extents after PUNCH_HOLE"),
    ],
    ids=["value", "complaint", "fsck", "panic", "long"],
)  # fmt: skip
def test_the_subject_says_what_is_wrong_after_which_call(compared, said):
    assert subject(compared.verdict) == said
    assert len(subject(compared.verdict)) <= SUBJECT


def test_the_subject_names_the_path_that_a_mount_option_chooses():
    workload = make_workload(LINE, "4k@delalloc,buffered_iomap")
    assert subject(found({1: WRONG}, workload).verdict).startswith("[BUG] ext4: buffered_iomap: ")


def test_every_operation_has_a_name_that_kernel_developers_know():
    assert {*BY_WORD, Parallel.WORD} == set(CALLS)
    assert call_name("parallel; pwrite a 0 1; and; fsync a; end") == "concurrent calls"


# --- the mail ---------------------------------------------------------------------------

KINDS = {
    "value": found({1: WRONG}),
    "complaint": complaining(OOPS),
    "extents": found({1: Step(0, (), seen(extents=(Extent(0, 8192, State.UNWRITTEN, 5),)))}),
    "end": found({}, final=None),
    "fsck": with_mismatch(Mismatch("final", "", None, "fsck", "no complaint", "guest: bad\n" * 5)),
    "long line": found({1: WRONG}, make_workload("; ".join([LINE] * 9))),
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].verdict.mismatches])
@pytest.mark.parametrize("first_bad", [None, BAD], ids=["plain", "bisected"])
def test_it_is_one_mail_of_short_plain_lines(kind, first_bad):
    text = mail(KINDS[kind], MANIFEST, PROGRAM, first_bad, "one.tar.zst")
    message = email.message_from_string(text, policy=email.policy.default)
    assert message["Subject"] == subject(KINDS[kind].verdict)
    assert message["To"] == "linux-ext4@vger.kernel.org"
    assert message["From"] is None  # git send-email knows who sends it
    assert "Reported-by" not in text
    assert text.isascii()
    body = text.partition("\n\n")[2]
    assert body.startswith("Hello,\n")
    quoted = ("  ext4_", "   0xf", "  WARNING: CPU")  # what the kernel printed stays as it is
    long = [line for line in body.splitlines() if len(line) > WIDTH]
    assert [line for line in long if not line.startswith(quoted)] == []
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert "\n---\n" not in text and "\n--- " not in text  # no patch begins in it


def test_it_has_what_a_maintainer_asks_for():
    text = mail(KINDS["value"], MANIFEST, PROGRAM, BAD, "one.tar.zst")
    for words in (
        "on Linux 7.3.4-cloud-amd64, ext4 (buffer_head path, mounted with",
        "expected  4096", "seen      20000",
        ' >  2  pwrite_fault a 8k 4k fault=0', "(pwrite from an unmapped page)",
        "  mount x /mnt\n  gcc x.c\n  ./x /mnt", "int main(void)",
        "build id: 1fe99684", "base commit: 0123", "patches on top: ext4: one; ext4: two",
        "machine: QEMU 7.2.22, tcg, x86_64", "one.tar.zst",
        '  0123456789ab ("ext4: do it")', "#regzbot introduced: 0123456789ab",
        "Cc: A U Thor <a@example.com>, regressions@lists.linux.dev",
    ):  # fmt: skip
        assert words in text, words
    assert "regzbot" not in mail(KINDS["value"], MANIFEST, PROGRAM)


def test_the_kernels_trace_is_quoted_as_it_was_printed_and_decoded():
    text = mail(KINDS["complaint"], MANIFEST, PROGRAM)
    assert "The kernel's log, in step 2:" in text
    for line in OOPS.lines:
        assert f"  {line}\n" in text
    assert "decoded:\n\n  ext4_da_update_reserve_space+0x12/0x80 fs/ext4/inode.c:377" in text


def test_what_the_program_lacks_or_does_not_print_is_said():
    lacking = msgspec.structs.replace(PROGRAM, missing=["left out: 1 of 3 operations"])
    assert "left out: 1 of 3 operations" in mail(KINDS["value"], MANIFEST, lacking)
    hidden = found({1: Step(0, (), seen(reserved=7))})
    text = mail(hidden, MANIFEST, PROGRAM).replace("\n", " ")
    assert "does not print i_reserved_data_blocks itself" in text


def test_two_kernels_are_called_by_their_names():
    compared = found({1: WRONG})
    verdict = msgspec.structs.replace(
        compared.verdict, subjects=("base", "kernel"), kernels=("7.2.0", RELEASE)
    )
    text = mail(
        msgspec.structs.replace(compared, verdict=verdict),
        msgspec.structs.replace(MANIFEST, against="debian:trixie"), PROGRAM,
    )  # fmt: skip
    assert "    base    0\n    kernel  EFAULT\n" in text
    assert text.startswith("Subject: [BUG] ext4: return value 0 or EFAULT after pwrite from an")
    assert "on Linux 7.2.0 and Linux 7.3.4-cloud-amd64, ext4 (mounted with" in text
    assert "differs between base and kernel at step 2 of 3" in text.replace("\n", " ")
    assert "runs a program on two kernels" in text.replace("\n", " ")


# --- the command ------------------------------------------------------------------------


@pytest.fixture
def artifact(monkeypatch, tmp_path, capsys) -> Path:
    monkeypatch.chdir(tmp_path)
    guest = FakeSubject("guest", [lambda w: make_trace(w, "guest", RELEASE, {1: WRONG})])
    monkeypatch.setitem(pairs.MAKERS, "kernel", lambda spec, choice: guest)
    monkeypatch.setitem(pairs.MAKERS, "model", lambda *_: FakeSubject("model", [make_trace]))
    assert main(["run", LINE, "--results", "r"]) == 1
    capsys.readouterr()
    return next((tmp_path / "r").iterdir())


def test_the_command_writes_the_mail_and_says_what_to_look_at(artifact, capsys, tmp_path):
    assert main(["mail", str(artifact)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Subject: [BUG] ext4: ")
    assert "do_pwrite_fault" in said.out
    assert "read it before you send it" in said.err
    assert main(["mail", str(artifact), "-o", "bug.txt"]) == 0
    assert (tmp_path / "bug.txt").read_text() == said.out
    assert "git send-email bug.txt" in capsys.readouterr().err


def test_git_takes_it_for_a_mail(artifact, capsys, tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    main(["mail", str(artifact), "-o", "bug.txt"])
    with (tmp_path / "bug.txt").open() as file:
        done = subprocess.run(
            ["git", "mailinfo", "-k", str(tmp_path / "body"), str(tmp_path / "patch")],
            stdin=file, capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
    assert "Subject: [BUG] ext4: " in done.stdout
    assert (tmp_path / "body").read_text().startswith("Hello,")
    assert (tmp_path / "patch").read_text() == ""


def test_a_file_that_cannot_be_written_and_what_is_no_artifact(artifact, capsys):
    assert main(["mail", str(artifact), "-o", "/proc/bug.txt"]) == 3
    assert "cannot write /proc/bug.txt: " in capsys.readouterr().err
    assert main(["mail", "/dev/null"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
