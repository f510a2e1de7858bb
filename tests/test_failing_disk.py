"""A disk that takes only so many writes: what is compared, what is held against the kernel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from fakes import FakeSubject, make_trace, make_workload, seen

from harness.cli import main
from harness.errors import USAGE, UsageError
from harness.known import KNOWN_ISSUES
from harness.pairs import make_pair
from harness.sides.failing import FailingRunner
from harness.sides.failing_disk import DISK, MOST_WRITES, FailingDisk
from harness.sides.machine import GuestSide
from harness.sides.side import Choice
from harness.trace import Complaint, ComplaintKind, Final, Step, Trace
from harness.verdict import Compared, Outcome
from reports.steps import step_table
from reports.terminal import headline
from vm import mkfs
from vm.errors import MountLostError
from vm.guest import Guest
from vm.kernel import resolve_kernel
from vm.qemu import Devices, Machine
from workloads.program import config_of

WORKLOAD = make_workload("pwrite a 0 4k; fsync a; pwrite a 0 4k; fsync a")
IO = ComplaintKind.IO


def complaint(step: int | None, kind: ComplaintKind = IO, title: str = "I/O error") -> Complaint:
    return Complaint(kind, title, step=step)


def failing(*said: Complaint, fsck: str = "", **results: object) -> Trace:
    """What a kernel showed whose log said so; `s1="EIO"` is the result of step 1."""
    steps = {
        int(name[1:]): Step(result, (), seen(size=1))  # type: ignore[arg-type]
        for name, result in results.items()
    }
    return make_trace(WORKLOAD, "guest", "7.3.4", steps, final=Final(seen(), log=said, fsck=fsck))


def judged(actual: Trace) -> Compared:
    def model(workload: object) -> Trace:
        return make_trace(workload)  # type: ignore[arg-type]

    subjects = FakeSubject("model", [model]), FakeSubject("guest", [actual])
    return FailingRunner(*subjects, KNOWN_ISSUES, DISK).run(WORKLOAD)


# --- the comparison -----------------------------------------------------------------------


def test_nothing_is_compared_from_the_first_failed_write_on() -> None:
    compared = judged(failing(complaint(1), s1="EIO", s2="EROFS", s3="EROFS"))
    verdict = compared.verdict
    assert verdict.outcome is Outcome.AGREE and verdict.steps == 1
    assert (
        verdict.not_compared["step", DISK.reason] == 3
        and verdict.not_compared["end", DISK.reason] == 1
    )
    assert [line[1:2] for line in step_table(compared)[1:]] == ["=", "?", "?", "?", "?"]
    assert headline(verdict).endswith(
        "agree, 1 step; the disk failed in step 2 (fsync a), from where on nothing is compared"
    )


def test_what_differs_before_is_a_mismatch() -> None:
    verdict = judged(failing(complaint(3), s0=4095, s3="EIO")).verdict
    assert verdict.outcome is Outcome.MISMATCH and verdict.mismatches[0].place == 0


def test_a_disk_that_never_failed_leaves_nothing_out() -> None:
    actual = make_trace(WORKLOAD, "guest", "7.3.4")
    assert judged(actual).verdict == msgspec.structs.replace(
        judged(actual).verdict, note="", steps=4, mismatches=()
    )


def test_the_end_alone_may_be_left_out() -> None:
    verdict = judged(failing(complaint(None))).verdict
    assert verdict.steps == 4 and ("step", DISK.reason) not in verdict.not_compared
    assert "failed after the last step" in verdict.note


@pytest.mark.parametrize("kind", [ComplaintKind.WARNING, ComplaintKind.KASAN, ComplaintKind.HUNG])
def test_a_kernel_that_warns_of_itself_is_not_excused(kind: ComplaintKind) -> None:
    said = (complaint(1), complaint(1, ComplaintKind.JBD2), complaint(2, kind, "WARNING in x"))
    verdict = judged(failing(*said, s1="EIO")).verdict
    assert [str(m.actual) for m in verdict.mismatches] == ["WARNING in x"]


def test_an_image_that_e2fsck_cannot_repair_is_a_mismatch() -> None:
    verdict = judged(failing(complaint(1), s1="EIO", fsck="UNEXPECTED INCONSISTENCY")).verdict
    assert verdict.outcome is Outcome.MISMATCH and verdict.mismatches[0].field == "fsck"


def test_the_step_is_that_of_the_first_complaint_or_error() -> None:
    assert DISK.first(failing(), ()) is None
    assert DISK.first(failing(s1="EIO"), ()) is None  # not the disk's
    assert DISK.first(failing(s2="EIO"), (complaint(3),)) == 2
    assert DISK.first(failing(s3="EIO"), (complaint(None), complaint(1))) == 1


# --- the machine --------------------------------------------------------------------------


def test_qemu_is_told_to_fail_the_write_after_so_many() -> None:
    fds = dict.fromkeys(("qmp", "console", "agent", "log"), 3)
    machine = Machine(Path("k"), Path("i"), "/disk", devices=Devices(writes=2))
    words = machine.arguments(fds)
    node = json.loads(words[words.index("-blockdev") + 1])
    assert node["node-name"] == "disk" and node["cache"] == {"no-flush": True}
    rules = node["file"]
    assert rules["image"]["filename"] == "/disk"
    assert [(r["state"], r["new_state"]) for r in rules["set-state"]] == [(1, 2), (2, 3)]
    assert rules["inject-error"] == [
        {"event": "write_aio", "iotype": "write", "state": 3, "errno": 5}
    ]


def test_a_disk_that_takes_no_write_at_all_has_no_states() -> None:
    fds = dict.fromkeys(("qmp", "console", "agent", "log"), 3)
    words = Machine(Path("k"), Path("i"), "/disk", devices=Devices(writes=0)).arguments(fds)
    rules = json.loads(words[words.index("-blockdev") + 1])["file"]
    assert "set-state" not in rules and rules["inject-error"][0]["state"] == 1


def test_a_number_that_qemu_cannot_be_told_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (-1, MOST_WRITES + 1):
        with pytest.raises(UsageError, match=f"a number from 0 to {MOST_WRITES}"):
            FailingDisk(Choice(), number)
    words = ["run", "fsync a", "--fail-writes-after", "3", "--against", "path:iomap"]
    assert main(words) == USAGE
    assert "goes with --against model only" in capsys.readouterr().err


def test_the_pair_has_the_disk_that_fails() -> None:
    pair = make_pair("model", Choice(writes=3))
    assert isinstance(pair.actual, FailingDisk) and isinstance(pair.runner(), FailingRunner)
    assert pair.actual.writes == 3


class PlayedDisk:
    """A guest's disk with an image on it."""

    def __init__(self, image: Path) -> None:
        self.image = image

    def copy_to(self, path: Path) -> None:
        path.write_bytes(self.image.read_bytes())


def side(monkeypatch: pytest.MonkeyPatch, answer: Trace | Exception) -> FailingDisk:
    """A side whose guest shows `answer`, and leaves a whole file system on its disk."""

    def run(*_: object) -> Trace:
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = FailingDisk(Choice(), 3)
    image = mkfs.image_file(WORKLOAD.config.image)
    monkeypatch.setattr(GuestSide, "run", run)
    monkeypatch.setattr(found, "_end_guest", lambda: None)
    found._guest = SimpleNamespace(disk=PlayedDisk(image))  # type: ignore[assignment]
    return found


def test_the_end_is_what_e2fsck_and_the_log_say_if_the_disk_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = (complaint(1),)
    shown = failing(*said, fsck="full of errors, as nobody has replayed the journal", s1="EIO")
    final = side(monkeypatch, shown).run(WORKLOAD).final
    assert final == Final(shown.steps[-1].observation, fsck="", log=said)


def test_a_disk_that_did_not_fail_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = make_trace(WORKLOAD, "guest", "7.3.4")
    assert side(monkeypatch, shown).run(WORKLOAD) is shown


def test_a_mount_may_be_lost_with_the_disk_and_with_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen_before = failing(s1="EIO")
    excused = MountLostError("no mount", seen_before, complaints=(complaint(1),))
    final = side(monkeypatch, excused).run(WORKLOAD).final
    assert final is not None
    assert final.log == (complaint(1),)
    for error in (
        MountLostError("no mount", seen_before, complaints=(complaint(1, ComplaintKind.WARNING),)),
        MountLostError("no mount", None, complaints=(complaint(1),)),
    ):
        with pytest.raises(MountLostError) as caught:
            side(monkeypatch, error).run(WORKLOAD)
        assert caught.value is error


def test_e2fsck_repairs_what_a_power_failure_leaves_and_tells_what_it_cannot(
    tmp_path: Path,
) -> None:
    image = mkfs.image_file(config_of("4k@delalloc").image)
    copy = tmp_path / "copy.img"
    copy.write_bytes(image.read_bytes())
    assert mkfs.recover(copy) == ""
    for command in ("clri <2>", "ssv free_blocks_count 1"):
        subprocess.run(["debugfs", "-w", "-R", command, str(copy)], check=True, capture_output=True)
    assert mkfs.recover(copy) != ""


# --- a real one ---------------------------------------------------------------------------


@pytest.mark.vm
def test_fsync_fails_when_the_disk_does_and_the_guest_is_gone_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = Guest.start.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Guest], *words: object, **more: object) -> Guest:
        started.append(start(cls, *words, **more))
        return started[-1]

    monkeypatch.setattr(Guest, "start", classmethod(counted))
    resolve_kernel(None)
    line = "pwrite a 0 8k; fsync a; pwrite a 8k 4k; fsync a"
    words = ["run", line, "--accel", "tcg", "--results", str(tmp_path), "--fail-writes-after", "3"]
    assert main(words) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["=", "1"] in [row[:2] for row in rows]
    assert ["?", "2", "fsync", "a", "EIO"] in [row[:5] for row in rows]
    assert "the disk failed in step 2 (fsync a)" in out
    assert started and all(guest.dead for guest in started)
    assert main([*words[:-2], "--fail-nth", "1"]) == USAGE  # Debian's has no fault injection
    assert "this kernel can't let that fail" in capsys.readouterr().out
    assert all(guest.dead for guest in started)
