"""A call that is made to fail: which, what is compared, what is held against the kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import FakeSubject, make_trace, make_workload, seen
from told import FORMATS

from harness.cli import main
from harness.errors import USAGE, NotModelledError, UsageError
from harness.known import KNOWN_ISSUES
from harness.pairs import make_pair
from harness.sides.failing import FailingRunner
from harness.sides.failing_call import CALL, FailingCall, Nth
from harness.sides.machine import GuestSide
from harness.sides.side import Choice
from harness.trace import Complaint, ComplaintKind, Final, Trace
from harness.verdict import Compared, Outcome
from vm.agent import injection
from vm.agent.injection import Injector
from vm.log.parser import complaints_in
from vm.tracepoints import Tracepoints
from vm.transcript import Transcript

WORKLOAD = make_workload("pwrite a 0 4k; fsync a; sync")
FORCED = Complaint(ComplaintKind.INJECTED, "what was asked for failed in f", step=1)


def shown(*said: Complaint, fsck: str = "") -> Trace:
    return make_trace(WORKLOAD, "guest", "7.3.4", final=Final(seen(), log=said, fsck=fsck))


def judged(actual: Trace) -> Compared:
    subjects = FakeSubject("model", [make_trace]), FakeSubject("guest", [actual])
    return FailingRunner(*subjects, KNOWN_ISSUES, CALL).run(WORKLOAD)


# --- which call ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found", "words"),
    [
        ("3", Nth("alloc", 3), "allocation of memory number 3"),
        ("alloc:12", Nth("alloc", 12), "allocation of memory number 12"),
        ("request:1", Nth("request", 1), "request to the disk number 1"),
        ("__filemap_add_folio:2", Nth("__filemap_add_folio", 2),
         "call of __filemap_add_folio() number 2"),
    ],
)  # fmt: skip
def test_what_fails_is_a_number_of_a_kind(text: str, found: Nth, words: str) -> None:
    assert Nth.parse(text) == found and str(found) == words


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "alloc:", "alloc:0", ":3", "a b:3", "1e3"])
def test_anything_else_is_refused_and_told_how(text: str) -> None:
    with pytest.raises(UsageError, match="give N, or KIND:N"):
        Nth.parse(text)


def test_options_that_do_not_go_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    one = ["run", "fsync a", "--fail-nth", "3"]
    for words, said in (
        (["--fail-writes-after", "3"], "give one of --fail-writes-after and --fail-nth"),
        (["--observe", "end"], "goes with --observe steps only"),
        (["--against", "path:iomap"], "goes with --against model only"),
    ):
        assert main([*one, *words]) == USAGE
        assert said in capsys.readouterr().err


def test_the_pair_has_the_guest_in_which_it_fails() -> None:
    pair = make_pair("model", Choice(nth="request:3"))
    assert isinstance(pair.actual, FailingCall) and isinstance(pair.runner(), FailingRunner)
    assert pair.actual.nth == ("request", 3)
    assert pair.actual.header() == ["request to the disk number 3 fails"]


# --- the comparison -----------------------------------------------------------------------


def test_nothing_is_compared_from_the_failure_on() -> None:
    verdict = judged(shown(FORCED)).verdict
    assert verdict.outcome is Outcome.AGREE and verdict.steps == 1
    assert verdict.not_compared["step", CALL.reason] == 2
    assert verdict.not_compared["end", CALL.reason] == 1
    assert verdict.note == (
        "what was asked for failed in f in step 2 (fsync a), from where on nothing is compared"
    )


def test_where_nothing_failed_all_is_compared() -> None:
    verdict = judged(shown()).verdict
    assert verdict.steps == 3 and not verdict.note


@pytest.mark.parametrize(
    "title",
    ["EXT4-fs error in ext4_find_extent", "EXT4-fs: failed to convert unwritten extents"],
)
def test_what_ext4_says_of_it_is_excused(title: str) -> None:
    said = Complaint(ComplaintKind.EXT4, title, step=1)
    assert judged(shown(FORCED, said)).verdict.outcome is Outcome.AGREE


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (ComplaintKind.WARNING, "WARNING in ext4_da_update_reserve_space"),
        (ComplaintKind.EXT4, "EXT4-fs: Inode N: i_reserved_data_blocks not cleared!"),
        (ComplaintKind.MEMORY, "BUG: Bad page state"),
    ],
)
def test_what_a_kernel_without_bugs_does_not_say_is_a_mismatch(
    kind: ComplaintKind, title: str
) -> None:
    verdict = judged(shown(FORCED, Complaint(kind, title, step=1))).verdict
    assert [str(m.actual) for m in verdict.mismatches] == [title]


@pytest.mark.parametrize(
    "line",
    [
        "<2>EXT4-fs (vda): ext4_do_writepages: jbd2_start: 13 pages, ino 12; err -12",
        "init: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
        "SLUB: Unable to allocate memory on CPU 0 (of node 0) on node -1, gfp=0xcc0(GFP_KERNEL)",
    ],
)
def test_the_kernels_own_words_for_want_of_memory_are_excused(line: str) -> None:
    (found,) = complaints_in([line])
    assert CALL.excuses(found)


def test_blocks_of_files_that_are_gone_must_not_stay_reserved_in_the_kernels_own_words() -> None:
    line = "EXT4-fs (vda): Inode 12 (0000000012345678): i_reserved_data_blocks (3) not cleared!"
    (found,) = complaints_in([line])
    assert not CALL.excuses(found)


def test_an_image_that_e2fsck_cannot_repair_is_a_mismatch() -> None:
    verdict = judged(shown(FORCED, fsck="UNEXPECTED INCONSISTENCY")).verdict
    assert [m.field for m in verdict.mismatches] == ["fsck"]


@pytest.mark.parametrize("title", ["EXT4-fs error in ext4_setattr", "i_reserved_data not cleared"])
def test_where_the_model_refuses_a_workload_the_same_is_excused(title: str) -> None:
    refused = NotModelledError("mount option data_err")
    other = Complaint(ComplaintKind.EXT4_ERROR, title, step=1)
    subjects = FakeSubject("model", [refused]), FakeSubject("guest", [shown(FORCED, other)])
    verdict = FailingRunner(*subjects, KNOWN_ISSUES, CALL).run(WORKLOAD).verdict
    assert verdict.refused == "mount option data_err"
    held = [other] if "cleared" in title else []
    assert [mismatch.actual for mismatch in verdict.mismatches] == held


def test_a_failure_of_which_the_kernel_says_nothing_is_known_from_its_count() -> None:
    transcript = Transcript(WORKLOAD, Tracepoints(FORMATS), "guest", "7.3.4")
    observation = {"counters": {}, "files": {}}
    transcript.take({"start": True, "observation": observation, "log": []})
    for step, failed in enumerate((False, True, False)):
        row = {"step": step, "result": 0, "trace": 0, "observation": observation}
        transcript.take({**row, "failed": failed})
    (found,) = transcript.complaints_until("")
    assert found.kind is ComplaintKind.INJECTED and found.step == 1


# --- the guest ----------------------------------------------------------------------------


class _Kernel:
    """The files with which a kernel is told what to let fail, below `root`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, *lacking: str) -> None:
        self.root, self.written = root, dict[str, str]()
        self._lacking = lacking
        self.count = root / "fail-nth"
        self.count.write_text("0")
        monkeypatch.setattr(injection, "COUNT", str(self.count))
        monkeypatch.setattr(injection, "write_file", self._write)

    def _write(self, path: str, value: str) -> None:
        if any(word in path for word in self._lacking):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self.written[path.rpartition("/sys/")[2]] = value

    def calls(self, number: int) -> int:
        """As many calls that may fail are made by an operation."""
        left = int(self.count.read_text().strip("\0") or 0)
        self.count.write_text(str(max(0, left - number)))
        return number


def test_calls_are_counted_over_operations_and_only_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = _Kernel(tmp_path, monkeypatch)
    injector = Injector("alloc", 5)
    assert kernel.written["kernel/debug/failslab/ignore-gfp-wait"] == "N"
    shown = [injector.execute(lambda: kernel.calls(2))[1] for _ in range(4)]
    assert shown == [False, False, True, False]
    assert int(kernel.count.read_text()) == 0


def test_memory_that_the_agent_itself_does_not_get_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = _Kernel(tmp_path, monkeypatch)

    def operation() -> int:
        kernel.calls(1)
        raise MemoryError

    assert Injector("alloc", 1).execute(operation) == ("ENOMEM", True)


def test_of_other_kinds_no_allocation_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = _Kernel(tmp_path, monkeypatch)
    Injector("request", 1)
    assert kernel.written["block/vda/make-it-fail"] == "1"
    injector = Injector("some_function", 3)
    assert kernel.written["kernel/debug/fail_function/inject"] == "some_function"
    assert int(kernel.written["kernel/debug/fail_function/some_function/retval"]) - (1 << 64) == -12
    assert kernel.written["kernel/debug/failslab/cache-filter"] == "Y"
    settings = {name: kernel.written[f"kernel/debug/fail_function/{name}"] for name in (
        "interval", "times", "probability"
    )}  # fmt: skip
    assert settings == {"interval": "3", "times": "1", "probability": "0"}
    seen = list[str]()

    def operation() -> int:
        seen.append(kernel.written["kernel/debug/fail_function/probability"])
        return 0

    for times, failed in (("1", False), ("0", True)):
        monkeypatch.setattr(injection, "_read", lambda _path, times=times: times)
        assert injector.execute(operation) == (0, failed)
        assert kernel.written["kernel/debug/fail_function/probability"] == "0"
    assert seen == ["100", "100"]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EINVAL, "no such function"), (errno.ERANGE, "not in error_inj")]
)
def test_a_function_that_may_not_fail_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    kernel = _Kernel(tmp_path, monkeypatch)

    def write(path: str, value: str) -> None:
        if path.endswith("inject"):
            raise OSError(number, os.strerror(number), path)
        kernel._write(path, value)

    monkeypatch.setattr(injection, "write_file", write)
    with pytest.raises(OSError, match=said):
        Injector("f", 1)


def test_a_kernel_that_cannot_is_told_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Kernel(tmp_path, monkeypatch, "make-it-fail")
    with pytest.raises(OSError, match="make-it-fail"):
        Injector("request", 1)


def test_the_host_refuses_a_kernel_that_cannot_and_ends_its_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed, asked = [], []

    def ask(request: dict[str, object], *_: object) -> dict[str, object]:
        asked.append(request)
        return {"done": "/sys/kernel/debug/failslab: No such file or directory"}

    guest = SimpleNamespace(
        ask=ask, close=lambda: closed.append(True), deadlines=SimpleNamespace(step=1.0)
    )
    monkeypatch.setattr(GuestSide, "_started", lambda *_: guest)
    side = FailingCall(Choice(), Nth("alloc", 3))
    with pytest.raises(UsageError, match="alloc:3: this kernel can't let that fail: /sys/kernel"):
        side._alive()
    assert closed and asked == [{"cmd": "fail", "kind": "alloc", "nth": 3}]
