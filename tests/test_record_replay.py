"""Recordings without a guest: what can not be replayed is refused, with what to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes import FakeSubject, make_workload

from harness.cli import main
from harness.errors import UsageError
from harness.pairs import Pair
from harness.recording_side import RecordingSide, first_step, how_to_go_on, record_into
from harness.sides.machine import GuestSide
from harness.sides.side import Choice
from harness.verdict import Mismatch, Verdict
from vm import record_replay, replaying
from vm.agent import recorded
from vm.qemu import Devices
from vm.record_replay import FILES, RECORDING, VERSION, RecordedMachine, Recording, setup_digest
from vm.replaying import read_recording
from vm.tail import Tail, content

FACTS = Recording(
    make_workload(), "7.2.22", "7.3.4", "ab", "a package", "/no/image", 1, machine=setup_digest()
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(replaying, "qemu_version", lambda: "7.2.22")
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / RECORDING).write_bytes(msgspec.json.encode(FACTS))
    return tmp_path


def test_a_recording_is_read_as_it_was_written(folder):
    assert read_recording(folder) == FACTS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / RECORDING).unlink(), "is no recording"),
        (lambda folder: (folder / "replay.bin").unlink(), "is not whole: replay.bin missing"),
        (lambda folder: (folder / RECORDING).write_text("{"), "can't be read"),
        (
            lambda folder: (folder / RECORDING).write_bytes(
                msgspec.json.encode(msgspec.structs.replace(FACTS, version=VERSION + 1))
            ),
            f"version {VERSION + 1} of recordings",
        ),
        (
            lambda folder: (folder / RECORDING).write_bytes(
                msgspec.json.encode(msgspec.structs.replace(FACTS, qemu="10.0.2"))
            ),
            "recorded by QEMU 10.0.2, this is 7.2.22",
        ),
        (
            lambda folder: (folder / RECORDING).write_bytes(
                msgspec.json.encode(msgspec.structs.replace(FACTS, machine="another"))
            ),
            "another version of ext4diff had set up",
        ),
    ],
)
def test_what_can_not_be_replayed_says_why_and_what_to_do(folder, change, said):
    change(folder)
    with pytest.raises(UsageError, match=said) as caught:
        read_recording(folder)
    assert "record" in str(caught.value)


def test_the_command_refuses_it_with_status_2(folder, monkeypatch, capsys):
    monkeypatch.setattr("harness.commands.shell.ensure_host_tools", lambda: None)
    (folder / "kernel").unlink()
    assert main(["shell", "--rr", str(folder)]) == 2
    assert "is not whole: kernel missing" in capsys.readouterr().err


@pytest.mark.parametrize(("same", "status"), [(True, 0), (False, 3)])
def test_a_recording_is_replayed_to_its_end(folder, monkeypatch, capsys, same, status):
    monkeypatch.setattr("harness.commands.shell.ensure_host_tools", lambda: None)
    monkeypatch.setattr("harness.commands.shell.replay", lambda _: same)
    assert main(["shell", "--rr", str(folder)]) == status
    said = capsys.readouterr()
    assert ("said the same as in the recording" in said.out) == same
    assert ("record it again" in said.err) != same


# --- recording ------------------------------------------------------------------------------


def test_a_recording_needs_a_directory_of_its_own_and_a_guest(tmp_path):
    guest = GuestSide(Choice())
    pair = Pair(FakeSubject("model", []), guest, "model", Choice())
    (tmp_path / "file").touch()
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(UsageError, match="a directory of its own"):
            record_into(pair, taken, 0)
    assert pair.actual is guest
    record_into(pair, tmp_path / "new", 0)
    assert isinstance(pair.actual, RecordingSide)
    assert not (tmp_path / "new").exists()
    kept = Pair(FakeSubject("model", []), FakeSubject("recording", []), "model", Choice())
    with pytest.raises(UsageError, match="no kernel in a guest"):
        record_into(kept, tmp_path / "new", 0)


@pytest.mark.parametrize(("place", "step"), [("start", 0), (1, 1), ("final", 2)])
def test_a_debugger_stops_before_the_first_step_that_differs(place, step):
    found = Mismatch(place, "", "a", "size", 1, 2)
    assert first_step(Verdict(make_workload(), ("model", "guest"), mismatches=(found,))) == step


def test_going_backwards_is_not_promised_on_a_kernel_that_loads_modules(folder):
    words = "\n".join(how_to_go_on(folder))
    assert "debugs it, backwards too" in words
    (folder / RECORDING).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(FACTS, modular=True))
    )
    words = "\n".join(how_to_go_on(folder))
    assert "backwards too" not in words
    assert "does not come back on a kernel that loads modules" in words
    assert "watchpoint" in words


@pytest.mark.parametrize("modular", [False, True])
def test_the_debugger_hears_of_it_before_it_tries(folder, monkeypatch, capsys, modular):
    (folder / RECORDING).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(FACTS, modular=modular))
    )
    command = "harness.commands.shell"
    monkeypatch.setattr(f"{command}.ensure_host_tools", lambda: None)
    monkeypatch.setattr(f"{command}._symbols", lambda *_: None)
    monkeypatch.setattr(f"{command}.replay", lambda _folder, _stub, long: long())
    assert main(["shell", "--rr", str(folder), "--gdb"]) == 0
    said = capsys.readouterr()
    assert ("does not come back" in said.out) == modular
    assert "has not stopped for 300 s" in said.err
    assert "Ctrl-C in gdb" in said.err


def test_a_machine_that_runs_for_too_long_is_told_once_and_again_when_it_does_so_again(
    folder, monkeypatch
):
    answers = iter(["paused", *["running"] * 20, "paused", *["running"] * 20])
    qemu = FakeQemu(answers)
    monkeypatch.setattr(replaying, "_machine", lambda *_: contextlib.nullcontext((qemu, 0)))
    monkeypatch.setattr(replaying, "content", lambda _: b"")
    monkeypatch.setattr(replaying.time, "sleep", lambda _: None)
    monkeypatch.setattr(replaying, "PATIENCE", 2.0)
    told: list[int] = []
    assert replaying.replay(folder, object(), lambda: told.append(qemu.asked))
    assert len(told) == 2
    assert told[0] < 21 < told[1]


class FakeQemu:
    """QEMU until it has no more `answers` to how the machine is."""

    log = 0

    def __init__(self, answers: Iterator[str]) -> None:
        self._answers = answers
        self.asked = 0
        self.running = True
        self.control = self

    def status(self) -> str:
        self.asked += 1
        answer = next(self._answers, "")
        self.running = bool(answer)
        return answer


def test_what_was_not_recorded_is_not_advertised(tmp_path):
    assert how_to_go_on(tmp_path) == [f"nothing was recorded in {tmp_path}"]


def test_the_machine_has_no_channel_that_qemu_does_not_record():
    machine = RecordedMachine.of(Path("/a,b"), "replay", "/a,b/disk", 9, Devices(), stays=True)
    words = machine.arguments({"qmp": 3, "log": 4, "console": 5, "agent": 6})
    text = " ".join(words)
    assert "virtio-serial" not in text
    assert "rr=replay,rrfile=/a,,b/replay.bin,rrsnapshot=init" in text
    assert "file=/a,,b/disk,format=qcow2" in text
    assert "fd=5" not in text
    assert "fd=6" not in text
    assert "-no-shutdown" in words
    assert machine.devices.fds == (9,)


def test_another_command_line_of_the_kernel_is_another_machine(monkeypatch):
    before = setup_digest()
    assert setup_digest() == before
    monkeypatch.setattr(record_replay, "COMMAND_LINE", ("quiet",))
    assert setup_digest() != before


def test_the_agent_takes_its_requests_from_the_initramfs(tmp_path, monkeypatch):
    path = tmp_path / "requests.json"
    path.write_text('[{"id": 1, "cmd": "poison"}]')
    monkeypatch.setattr(recorded, "REQUESTS", str(path))
    assert recorded.requests() == [{"id": 1, "cmd": "poison"}]


def test_a_file_that_grows_is_followed_to_its_reader():
    file = os.memfd_create("test")
    os.write(file, b"one ")
    tail = Tail(file)
    tail.socket.settimeout(300)
    assert tail.socket.recv(4) == b"one "
    os.write(file, b"two")
    assert tail.socket.recv(4) == b"two"
    assert content(file) == b"one two"
    tail.close()
    assert tail.socket.recv(1) == b""
    tail.socket.close()
    os.close(file)
