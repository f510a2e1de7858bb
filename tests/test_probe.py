"""`ext4diff kernel probe`: what it asks, and how it tells what a kernel has and lacks."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from harness.cli import main
from harness.commands import kernel_probe
from harness.trace import Complaint, ComplaintKind
from vm.agent.probe import LOOKS, parse_targets
from vm.agent.tracing import parse_orders
from vm.errors import KernelError
from vm.kernels.identity import KernelIdentity
from vm.probe import ABILITIES, Answer, Probe

TRIED_MOUNTED = {"es cache ioctl", "large folios, buffer_head", "large folios, iomap"}
KNOWN_TO_THE_HOST = {"buffered_iomap", "netconsole"}


def found(lacking: str = "") -> Probe:
    answers = tuple(
        Answer(ability, ability.name != lacking, "4 KiB" if ability.name == "page poison" else "")
        for ability in ABILITIES
    )
    identity = KernelIdentity("7.3.4", "ab12", "cd34", "tree:x", "c0ffee", ("one", "two"))
    said = (Complaint(ComplaintKind.WARNING, "WARNING in early_thing"),)
    return Probe(identity, "/boot/vmlinuz", "tcg", 2.125, answers, said)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on what the kernel is said to be."""

    def run(what: Probe | Exception, *words: str) -> int:
        def probe(*_args: object) -> Probe:
            if isinstance(what, Exception):
                raise what
            return what

        monkeypatch.setattr(kernel_probe, "ensure_host_tools", lambda: None)
        monkeypatch.setattr(kernel_probe, "resolve_kernel", lambda *_args: None)
        monkeypatch.setattr(kernel_probe, "probe", probe)
        return main(["kernel", "probe", *words])

    return run


def test_every_ability_is_looked_at_and_every_look_is_told() -> None:
    names = [ability.name for ability in ABILITIES]
    assert len(set(names)) == len(names)
    assert set(names) == set(LOOKS) | TRIED_MOUNTED | KNOWN_TO_THE_HOST


def test_people_read_what_it_has_what_it_lacks_and_what_helps(ask: Any, capsys: Any) -> None:
    assert ask(found("dm-flakey"), "bzImage") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "kernel   7.3.4"
    assert "         two" in lines
    assert "boot     2.1 s of its own time, tcg" in lines
    assert any(line.split() == ["yes", "page", "poison", "4", "KiB"] for line in lines)
    lacks = lines[lines.index("What it lacks") + 1]
    assert lacks == (
        "  dm-flakey: no disk that loses writes (CONFIG_BLK_DEV_DM=y, CONFIG_DM_FLAKEY=y)"
    )
    assert lines[-1] == "  WARNING in early_thing"


def test_programs_read_the_same(ask: Any, capsys: Any) -> None:
    assert ask(found("kasan"), "bzImage", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kernel"]["build_id"] == "ab12"
    assert told["kernel"]["series"] == ["one", "two"]
    assert told["boot_seconds"] == 2.125
    assert list(told["abilities"]) == [ability.name for ability in ABILITIES]
    assert told["abilities"]["kasan"] == {
        "has": False, "detail": "", "lost": "wrong accesses to memory are not noticed",
        "remedy": "CONFIG_KASAN=y",
    }  # fmt: skip
    assert told["abilities"]["lockdep"]["remedy"] == ""
    assert told["complaints"][0]["title"] == "WARNING in early_thing"


def test_a_kernel_that_does_not_boot_is_an_error_of_several_lines_and_status_2(
    ask: Any, capsys: Any
) -> None:
    error = KernelError("the kernel does not boot here: x\nwhat to do: y")
    assert ask(error, "bzImage") == 2
    assert capsys.readouterr().err == f"ext4diff: {error}\n"


def test_the_targets_of_device_mapper_are_read_from_a_chain() -> None:
    def target(name: bytes, *version: int, last: bool) -> bytes:
        step = 0 if last else 32
        return (struct.pack("=IIII", step, *version) + name).ljust(32, b"\0")

    head = struct.pack("=IIIII", 4, 0, 0, 400, 312).ljust(312, b"\0")
    chain = target(b"flakey", 1, 5, 0, last=False) + target(b"log-writes", 1, 1, 0, last=True)
    assert parse_targets(head + chain) == {"flakey": "1.5.0", "log-writes": "1.1.0"}


def test_orders_of_folios_are_those_of_the_one_inode() -> None:
    event = "x-1 [000] ..1 1.5: mm_filemap_add_to_page_cache: dev 254:0 ino {} pfn=0x1 ofs=0"
    lines = [f"{event.format('1c')} order=9", f"{event.format('1')} order=4", event.format("1c")]
    assert parse_orders("\n".join(lines), 0x1C) == {9}
    assert parse_orders("", 0x1C) == set()
