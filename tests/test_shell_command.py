"""`ext4diff shell` as a command: how it brings a guest up, what it prints, how it ends."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from fakes import LINE, make_trace
from test_artifact import found, pair

from harness.artifacts.artifact import keep
from harness.cli import main
from harness.commands import shell as command
from harness.shell_target import Target
from vm.accel import Accelerator
from vm.errors import KernelPanicError
from vm.gdb_symbols import Symbols
from vm.kernel import Kernel
from vm.kernels.identity import KernelIdentity
from vm.shell import Listener, Opening, Reply

KERNEL = Kernel(Path("/k/bzImage"), "7.3.4", None, "a file", "00")


class FakeGuest:
    """A guest in which `does` happens: it gets the listener, and returns the shell's status."""

    name, accel, sections = "kernel 7.3.4", Accelerator("tcg", "as asked for"), MappingProxyType({})
    kernel = KernelIdentity(release="7.3.4", build_id="cd" * 20, source="a file")
    events = ("ext4:ext4_da_write_begin",)

    def __init__(self, does: Callable[[Listener, Opening], int]) -> None:
        self.does, self.ended = does, False
        self.started: dict[str, Any] = {}
        self.opening: Opening | None = None

    def start(self, *_: object, **words: Any) -> FakeGuest:
        self.started = words
        return self

    def __enter__(self) -> FakeGuest:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True

    def open_shell(self, opening: Opening) -> object:
        self.opening = opening
        whole = make_trace(opening.workload, self.name, "7.3.4")
        return msgspec.structs.replace(whole, steps=whole.steps[: opening.at], final=None)

    def attend(self, listener: Listener, going_on: object, size: object) -> int:
        assert self.opening is not None
        return self.does(listener, self.opening)


Run = Callable[..., tuple[int, FakeGuest]]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs the command with a script on stdin, in a guest in which `does` happens."""
    begun: list[FakeGuest] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "ensure_host_tools", lambda: None)
    monkeypatch.setattr(
        command, "boot_files", lambda *_, **__: SimpleNamespace(kernel=KERNEL.image)
    )
    monkeypatch.setattr(command, "find_symbols", lambda *_: Symbols(Path("/k/vmlinux"), {}))
    monkeypatch.setattr(Target, "kernel", lambda *_: KERNEL)

    def run(
        does: Callable[[Listener, Opening], int], *words: str, script: str = "true\n"
    ) -> tuple[int, FakeGuest]:
        guest = FakeGuest(does)
        begun.append(guest)
        monkeypatch.setattr(command, "ShellGuest", guest)
        monkeypatch.setattr("sys.stdin", io.StringIO(script))
        return main(["shell", *words]), guest

    yield run
    assert all(guest.ended for guest in begun if guest.started)


def ends_with(status: int) -> Callable[[Listener, Opening], int]:
    return lambda listener, opening: status


def test_a_script_runs_at_its_step_and_its_output_is_all_of_stdout(
    shell: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def does(listener: Listener, opening: Opening) -> int:
        listener.printed(f"ran {opening.script}")
        return 0

    status, guest = shell(does, LINE, "--at", "2", script="ls\n")
    assert status == 0
    said = capsys.readouterr()
    assert said.out == "ran ls\n"
    assert "1 step is done" in said.err
    assert "next is step 2 of 3: pwrite_fault a 8k 4k fault=0" in said.err
    assert guest.opening is not None
    assert (guest.opening.at, guest.opening.events, guest.opening.record) == (1, ("ext4:*",), False)
    assert guest.started["network"] is False
    assert guest.started["deadlines"] is None


def test_the_last_step_done_is_a_place_to_open_at(shell: Run) -> None:
    _, guest = shell(ends_with(0), LINE, "--at", "4")
    assert guest.opening is not None
    assert guest.opening.at == 3


def test_a_script_that_fails_is_status_2(shell: Run, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = shell(ends_with(7), LINE)
    assert status == 2
    assert "the commands ended with status 7" in capsys.readouterr().err


def test_a_kernel_that_dies_is_status_1_with_its_report(
    shell: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def does(listener: Listener, opening: Opening) -> int:
        raise KernelPanicError("the kernel panicked: at once", report="RIP: 0010:ext4_x\n")

    status, guest = shell(does, LINE)
    assert (status, guest.ended) == (1, True)
    assert capsys.readouterr().out == (
        "\next4diff: the kernel panicked: at once\n\nRIP: 0010:ext4_x\n"
    )


def test_trace_events_that_are_asked_for_are_recorded(shell: Run) -> None:
    _, guest = shell(ends_with(0), LINE, "--trace", "ext4:ext4_da*,,writeback:*")
    assert guest.opening is not None
    assert guest.opening.events == ("ext4:ext4_da*", "writeback:*")
    assert guest.opening.record


def test_steps_are_answered_and_what_they_traced_is_kept(shell: Run, tmp_path: Path) -> None:
    answers: list[Reply] = []

    def does(listener: Listener, opening: Opening) -> int:
        whole = make_trace(opening.workload, "kernel 7.3.4", "7.3.4")
        trace = msgspec.structs.replace(whole, steps=whole.steps[:1], final=None)
        answers.append(listener.asked({"step": 0, "recorded": "init-1 [000] 1.0: x: y\n"}, trace))
        return 0

    status, _ = shell(does, LINE, "--trace", "x", "--results", str(tmp_path / "kept"))
    assert (status, len(answers), answers[0][1]) == (0, 1, 0)
    assert "next is step 2 of 3" in answers[0][0]
    assert (tmp_path / "kept/trace-step-1.txt").read_text() == "init-1 [000] 1.0: x: y\n"


def test_an_artifact_on_another_kernel_is_told(
    shell: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pair()
    kept = keep(found(), other, tmp_path / "one", "what happened")
    manifest = kept / "manifest.json"
    facts = msgspec.json.decode(manifest.read_bytes())
    name = list(facts["sides"])[-1]
    facts["sides"][name]["identity"] = {"release": "7.3.3", "build_id": "ab" * 20}
    manifest.write_bytes(msgspec.json.encode(facts))
    status, guest = shell(ends_with(0), str(kept))
    assert status == 0
    assert guest.opening is not None
    assert guest.opening.at == 1
    said = capsys.readouterr().err
    assert "it may behave differently" in said
    assert "differ at step 2 of 3" in said


# --- with a debugger ----------------------------------------------------------------------


def test_gdb_may_attach_and_a_stopped_kernel_may_take_as_long_as_it_likes(
    shell: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    status, guest = shell(ends_with(0), LINE, "--gdb")
    assert status == 0
    said = capsys.readouterr()
    assert "gdb may attach, from elsewhere:" in said.err
    assert "file /k/vmlinux" in said.err
    assert guest.opening is not None
    assert guest.opening.mark
    assert guest.started["deadlines"].step == 86400
    assert "-gdb" in guest.started["devices"].arguments
    assert not guest.started["devices"].held


def test_gdb_may_start_the_kernel(shell: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _, guest = shell(ends_with(0), LINE, "--gdb", "--stopped")
    assert guest.started["devices"].held
    assert "gdb starts the kernel (attach, then continue)" in capsys.readouterr().out


def test_without_symbols_to_be_had_the_person_hears_how_to_make_them(
    shell: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_symbols", lambda *_: None)
    monkeypatch.setattr(command, "offer", lambda *_: None)
    status, _ = shell(ends_with(0), LINE, "--gdb")
    assert status == 0
    assert "no vmlinux with symbols beside /k/bzImage" in capsys.readouterr().err


def test_a_shell_needs_a_terminal_on_both_sides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert main(["shell", "--kernel", "/no/such"]) == 2
    assert "stdout is no terminal" in capsys.readouterr().err
