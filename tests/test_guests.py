"""Where guests come from: a snapshot, and booting where that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from vm import guests
from vm.errors import BootTimeoutError, SnapshotError
from vm.guests import Guests
from vm.initramfs import BootFiles
from vm.kernel import Kernel

KERNEL = Kernel(Path("/vmlinuz"), "7.3.4", None, "a package", "0" * 64)
FILES = BootFiles(Path("/vmlinux"), Path("/initramfs.cpio"))


class FakeSnapshot:
    """One that can be told to fail; `taken` counts how often one was made."""

    taken: ClassVar[list[int]] = []
    memory: ClassVar[object] = None
    failure: Exception | None = None
    fails_to_go_on: Exception | None = None
    closed = 0

    @classmethod
    def of(cls, *parts: object) -> FakeSnapshot:
        *_, cpus, cls.memory = parts
        cls.taken.append(cpus)
        if cls.failure is not None:
            raise cls.failure
        return cls()

    def guest(self) -> FakeGuest:
        if self.fails_to_go_on is not None:
            raise self.fails_to_go_on
        return FakeGuest("went on")

    def close(self) -> None:
        type(self).closed += 1


class FakeGuest(str):
    """What a guest did to come up."""

    memory = 0
    program_time: float | None = None

    @classmethod
    def start(
        cls, kernel: Kernel, accel: str, files: BootFiles, *, memory: int, cpus: int
    ) -> FakeGuest:
        guest = cls(f"booted with {cpus}")
        guest.memory = memory
        return guest


@pytest.fixture
def snapshot(monkeypatch: pytest.MonkeyPatch) -> type[FakeSnapshot]:
    class Fresh(FakeSnapshot):
        taken: ClassVar[list[int]] = []

    monkeypatch.setattr(guests, "Snapshot", Fresh)
    monkeypatch.setattr(guests, "Guest", FakeGuest)
    return Fresh


def test_one_snapshot_starts_many_guests(snapshot: type[FakeSnapshot]) -> None:
    source = Guests(KERNEL, "tcg", FILES)
    assert [source.start() for _ in range(3)] == ["went on"] * 3
    assert source.start(2) == "went on"
    assert snapshot.taken == [1, 2]
    source.close()
    source.close()
    assert snapshot.closed == 2


@pytest.mark.parametrize("name", ["failure", "fails_to_go_on"])
def test_where_no_snapshot_works_guests_boot(snapshot: type[FakeSnapshot], name: str) -> None:
    setattr(snapshot, name, SnapshotError("this QEMU keeps no snapshot: migration is disabled"))
    source = Guests(KERNEL, "tcg", FILES)
    assert [source.start(), source.start(2)] == ["booted with 1", "booted with 2"]
    assert snapshot.taken == [1]  # tried once
    assert "migration is disabled" in source.no_snapshots


def test_a_kernel_that_does_not_boot_is_not_booted_again(snapshot: type[FakeSnapshot]) -> None:
    snapshot.failure = BootTimeoutError("the guest did not boot")
    with pytest.raises(BootTimeoutError):
        Guests(KERNEL, "tcg", FILES).start()


def test_guests_boot_when_asked_to(snapshot: type[FakeSnapshot]) -> None:
    source = Guests(KERNEL, "tcg", FILES, always_boot=True)
    assert source.start() == "booted with 1"
    assert snapshot.taken == []


@pytest.mark.parametrize("always_boot", [True, False])
def test_guests_get_the_memory_and_the_time_that_were_asked_for(
    snapshot: type[FakeSnapshot], always_boot: bool
) -> None:
    limits: dict[str, Any] = {"memory": 512, "program_time": 9.0}
    guest = Guests(KERNEL, "tcg", FILES, always_boot=always_boot, **limits).start()
    assert guest.program_time == 9
    assert (guest.memory if always_boot else snapshot.memory) == 512  # type: ignore[attr-defined]
    assert Guests(KERNEL, "tcg", FILES).start().program_time is None
