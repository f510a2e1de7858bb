"""The accelerator: KVM only after a probe boot, whatever the probe does; with a fake QEMU."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import accel
from vm.accel import choose_accelerator, probe
from vm.errors import QemuError
from vm.qemu import Machine, Qemu

MACHINE = Machine(Path("/kernel"), Path("/initrd"), None)
FAKE = Path(__file__).parent / "fake_qemu.py"
LONG = (900.0, 900.0)
"""Seconds until user space, and of silence, which no probe is meant to reach."""


@pytest.fixture
def fake_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def use(mode: str) -> None:
        program = tmp_path / f"qemu-{mode}"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {FAKE} "{mode}" "$@"\n')
        program.chmod(0o755)
        monkeypatch.setattr("vm.qemu.find_program", lambda _name: str(program))

    return use


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A /dev/kvm that can be opened, and an empty cache."""
    path = tmp_path / "kvm"
    path.touch()
    monkeypatch.setattr(accel, "DEVICE", path)
    monkeypatch.setattr(accel, "qemu_version", lambda: "7.2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def _no_probe(_machine: Machine) -> str:
    raise AssertionError("probed without need")


def _children() -> list[str]:
    return (Path("/proc/self/task") / str(os.getpid()) / "children").read_text().split()


def test_what_is_asked_for_is_taken_as_said() -> None:
    for name in ("kvm", "tcg"):
        assert choose_accelerator(name, MACHINE, "k", _no_probe).name == name


def test_without_the_device_nothing_is_probed(device: Path) -> None:
    device.unlink()
    verdict = choose_accelerator("auto", MACHINE, "k", _no_probe)
    assert verdict.name == "tcg"
    assert "there is no" in verdict.reason


def test_a_probe_that_works_means_kvm_and_is_remembered(device: Path) -> None:
    assert choose_accelerator("auto", MACHINE, "k", lambda _machine: "").name == "kvm"
    assert choose_accelerator("auto", MACHINE, "k", _no_probe).name == "kvm"


def test_a_probe_that_fails_means_tcg_and_its_reason_is_remembered(device: Path) -> None:
    first = choose_accelerator("auto", MACHINE, "k", lambda _machine: "it said nothing")
    assert first == choose_accelerator("auto", MACHINE, "k", _no_probe)
    assert first.name == "tcg"
    assert "it said nothing" in first.reason


def test_another_kernel_and_another_qemu_are_probed_again(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_accelerator("auto", MACHINE, "k", lambda _machine: "no")
    assert choose_accelerator("auto", MACHINE, "other", lambda _machine: "").name == "kvm"
    monkeypatch.setattr(accel, "qemu_version", lambda: "10.0")
    assert choose_accelerator("auto", MACHINE, "k", lambda _machine: "").name == "kvm"


def test_a_damaged_memory_is_probed_again(device: Path, tmp_path: Path) -> None:
    choose_accelerator("auto", MACHINE, "k", lambda _machine: "no")
    (file,) = (tmp_path / "cache/ext4diff/accel").glob("*.json")
    file.write_text('{"name": 7')
    assert choose_accelerator("auto", MACHINE, "k", lambda _machine: "").name == "kvm"


@pytest.mark.parametrize(
    ("mode", "reason", "limits"),
    [
        ("silent", "said nothing for 0.5 s", (900, 0.5)),
        ("talks", "not in user space after 2 s; last: .*Linux version", (2, 900)),
        ("internal-error", "state became internal-error", LONG),
        ("dies", "KVM: entry failed", LONG),
        ("dies without an answer", "^QEMU ended: KVM: entry failed", LONG),
        ("panics", "Kernel panic - not syncing: no init", LONG),
        ("refuses", "Could not access KVM", LONG),
        ("asserts", "^QEMU did not start: failed to set MSR 0x10a to 0x69 [|] .*kvm.c", LONG),
    ],
)
def test_a_probe_says_why_it_failed_and_leaves_nothing(
    fake_qemu: Callable[[str], None], mode: str, reason: str, limits: tuple[float, float]
) -> None:
    """At once: nobody waits for what can't come any more."""
    fake_qemu(mode)
    before = _children()
    began = time.monotonic()
    trouble = probe(MACHINE, *limits)
    assert time.monotonic() - began < 600
    assert re.search(reason, trouble), trouble
    assert _children() == before


def test_a_probe_that_reaches_user_space_has_no_complaint(
    fake_qemu: Callable[[str], None],
) -> None:
    fake_qemu("boots")
    assert probe(MACHINE, deadline=5.0, silence=5.0) == ""


def test_qemu_is_told_to_use_the_accelerator_and_nothing_of_the_disk() -> None:
    arguments = Machine(Path("/k"), Path("/i"), None, accel="kvm").arguments(
        {"qmp": 3, "console": 4, "agent": 5, "log": 6}
    )
    assert arguments[arguments.index("-accel") + 1] == "kvm"
    assert arguments[arguments.index("-cpu") + 1] == "host"
    assert "-S" in arguments
    assert "-drive" not in arguments


def test_a_qemu_that_does_not_start_says_why(fake_qemu: Callable[[str], None]) -> None:
    fake_qemu("refuses")
    with pytest.raises(QemuError, match="QEMU did not start: Could not access KVM"):
        Qemu(MACHINE)


def test_a_qemu_that_is_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vm.qemu.find_program", lambda _name: str(tmp_path / "absent"))
    with pytest.raises(QemuError, match=r"cannot start .*absent"):
        Qemu(MACHINE)
