"""`ext4diff shell` without a guest: where it opens, what it says, how it connects a terminal."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import msgspec
import pexpect
import pytest
from fakes import LINE, make_trace, make_workload, seen
from test_artifact import found, pair

from harness.artifacts.artifact import keep
from harness.cli import main
from harness.shell_session import Session
from harness.shell_target import Target, target_of
from harness.trace import Step
from reports.shell import greeting, next_lines, trace_lines, xfs_io_words
from vm.agent.shell_trace import Recorder, chosen
from vm.kernels.identity import KernelIdentity
from workloads.workload import Workload

WRONG = Step("EFAULT", (), seen(size=8192))


def target(text: str | None, on: str | None = None) -> Target:
    with contextlib.ExitStack() as stack:
        return target_of(text, on, None, stack)


# --- where it opens -----------------------------------------------------------------------


def test_an_artifact_opens_before_its_first_step_that_differs(tmp_path):
    kept = keep(found(), pair(), tmp_path / "one", "what happened")
    opened = target(str(kept))
    assert (opened.at, opened.workload.name) == (1, "example@4k@delalloc")
    assert opened.expected is not None
    assert opened.side is not None
    assert "differ at step 2 of 3" in opened.title


def test_a_line_opens_before_its_first_step_and_nothing_on_an_empty_file_system():
    assert (target(LINE).at, len(target(LINE).workload.ops)) == (0, 3)
    empty = target(None, "1k@nodelalloc")
    assert (empty.workload.config.name, empty.workload.ops) == ("1k@nodelalloc", ())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([LINE, "--at", "0"], "--at 0: the workload has 3 steps; 1 to 4"),
        ([LINE, "--at", "5"], "--at 5"),
        (["defragment a"], "unknown operation"),
        ([LINE, "--symbols"], "go with --gdb"),
        (["--rr", "nowhere", LINE], "its own workload"),
    ],
)
def test_what_can_not_be_opened_is_status_2_in_one_line(words, said, capsys):
    assert main(["shell", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_a_directory_that_is_no_artifact_is_told_so(tmp_path, capsys):
    assert main(["shell", str(tmp_path)]) == 2
    assert "is no artifact" in capsys.readouterr().err


def test_another_kernel_than_the_artifacts_is_told(tmp_path):
    kept = keep(found(), pair(), tmp_path / "one", "what happened")
    opened = target(str(kept))
    side = msgspec.structs.replace(opened.side, identity={"release": "7.3", "build_id": "ab" * 20})
    opened = Target(opened.workload, side=side)
    assert opened.other_kernel(KernelIdentity(build_id="ab" * 20)) == ""
    said = opened.other_kernel(KernelIdentity(release="6.1", build_id="cd" * 20))
    assert "abababab" in said
    assert "cdcdcdcd" in said


# --- what it says -------------------------------------------------------------------------


def test_the_next_step_is_given_as_xfs_io_takes_it():
    workload = make_workload("pwrite a 0 8k; remount; pwrite_fault a 0 4k fault=0")
    assert xfs_io_words(workload, 0) == 'xfs_io -f -c "pwrite -S 1 -b 8k 0 8k" "./a"'
    assert xfs_io_words(workload, 1) == (
        "umount /mnt && mount -t ext4 -o noatime,delalloc /dev/vda /mnt"
    )
    assert xfs_io_words(workload, 2) == "xfs_io has no pwrite_fault; `step` does it"
    assert next_lines(workload, 3)[0].startswith("no step is left")


def test_the_greeting_says_where_one_is_and_how_to_leave():
    text = greeting(make_workload(), 1, ["kernel 7.3"], ("ext4:ext4_da_write_begin",))
    for words in ("kernel 7.3", "1 step is done", "next is step 2 of 3: pwrite_fault a 8k 4k",
                  "ext4:ext4_da_write_begin", "/mnt", "noatime,delalloc", "Ctrl-]"):  # fmt: skip
        assert words in text
    empty = greeting(Workload("shell", make_workload().config, ()), 0, [], ())
    assert "an empty file system, 4k@delalloc" in empty
    assert "perform the next step" not in empty


def test_a_step_that_differs_is_explained_and_one_that_agrees_is_not(tmp_path):
    workload = make_workload()
    expected = make_trace(workload)
    session = Session(workload, expected, tmp_path)
    whole = make_trace(workload, "kernel 7.3", "7.3.4", {1: WRONG})
    first, second = (
        msgspec.structs.replace(whole, steps=whole.steps[:count], final=None) for count in (1, 2)
    )
    agreed, status = session.asked({"step": 0}, first)
    assert (status, "What differs" in agreed) == (0, False)
    assert " =  1 " in agreed
    assert "next is step 2 of 3" in agreed
    differs, _ = session.asked({"step": 1, "log": ["<4>be careful"]}, second)
    assert "What differs: step 2 of 3" in differs
    assert "kernel log: be careful" in differs
    assert session.before(first) == []
    assert session.before(second) == [
        "this run differs from what was expected from step 2 on already"
    ]


def test_recorded_trace_events_are_shown_and_kept(tmp_path):
    workload = make_workload()
    trace = msgspec.structs.replace(make_trace(workload), final=None)
    text = "# tracer: nop\n#\n  init-1  [000]  1.0: ext4_da_write_begin: dev 254,0\n"
    said, _ = Session(workload, None, tmp_path / "new").asked({"step": 2, "recorded": text}, trace)
    assert (tmp_path / "new/trace-step-3.txt").read_text() == text
    assert "1 trace events, kept in" in said
    assert "ext4_da_write_begin" in said
    assert trace_lines(text) == ["  init-1  [000]  1.0: ext4_da_write_begin: dev 254,0"]


def test_look_and_a_step_beyond_the_last_are_answered(tmp_path):
    trace = msgspec.structs.replace(make_trace(), final=None)
    session = Session(make_workload(), None, tmp_path)
    row = {"look": True, "observation": msgspec.to_builtins(seen())}
    said, status = session.asked(row, trace)
    assert status == 0
    assert "4k delayed at 0" in said
    assert "delalloc 1" in said
    said, status = session.asked({"over": True}, trace)
    assert (status, said.startswith("no step is left")) == (1, True)


# --- trace events in the guest ------------------------------------------------------------

AVAILABLE = ["ext4:ext4_da_write_begin", "ext4:ext4_sync_file_enter", "writeback:wbc_writepage"]


def test_trace_events_are_chosen_with_wildcards_by_event_or_system():
    assert chosen(["ext4:*"], AVAILABLE) == (AVAILABLE[:2], "")
    assert chosen(["writeback"], AVAILABLE) == (AVAILABLE[2:], "")
    assert chosen(["*write*"], AVAILABLE) == ([AVAILABLE[0], AVAILABLE[2]], "")
    assert chosen(["ext4:*", "xfs:*"], AVAILABLE) == ([], "xfs:*")


def test_an_unknown_trace_event_names_those_that_resemble_it(tmp_path):
    (tmp_path / "available_events").write_text("\n".join(AVAILABLE))
    recorder = Recorder(["ext4:ext4_da_writebegin"], True, str(tmp_path))
    assert recorder.refused == "ext4:ext4_da_writebegin"
    assert recorder.near[0] == "ext4:ext4_da_write_begin"


# --- the terminal -------------------------------------------------------------------------

_FAKE = """
import socket, termios
from types import SimpleNamespace
from vm.errors import KernelPanicError
from vm.shell import Listener
from vm.shell_terminal import interact
ours, theirs = socket.socketpair()
class Guest:
    link = SimpleNamespace(console=SimpleNamespace(size=0, text_from=lambda at: ""))
    def attend(self, listener, going_on, size):
        theirs.sendall(b"raw\\r\\n")  # what was typed before is thrown away
        while going_on():
            changed = size()
            if changed:
                theirs.sendall(b"size %d %d\\r\\n" % changed)
            theirs.settimeout(0.05)
            try:
                part = theirs.recv(100)
            except TimeoutError:
                continue
            theirs.sendall(b"got " + repr(part).encode() + b"\\r\\n")
            if part == b"P":
                raise KernelPanicError("the kernel panicked: at once")
            if part == b"Q":
                return 0
before = termios.tcgetattr(0)
try:
    interact(Guest(), ours, Listener(None, None))
    print("left")
except KernelPanicError as error:
    print("caught", error)
print("terminal", termios.tcgetattr(0) == before)
"""


@pytest.fixture
def terminal():
    child = pexpect.spawn(
        sys.executable, ["-c", _FAKE], encoding="utf-8", timeout=600, dimensions=(30, 100),
        cwd=str(Path(__file__).parent.parent),
    )  # fmt: skip
    child.expect_exact("raw\r\n")
    yield child
    child.close(force=True)


def test_keys_go_to_the_guest_and_ctrl_bracket_leaves(terminal):
    terminal.send("x")
    terminal.expect_exact("got b'x'")
    terminal.send("\x03")  # Ctrl-C is the guest's
    terminal.expect_exact("got b'\\x03'")
    terminal.setwinsize(41, 121)
    terminal.expect_exact("size 41 121")
    terminal.send("\x1d")
    terminal.expect("left")
    terminal.expect("terminal True")


@pytest.mark.parametrize(("key", "said"), [("Q", "left"), ("P", "caught the kernel panicked")])
def test_the_end_of_the_shell_and_of_the_kernel_give_the_terminal_back(terminal, key, said):
    terminal.send(key)
    terminal.expect(said)
    terminal.expect("terminal True")
