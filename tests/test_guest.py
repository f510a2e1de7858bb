"""The guest as a subject, with a fake in QEMU's place: every way in which it can end."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_qemu import answer
from fakes import make_workload
from told import FORMATS, event, page

from harness.comparison.compare import compare
from harness.trace import Event, EventKind, Observe, State
from vm import mkfs
from vm.accel import Accelerator
from vm.boot import Deadlines
from vm.channel import PROTOCOL, Channel
from vm.console import Console
from vm.disk import Disk
from vm.errors import (
    AgentDiedError,
    BootTimeoutError,
    ChannelError,
    GuestHangError,
    KernelError,
    KernelHangError,
    KernelPanicError,
    ListenerError,
    MountLostError,
    MountRefusedError,
    QemuError,
)
from vm.guest import Guest, request_of
from vm.link import Link
from vm.network import Network

HELLO = {
    "hello": PROTOCOL, "release": "7.3.4-fake", "buffered_iomap": False, "tracepoints": FORMATS,
}  # fmt: skip
FILE = {
    "size": 4096, "blocks": 8, "disk_blocks": 0, "disksize": 0, "reserved": 1,
    "extents": [{"start": 0, "length": 4096, "state": "delayed", "physical": None}],
}  # fmt: skip
OBSERVATION = {"files": {"a": FILE}, "delalloc": 1, "bfree": 999, "bavail": 999}
EMPTY = {"files": {}, "delalloc": 0, "bfree": 1000, "bavail": 1000}
START = {"start": True, "observation": EMPTY}
CONTENT = {"a": {"size": 4096, "whole": True}}
READ = {"runs": [["a", 0, 1]], "raw": "78"}
PANIC = (
    "[    9.1] BUG: kernel NULL pointer dereference, address: 0000000000000008\r\n"
    "[    9.2] RIP: 0010:ext4_da_write_end+0x12/0x340\r\n"
    "[    9.3] ---[ end Kernel panic - not syncing: Fatal exception ]---\r\n"
)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class FakeQemu:
    """QEMU with a guest in it: `script` gets each request and what it needs to answer."""

    def __init__(self, script: Callable[[FakeQemu, dict[str, Any]], None]) -> None:
        self.agent, self.agent_here = socket.socketpair()
        self.console, self.console_here = socket.socketpair()
        self.log = os.memfd_create("console")
        self._log_here = os.dup(self.log)
        self.running = True
        self.blocked = ""
        self.state = "running"
        self._script = script
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def written(self) -> None:
        """As a QEMU that does not trace."""

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self.agent_here.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                if request["cmd"] == "poison":
                    self.tell({"id": request["id"], "done": 1})
                else:
                    self._script(self, request)

    def tell(self, row: dict[str, Any]) -> None:
        self.raw(answer(row))

    def raw(self, data: bytes) -> None:
        self.agent_here.sendall(data)

    def say(self, text: str) -> None:
        os.write(self._log_here, text.encode())
        self.console_here.sendall(text.encode())

    def die(self) -> None:
        self.running = False
        self.agent_here.shutdown(socket.SHUT_RDWR)
        self.console_here.close()

    def last_words(self) -> str:
        return "" if self.running else "terminating on signal 11"

    def status(self) -> str:
        return self.state

    def show_blocked_tasks(self) -> None:
        self.say(self.blocked)

    def close(self) -> None:
        self.running = False
        with contextlib.suppress(OSError):
            self.agent_here.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.agent_here.close()
        self.console_here.close()
        os.close(self._log_here)


Script = Callable[[FakeQemu, dict[str, Any]], None]


def step(number: int, **changes: Any) -> dict[str, Any]:
    return {"step": number, "result": 0, "trace": 0, "observation": OBSERVATION, **changes}


def final(**changes: Any) -> dict[str, Any]:
    parts = {"dropped": CONTENT, "content": CONTENT, "trouble": []}
    return {"final": {**parts, **changes}, "observation": OBSERVATION, "log": []}


def traced(pages: bytes) -> dict[str, Any]:
    """What a step tells of the pages of its trace."""
    return {"trace": len(pages), "raw": pages.hex()}


def answers(*rows: dict[str, Any]) -> Script:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        for row in rows:
            qemu.tell({"id": request["id"], **row})

    return script


def whole(*changed: dict[str, Any]) -> Script:
    steps = [step(number) for number in range(3)]
    read = ({"data": field, **READ} for field in ("dropped", "content"))
    return answers(START, *(changed or steps), {"phase": "sync"}, *read, final())


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    image = tmp_path / "image"
    image.write_bytes(bytes(4096))
    monkeypatch.setattr(mkfs, "image_file", lambda _image: image)
    monkeypatch.setattr(mkfs, "fsck", lambda _path: "")
    monkeypatch.setattr(mkfs, "disk_blocks", lambda _path, names: dict.fromkeys(names, 8))
    monkeypatch.setattr("vm.link._SETTLE", 0.2)
    guests: list[Guest] = []

    def make(
        script: Script, hello: dict[str, Any] | None = HELLO, boot: bool = True, seconds: float = 30
    ) -> Guest:
        qemu = FakeQemu(script)
        console = Console(qemu.console, qemu.log)
        link = Link(Channel(qemu.agent), console, qemu)
        deadlines = Deadlines(seconds, seconds, seconds)
        guest = Guest(qemu, link, Disk(8192), Accelerator("tcg", "fake"), deadlines)
        guests.append(guest)
        if hello is not None:
            qemu.tell(hello)
        if boot:
            guest.boot()
        return guest

    yield make
    for guest in guests:
        guest.close()


def test_a_workload_becomes_a_trace(start: Callable[..., Guest]) -> None:
    told = page(event(EventKind.RESERVE, 12, 1, 1))
    first = step(0, result=4096, names=[[12, "a"]], **traced(told))
    guest = start(whole(first, step(1, result="EFAULT"), step(2)))
    trace = guest.run(make_workload())
    assert trace.kernel == "7.3.4-fake"
    assert trace.start.bfree == 1000
    assert [step.result for step in trace.steps] == [4096, "EFAULT", 0]
    events = trace.steps[0].events
    assert events == (Event(EventKind.RESERVE, "a", 1, 1),)
    extents = trace.steps[0].observation.files["a"].extents
    assert extents is not None
    assert extents[0].state is State.DELAYED
    assert trace.final is not None
    assert trace.final.content is not None
    assert trace.final.content["a"].blocks == {0: zlib.crc32(b"x")}
    assert trace.final.dropped == trace.final.content
    assert trace.final.disk_blocks == {"a": 8}
    assert trace.final.fsck == ""
    assert not guest.dead


def test_what_the_end_alone_leaves_out_has_its_reason(start: Callable[..., Guest]) -> None:
    """One reading of the files, and no debugfs: our own reader tells the same number."""
    ended = final()
    ended["final"]["dropped"] = None
    early = [{"step": number, "result": 0} for number in range(2)]
    rows = (START, *early, step(2), {"phase": "umount"}, {"data": "content", **READ})
    guest = start(answers(*rows, ended))
    trace = guest.run(make_workload(), observe=Observe.END)
    assert trace.final is not None and trace.final.content is not None
    assert trace.final.content["a"].blocks == {0: zlib.crc32(b"x")}
    assert trace.final.dropped is trace.final.disk_blocks is None
    assert trace.final.fsck == ""
    found = compare(msgspec.structs.replace(trace, subject="model"), trace)
    counts = found.not_compared
    reason = "only the end was observed"
    assert counts["dropped", reason] == counts["disk_blocks on disk", reason] == 1


@pytest.mark.parametrize(("rate", "right"), [(1.0, True), (0.5, False), (2.0, False)])
def test_a_clock_that_goes_at_another_rate_is_noticed(
    start: Callable[..., Guest], rate: float, right: bool
) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        assert request["cmd"] == "uptime"
        qemu.tell({"id": request["id"], "done": 100 + time.monotonic() * rate})

    assert start(script).clock_is_right() is right


def test_one_guest_runs_many_workloads(start: Callable[..., Guest]) -> None:
    guest = start(whole())
    traces = [guest.run(make_workload()) for _ in range(5)]
    assert all(trace == traces[0] for trace in traces)


def limits(*changed: dict[str, Any], seen: list[str]) -> Script:
    """Answers to a listener's start as `changed`, and to a workload."""

    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        seen.append(request["cmd"])
        run = (START, step(0), {"phase": "sync"}, final())
        rows = changed if request["cmd"] == "listen" else run
        answers(*rows)(qemu, request)

    return script


def test_each_workload_with_limits_has_the_listener_begin_anew(start: Callable[..., Guest]) -> None:
    seen: list[str] = []
    guest = start(limits({"done": {}}, seen=seen))
    for line in ("quota_set 1000 100", "sync", "quota_set 1000 200"):
        guest.run(make_workload(line, "quota4k@delalloc,usrquota"))
    assert [word for word in seen if word != "poison"] == ["listen", "run", "run", "listen", "run"]


@pytest.mark.parametrize(("late", "todo"), [(True, "less beside it"), (False, "without quota_set")])
def test_a_listener_that_does_not_start_is_no_finding_and_has_a_remedy(
    start: Callable[..., Guest], late: bool, todo: str
) -> None:
    guest = start(limits({"done": {"failed": "not ready after 180 s", "late": late}}, seen=[]))
    with pytest.raises(ListenerError, match=f"not ready after 180 s; .*{todo}"):
        guest.run(make_workload("quota_set 1000 100", "quota4k@delalloc,usrquota"))
    assert not guest.dead
    assert guest.run(make_workload("sync")).final is not None


@pytest.mark.parametrize(("lost", "what"), [(12, "12 trace events"), (None, "trace events")])
def test_lost_events_are_named_and_not_compared(
    start: Callable[..., Guest], lost: int | None, what: str
) -> None:
    told = traced(page(event(EventKind.RESERVE, 12, 1, 1), lost=lost))
    guest = start(whole(step(0, **told), step(1), step(2)))
    lossy = guest.run(make_workload()).steps[0]
    assert lossy.events is None
    assert lossy.unpredicted == {"events": f"the kernel dropped {what}"}


def test_an_inode_has_its_name_of_before_the_step_else_that_of_after_it(
    start: Callable[..., Guest],
) -> None:
    """Each step knows the names of the one before; what an agent tells of them comes first."""
    told = traced(page(*(event(EventKind.RELEASE, ino, 1, 1) for ino in (12, 13, 14))))
    first = step(0, names=[[12, "a"], [13, "b"]])
    second = step(1, names=[[12, "c"], [14, "d"]], **told)
    third = step(2, names=[], before=[[13, "e"]], **told)
    steps = start(whole(first, second, third)).run(make_workload()).steps
    assert [[found.file for found in step.events or ()] for step in steps] == [
        [],
        ["a", "b", "d"],
        ["ino 12", "e", "ino 14"],
    ]


def test_the_kernels_complaints_reach_the_trace(start: Callable[..., Guest]) -> None:
    log = [
        "EXT4-fs (vda): mounted filesystem 1234 r/w with ordered data mode. Quota mode: none.",
        "EXT4-fs warning (device vda): ext4_da_update_reserve_space:373: ino 12, used 1 with "
        "only 0 reserved data blocks",
        "EXT4-fs (vda): unmounting filesystem 1234.",
    ]
    end = {**final(trouble=["reading the files after mount: EIO"]), "log": log}
    early = ["EXT4-fs error (device vda): ext4_lookup:1790: inode #2: comm x: bad entry"]
    steps = [step(number, **({"log": early} if number == 1 else {})) for number in range(3)]
    guest = start(answers(START, *steps, {"phase": "sync"}, end))
    trace = guest.run(make_workload())
    assert trace.final is not None
    assert [(complaint.title, complaint.step) for complaint in trace.final.log or ()] == [
        ("EXT4-fs error in ext4_lookup", 1),
        ("EXT4-fs warning in ext4_da_update_reserve_space", None),
        ("reading the files after mount: EIO", None),
    ]


def panics(qemu: FakeQemu, request: dict[str, Any]) -> None:
    qemu.tell({"id": request["id"], **START})
    qemu.tell({"id": request["id"], **step(0)})
    qemu.say(PANIC)


def test_a_panic_keeps_what_was_seen_before_it(start: Callable[..., Guest]) -> None:
    guest = start(panics)
    with pytest.raises(KernelPanicError, match=r"step 2 \(pwrite_fault\).*NULL pointer") as caught:
        guest.run(make_workload())
    error = caught.value
    assert error.trace is not None
    assert len(error.trace.steps) == 1
    assert error.trace.final is None
    assert "ext4_da_write_end" in error.report
    assert guest.dead
    with pytest.raises(QemuError, match="dead"):
        guest.run(make_workload())


def test_a_panics_first_line_is_whole_though_it_came_in_two_parts(
    start: Callable[..., Guest],
) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.say("[ 9.1] Kernel panic - not syncing: sysrq tr")
        time.sleep(0.1)
        qemu.say("iggered crash\r\n")
        time.sleep(0.1)
        qemu.say("[ 9.3] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n")

    with pytest.raises(KernelPanicError) as caught:
        start(script).run(make_workload())
    assert str(caught.value).endswith("panicked: Kernel panic - not syncing: sysrq triggered crash")
    assert caught.value.report.startswith("Kernel panic - not syncing: sysrq triggered crash\n")


def test_the_end_of_a_panic_is_known_though_a_letter_comes_twice(
    start: Callable[..., Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may when the panic takes the console over."""

    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.say(PANIC.replace("---[ end", "Kernel panic - not syncing: x\r\n---[ ennd"))

    waited = functools.partialmethod(Console.follow_panic, seconds=900)
    monkeypatch.setattr(Console, "follow_panic", waited)
    began = time.monotonic()
    with pytest.raises(KernelPanicError):
        start(script).run(make_workload())
    assert time.monotonic() - began < 600


def test_a_panic_that_ends_qemu_is_still_a_panic(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        panics(qemu, request)
        qemu.die()

    with pytest.raises(KernelPanicError):
        start(script).run(make_workload())


def test_a_silent_guest_is_broken_machinery(start: Callable[..., Guest]) -> None:
    guest = start(answers(START), seconds=0.4)
    with pytest.raises(GuestHangError, match=r"step 1 \(pwrite\)") as caught:
        guest.run(make_workload())
    assert not isinstance(caught.value, KernelPanicError)
    assert guest.dead


def test_a_task_blocked_in_ext4_is_a_finding(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.blocked = (
            "[   99.1] task:python3  state:D stack:0 pid:1 tgid:1 ppid:0\r\n"
            "[   99.2] Call Trace:\r\n"
            "[   99.3]  __schedule+0x1/0x2\r\n"
            "[   99.4]  jbd2_log_wait_commit+0xd1/0x160 [jbd2]\r\n"
        )
        qemu.tell({"id": request["id"], **START})

    with pytest.raises(KernelHangError, match="jbd2_log_wait_commit") as caught:
        start(script, seconds=0.4).run(make_workload())
    assert caught.value.trace is not None


def test_the_list_of_blocked_tasks_is_read_while_it_is_written(
    start: Callable[..., Guest],
) -> None:
    """A serial line gives characters one by one, and waits once 300 of them are not read."""

    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        lines = "".join(f"[   99.3]  function_{number}+0x1/0x2\r\n" for number in range(30))
        text = "[   99.1] task:python3  state:D stack:0\r\n" + lines
        text += "[   99.4]  jbd2_log_wait_commit+0xd1/0x160 [jbd2]\r\n"
        qemu.show_blocked_tasks = lambda: threading.Thread(  # type: ignore[method-assign]
            target=lambda: [qemu.say(letter) for letter in text], daemon=True
        ).start()
        qemu.tell({"id": request["id"], **START})

    with pytest.raises(KernelHangError, match="jbd2_log_wait_commit"):
        start(script, seconds=0.4).run(make_workload())


def test_a_kernel_that_says_it_hangs_is_a_finding(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.tell({"id": request["id"], **START})
        qemu.say("[ 50.0] INFO: task kworker/u2:1:20 blocked for more than 30 seconds.\r\n")

    with pytest.raises(KernelHangError, match="blocked for more than 30 seconds"):
        start(script, seconds=0.4).run(make_workload())


def test_garbage_on_the_channel_is_broken_machinery(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.raw(b"\x00\x01garbage\n")

    with pytest.raises(ChannelError, match="no JSON"):
        start(script).run(make_workload())


def test_half_a_line_and_then_nothing_is_a_hang(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.raw(b'{"id":2,"sta')

    with pytest.raises(GuestHangError, match="half a line"):
        start(script, seconds=0.4).run(make_workload())


@pytest.mark.parametrize(
    "rows",
    [
        [START, step(1)],
        [step(0)],
        [START, START],
        [START, final()],
        [{"start": True, "observation": {"files": 7}}],
        [{"start": True}],
        [START, step(0, **traced(b"x"))],
        [START, step(0, **{**traced(page()), "trace": "x"})],
        [START, step(0, names=7)],
        [START, step(0, before={"a": 12})],
        [START, {"step": 0, "result": 0}],
        [{"what": 1}],
    ],
)
def test_answers_out_of_order_or_of_another_shape(start: Callable[..., Guest], rows: Any) -> None:
    guest = start(answers(*rows))
    with pytest.raises(ChannelError):
        guest.run(make_workload())
    assert guest.dead


def test_a_dead_qemu_is_broken_machinery(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.tell({"id": request["id"], **START})
        qemu.die()

    with pytest.raises(QemuError, match="signal 11"):
        start(script).run(make_workload())


def test_an_agent_that_fails_is_broken_machinery(start: Callable[..., Guest]) -> None:
    guest = start(answers(START, {"error": "KeyError: 'off'", "traceback": ""}))
    with pytest.raises(AgentDiedError, match="KeyError"):
        guest.run(make_workload())
    assert guest.dead


def test_an_agent_that_ends_is_no_finding_about_ext4(start: Callable[..., Guest]) -> None:
    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        qemu.say("Traceback (most recent call last):\r\nMemoryError\r\n")
        qemu.say(
            "[ 9.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"
        )
        qemu.say("[ 9.0] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\r\n")

    with pytest.raises(AgentDiedError, match="MemoryError"):
        start(script).run(make_workload())


def test_a_refused_mount_leaves_the_guest_usable(start: Callable[..., Guest]) -> None:
    replies = [
        answers({"error": "mount: EINVAL", "phase": "mount", "log": ["EXT4-fs (vda): no option"]}),
        whole(),
    ]

    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        replies.pop(0)(qemu, request)

    guest = start(script)
    with pytest.raises(MountRefusedError, match=r"4k@delalloc.*no option"):
        guest.run(make_workload())
    assert guest.run(make_workload()).final is not None


def test_a_mount_lost_on_the_way_is_a_finding(start: Callable[..., Guest]) -> None:
    lost = {"error": "mount: EUCLEAN", "phase": "mount", "log": []}
    guest = start(answers(START, step(0), lost))
    with pytest.raises(MountLostError, match="EUCLEAN") as caught:
        guest.run(make_workload())
    assert caught.value.trace is not None
    assert guest.dead


def _netconsole(start: Callable[..., Guest], *log: str) -> str:
    """What the guest says of netconsole if its kernel's log is `log`."""

    def script(qemu: FakeQemu, request: dict[str, Any]) -> None:
        done = list(log) if request["cmd"] == "log" else True
        qemu.tell({"id": request["id"], "done": done})

    guest = start(script)
    here, there = socket.socketpair()
    with here, there:
        guest.set_up_netconsole(Network(0, "52:54:00:12:34:56", here), "")
    return guest.netconsole


def test_netconsole_is_there_only_if_the_kernel_says_so(start: Callable[..., Guest]) -> None:
    began = "printk: legacy console [netcon0] enabled"
    assert _netconsole(start, began, "netconsole: network logging started") == ""
    assert _netconsole(start, "EXT4-fs (vda): x") == "no netconsole: the kernel has none"
    refused = _netconsole(start, "netpoll: netconsole: eth0 doesn't exist, aborting")
    assert refused == "no netconsole: netpoll: netconsole: eth0 doesn't exist, aborting"


def test_a_guest_that_does_not_boot(start: Callable[..., Guest]) -> None:
    with pytest.raises(BootTimeoutError):
        start(whole(), hello=None, seconds=0.4)


def test_a_guest_that_resets_itself_before_its_first_word(start: Callable[..., Guest]) -> None:
    guest = start(whole(), hello=None, boot=False)
    guest.link.process.last_words = lambda: ""
    guest.link.process.die()
    with pytest.raises(QemuError, match=r"^the guest did not boot: QEMU ended without a word, as"):
        guest.boot()


def test_a_kernel_that_panics_at_boot_is_the_wrong_kernel(start: Callable[..., Guest]) -> None:
    guest = start(whole(), hello=None, boot=False)
    guest.link.process.say("[ 0.5] Kernel panic - not syncing: VFS: Unable to mount root\r\n")
    guest.link.process.say("---[ end Kernel panic - not syncing: VFS ]---\r\n")
    with pytest.raises(KernelError, match="VFS"):
        guest.boot()


@pytest.mark.parametrize("other", [PROTOCOL - 1, PROTOCOL + 1, None])
def test_an_agent_of_another_version_is_refused(
    start: Callable[..., Guest], other: int | None
) -> None:
    said = f"version {other} of the protocol, this ext4diff version {PROTOCOL}: .*install it again"
    with pytest.raises(ChannelError, match=said):
        start(whole(), hello={**HELLO, "hello": other})


def test_a_kernel_whose_tracepoints_are_others_is_refused(start: Callable[..., Guest]) -> None:
    other = {**FORMATS, "release": FORMATS["release"].replace("freed_blocks", "blocks")}
    guest = start(whole(), hello={**HELLO, "tracepoints": other})
    with pytest.raises(KernelError, match=r"ext4_da_release_space has no .*freed_blocks"):
        guest.run(make_workload())


def test_close_is_final_and_leaves_no_descriptor(start: Callable[..., Guest]) -> None:
    before = _descriptors()
    guest = start(whole())
    guest.run(make_workload())
    guest.close()
    guest.close()
    assert _descriptors() == before


@pytest.mark.parametrize(
    ("config", "mount"),
    [
        ("4k@delalloc", "commit=3600,delalloc"),
        ("4k@data=journal", "commit=3600,data=journal"),
        ("nojournal@delalloc", "delalloc"),
    ],
)
def test_no_journal_commits_by_its_own_clock(config: str, mount: str) -> None:
    """After 5 s freed blocks could be had that on a faster host can't."""
    assert request_of(make_workload("sync", config))["mount"] == mount
