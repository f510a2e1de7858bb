"""Which guests become snapshots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm import cache, snapshot
from vm.errors import SnapshotError
from vm.guest import Guest
from vm.initramfs import BootFiles
from vm.kernel import Kernel
from vm.snapshot import Snapshot


class Booted:
    """A guest whose clock goes right or wrong, and whose state can't be saved."""

    def __init__(self, right: bool) -> None:
        self._right = right
        self.control = self
        self.listens = False

    def clock_is_right(self) -> bool:
        return self._right

    def listen(self, *, ahead: bool) -> None:
        assert ahead
        self.listens = True

    def execute(self, command: str) -> None:
        raise SnapshotError(f"reached {command}")


@pytest.mark.parametrize(
    ("clocks", "booted", "said"),
    [
        ([True], 1, "reached stop"),
        ([False, True], 2, "reached stop"),
        ([False, False, False, True], 3, "wrong clocks"),
    ],
)
def test_no_guest_with_a_wrong_clock_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clocks: list[bool], booted: int, said: str
) -> None:
    """All that go on from it would have that clock."""

    @contextlib.contextmanager
    def start(*_args: object, **_options: object) -> Iterator[Booted]:
        started.append(clocks[len(started)])
        yield Booted(started[-1])

    started: list[bool] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Guest, "start", start)
    monkeypatch.setattr(snapshot, "_key", lambda *_: "key")
    files = BootFiles(tmp_path / "kernel", tmp_path / "initramfs")
    kernel = Kernel.__new__(Kernel)
    with pytest.raises(SnapshotError, match=said):
        Snapshot.of(kernel, "tcg", files, memory=1)
    assert len(started) == booted
    assert not list(cache.cache_root().rglob("key"))


@pytest.mark.parametrize(("cpus", "listens"), [(1, True), (2, False)])
def test_a_guest_with_one_cpu_is_kept_with_its_listener(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpus: int, listens: bool
) -> None:
    """So that those that go on from it need not start one."""
    guest = Booted(right=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Guest, "start", lambda *_args, **_options: contextlib.nullcontext(guest))
    monkeypatch.setattr(snapshot, "_key", lambda *_: "key")
    files = BootFiles(tmp_path / "kernel", tmp_path / "initramfs")
    with pytest.raises(SnapshotError, match="reached stop"):
        Snapshot.of(Kernel.__new__(Kernel), "tcg", files, cpus, memory=1)
    assert guest.listens is listens
